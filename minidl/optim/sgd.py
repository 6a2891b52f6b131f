"""Stochastic gradient descent."""
from ..ops import update
from .optimizer import Optimizer, require, zeros_like


class SGD(Optimizer):
    """Stochastic gradient descent with momentum (Sutskever et al. 2013), as torch.optim.SGD.

        g_t = grad f(theta) + lambda theta               lambda = weight_decay; -grad f with maximize
        b_t = mu b_{t-1} + (1 - tau) g_t                 mu = momentum, tau = dampening; b_1 = g_1
        theta = theta - gamma b_t                        gamma = lr
        theta = theta - gamma (g_t + mu b_t)             with nesterov

    foreach, differentiable, fused: accepted, so that PyTorch code runs; all parameters are always updated in one call.
    Raises ValueError for options out of range.
    """

    def __init__(self, params, lr=1e-3, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, *, maximize=False,
                 foreach=None, differentiable=False, fused=None):
        super().__init__(params, {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
                                  "nesterov": nesterov, "maximize": maximize})

    def check(self, group):
        require("SGD", group, lr=(group["lr"] >= 0, "at least 0"), momentum=(group["momentum"] >= 0, "at least 0"),
                weight_decay=(group["weight_decay"] >= 0, "at least 0"),
                nesterov=(not group["nesterov"] or (group["momentum"] > 0 and group["dampening"] == 0),
                          f"momentum above 0 and dampening 0 with it (momentum={group['momentum']}, "
                          f"dampening={group['dampening']})"))

    def update(self, params, grads, group):
        options = [group[key] for key in ("lr", "momentum", "dampening", "weight_decay", "nesterov", "maximize")]
        if not group["momentum"]:
            update.sgd(params, grads, None, *options)
            return
        new = {p for p in params if not self.state[p]}
        for p in new:
            self.state[p]["momentum_buffer"] = zeros_like(p)
        buffers = [self.state[p]["momentum_buffer"] for p in params]
        if not new:
            update.sgd(params, grads, buffers, *options)
            return
        for first_step in True, False:
            chosen = [each for each in zip(params, grads, buffers) if (each[0] in new) is first_step]
            if chosen:
                update.sgd(*zip(*chosen), *options, first_step)
