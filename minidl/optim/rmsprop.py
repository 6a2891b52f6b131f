"""RMSprop."""
from .elementwise import Elementwise
from .optimizer import require


class RMSprop(Elementwise):
    """RMSprop (Tieleman and Hinton 2012), as torch.optim.RMSprop.

        v_t = alpha v_{t-1} + (1 - alpha) g_t^2          square_avg; g_t = grad f + lambda theta, -grad f with maximize
        v~_t = v_t - (average of g_t)^2 with centered    grad_avg
        b_t = mu b_{t-1} + g_t / (sqrt(v~_t) + eps)      mu = momentum
        theta = theta - gamma b_t                        gamma = lr

    Raises ValueError for options out of range.
    """

    def __init__(self, params, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False, capturable=False,
                 foreach=None, maximize=False, differentiable=False):
        super().__init__(params, {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum,
                                  "centered": centered, "maximize": maximize})

    def check(self, group):
        require("RMSprop", group, **{k: (group[k] >= 0, "at least 0")
                                     for k in ("lr", "alpha", "eps", "weight_decay", "momentum")})

    def states(self, group):
        momentum = ["momentum_buffer"] if group["momentum"] > 0 else []
        return ["square_avg", *momentum, *(["grad_avg"] if group["centered"] else [])]

    def apply(self, p, g, state, group):
        alpha, v = group["alpha"], state["square_avg"]
        v *= alpha
        v += (1 - alpha) * g * g
        spread = v
        if group["centered"]:
            mean = state["grad_avg"]
            mean += (1 - alpha) * (g - mean)
            spread = v - mean * mean
        change = g / (spread ** 0.5 + group["eps"])
        if group["momentum"] > 0:
            buffer = state["momentum_buffer"]
            buffer *= group["momentum"]
            buffer += change
            change = buffer
        p -= group["lr"] * change
