"""Adagrad and Adadelta: steps by the history of squared gradients."""
from .elementwise import Elementwise
from .optimizer import require


class Adagrad(Elementwise):
    """Adagrad (Duchi et al. 2011), as torch.optim.Adagrad.

        s_t = s_{t-1} + g_t^2                            sum; s_0 = initial_accumulator_value
        theta = theta - gamma / (1 + (t - 1) eta) g_t / (sqrt(s_t) + eps)     gamma = lr, eta = lr_decay

    Raises ValueError for options out of range.
    """

    def __init__(self, params, lr=1e-2, lr_decay=0.0, weight_decay=0.0, initial_accumulator_value=0.0, eps=1e-10,
                 foreach=None, *, maximize=False, differentiable=False, fused=None):
        super().__init__(params, {"lr": lr, "lr_decay": lr_decay, "weight_decay": weight_decay, "eps": eps,
                                  "initial_accumulator_value": initial_accumulator_value, "maximize": maximize})

    def check(self, group):
        require("Adagrad", group, **{k: (group[k] >= 0, "at least 0") for k in
                                     ("lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps")})

    def states(self, group):
        return ["sum"]

    def begin(self, state, group):
        state["sum"].array[...] = group["initial_accumulator_value"]

    def apply(self, p, g, state, group):
        state["sum"] += g * g
        rate = group["lr"] / (1 + (state["step"] - 1) * group["lr_decay"])
        p -= rate * g / (state["sum"] ** 0.5 + group["eps"])


class Adadelta(Elementwise):
    """Adadelta (Zeiler 2012), as torch.optim.Adadelta.

        v_t = rho v_{t-1} + (1 - rho) g_t^2              square_avg
        d_t = sqrt(u_{t-1} + eps) / sqrt(v_t + eps) g_t
        u_t = rho u_{t-1} + (1 - rho) d_t^2              acc_delta
        theta = theta - gamma d_t                        gamma = lr

    Raises ValueError for options out of range.
    """

    def __init__(self, params, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.0, foreach=None, *, capturable=False, maximize=False,
                 differentiable=False):
        super().__init__(params, {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize})

    def check(self, group):
        require("Adadelta", group, rho=(0 <= group["rho"] <= 1, "a number in [0, 1]"),
                **{k: (group[k] >= 0, "at least 0") for k in ("lr", "eps", "weight_decay")})

    def states(self, group):
        return ["square_avg", "acc_delta"]

    def apply(self, p, g, state, group):
        v, u, rho, eps = state["square_avg"], state["acc_delta"], group["rho"], group["eps"]
        v *= rho
        v += (1 - rho) * g * g
        d = (u + eps) ** 0.5 / (v + eps) ** 0.5 * g
        u *= rho
        u += (1 - rho) * d * d
        p -= group["lr"] * d
