"""Averaged stochastic gradient descent."""
from .elementwise import Elementwise
from .optimizer import require


class ASGD(Elementwise):
    """Averaged stochastic gradient descent (Polyak and Juditsky 1992), as torch.optim.ASGD.

        theta = (1 - lambda eta_t) theta - eta_t g_t           lambda = lambd; eta_1 = gamma = lr
        a_t = a_{t-1} + mu_t (theta - a_{t-1})                 ax, the average; mu_1 = 1
        eta_{t+1} = gamma / (1 + lambda gamma t)^alpha
        mu_{t+1} = 1 / max(1, t - t0)

    Raises ValueError for options out of range.
    """

    def __init__(self, params, lr=1e-2, lambd=1e-4, alpha=0.75, t0=1e6, weight_decay=0.0, foreach=None, maximize=False,
                 differentiable=False, capturable=False):
        super().__init__(params, {"lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay,
                                  "maximize": maximize})

    def check(self, group):
        require("ASGD", group, **{k: (group[k] >= 0, "at least 0") for k in ("lr", "weight_decay")})

    def states(self, group):
        return ["ax"]

    def begin(self, state, group):
        state.update(eta=group["lr"], mu=1.0)

    def apply(self, p, g, state, group):
        average, eta, step = state["ax"], state["eta"], state["step"]
        p *= 1 - group["lambd"] * eta
        p -= eta * g
        average += (p - average) * state["mu"]
        state["eta"] = group["lr"] / (1 + group["lambd"] * group["lr"] * step) ** group["alpha"]
        state["mu"] = 1 / max(1, step - group["t0"])
