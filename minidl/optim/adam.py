"""Adam."""
from ..ops import update
from .optimizer import Optimizer, require, zeros_like


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015), as torch.optim.Adam.

        g_t = grad f(theta) + lambda theta               lambda = weight_decay; -grad f with maximize
        m_t = beta_1 m_{t-1} + (1 - beta_1) g_t          exp_avg
        v_t = beta_2 v_{t-1} + (1 - beta_2) g_t^2        exp_avg_sq
        m^_t = m_t / (1 - beta_1^t),  v^_t = v_t / (1 - beta_2^t)
        theta = theta - gamma m^_t / (sqrt(v^_t) + eps)  gamma = lr

    amsgrad: the largest v_t so far stands for v_t in the last two lines (Reddi et al. 2018).
    decoupled_weight_decay: as AdamW. foreach, capturable, differentiable, fused: accepted, so that PyTorch code runs; all
    parameters are always updated in one call. Raises ValueError for options out of range.
    """

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False, *, foreach=None,
                 maximize=False, capturable=False, differentiable=False, fused=None, decoupled_weight_decay=False):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad,
                                  "maximize": maximize, "decoupled_weight_decay": decoupled_weight_decay})

    def check(self, group):
        betas = group["betas"]
        require(type(self).__name__, group, lr=(group["lr"] >= 0, "at least 0"),
                betas=(len(betas) == 2 and all(0 <= b < 1 for b in betas), "two numbers in [0, 1)"),
                eps=(group["eps"] >= 0, "at least 0"), weight_decay=(group["weight_decay"] >= 0, "at least 0"))

    def update(self, params, grads, group):
        states = [self.state.get(p) or self._begin(p, group) for p in params]
        steps = {int(state["step"]) for state in states}
        if len(steps) == 1:
            self._update(params, grads, states, steps.pop() + 1, group)
            return
        for step in sorted(steps, reverse=True):  # some parameters had no gradient in some steps
            chosen = [each for each in zip(params, grads, states) if int(each[2]["step"]) == step]
            self._update(*zip(*chosen), step + 1, group)

    def _begin(self, p, group):
        self.state[p] = state = {"step": 0, "exp_avg": zeros_like(p), "exp_avg_sq": zeros_like(p)}
        if group["amsgrad"]:
            state["max_exp_avg_sq"] = zeros_like(p)
        return state

    def _update(self, params, grads, states, step, group):
        amsgrad = group["amsgrad"]
        update.adam(params, grads, [s["exp_avg"] for s in states], [s["exp_avg_sq"] for s in states],
                    [s["max_exp_avg_sq"] for s in states] if amsgrad else None, group["lr"], *group["betas"], group["eps"],
                    group["weight_decay"], step, group["decoupled_weight_decay"], amsgrad, group["maximize"])
        for state in states:
            state["step"] = step
