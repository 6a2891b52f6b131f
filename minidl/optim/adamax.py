"""Variants of Adam: Adamax, NAdam, RAdam."""
from ..ops import maximum
from .elementwise import Elementwise
from .optimizer import require


class AdamVariant(Elementwise):
    """What they share: the options of Adam, and m_t = beta_1 m_{t-1} + (1 - beta_1) g_t, exp_avg."""

    def check(self, group):
        betas = group["betas"]
        require(type(self).__name__, group, **{k: (group[k] >= 0, "at least 0") for k in ("lr", "eps", "weight_decay")},
                betas=(len(betas) == 2 and all(0 <= b < 1 for b in betas), "two numbers in [0, 1)"))

    def states(self, group):
        return ["exp_avg", "exp_avg_sq"]

    def moments(self, g, state, group):
        """The averages of g and of g^2, with their corrections 1 - beta^t."""
        beta1, beta2 = group["betas"]
        m, v, t = state["exp_avg"], state["exp_avg_sq"], state["step"]
        m += (1 - beta1) * (g - m)
        v *= beta2
        v += (1 - beta2) * g * g
        return m, v, 1 - beta1**t, 1 - beta2**t


class Adamax(AdamVariant):
    """Adam with the infinity norm (Kingma and Ba 2015), as torch.optim.Adamax.

        u_t = max(beta_2 u_{t-1}, |g_t| + eps)           exp_inf
        theta = theta - gamma / (1 - beta_1^t) m_t / u_t gamma = lr

    Raises ValueError for options out of range.
    """

    def __init__(self, params, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, foreach=None, *, maximize=False,
                 differentiable=False, capturable=False):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize})

    def states(self, group):
        return ["exp_avg", "exp_inf"]

    def apply(self, p, g, state, group):
        beta1, beta2 = group["betas"]
        m, u = state["exp_avg"], state["exp_inf"]
        m += (1 - beta1) * (g - m)
        u.copy_(maximum(u * beta2, abs(g) + group["eps"]))
        p -= group["lr"] / (1 - beta1 ** state["step"]) * m / u


class NAdam(AdamVariant):
    """Adam with Nesterov's momentum (Dozat 2016), as torch.optim.NAdam.

        mu_t = beta_1 (1 - 0.96^(t psi) / 2)             psi = momentum_decay
        m^_t = mu_{t+1} m_t / (1 - mu_1 ... mu_{t+1}) + (1 - mu_t) g_t / (1 - mu_1 ... mu_t)
        theta = theta - gamma m^_t / (sqrt(v_t / (1 - beta_2^t)) + eps)

    decoupled_weight_decay: as AdamW. Raises ValueError for options out of range.
    """

    def __init__(self, params, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, momentum_decay=4e-3,
                 decoupled_weight_decay=False, *, foreach=None, maximize=False, capturable=False, differentiable=False):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
                                  "momentum_decay": momentum_decay, "decoupled_weight_decay": decoupled_weight_decay})

    def check(self, group):
        super().check(group)
        require("NAdam", group, momentum_decay=(group["momentum_decay"] >= 0, "at least 0"))

    def apply(self, p, g, state, group):
        beta1, t = group["betas"][0], state["step"]
        mu, following = (beta1 * (1 - 0.5 * 0.96 ** (s * group["momentum_decay"])) for s in (t, t + 1))
        state["mu_product"] = product = state.get("mu_product", 1.0) * mu
        m, v, _, correction = self.moments(g, state, group)
        scale = (v / correction) ** 0.5 + group["eps"]
        p -= group["lr"] * (1 - mu) / (1 - product) * g / scale
        p -= group["lr"] * following / (1 - product * following) * m / scale


class RAdam(AdamVariant):
    """Adam whose first steps, where v_t is no good estimate yet, are plain momentum (Liu et al. 2020), as torch.optim.RAdam.

        rho_t = rho_inf - 2 t beta_2^t / (1 - beta_2^t)  rho_inf = 2 / (1 - beta_2) - 1
        theta = theta - gamma m^_t r_t sqrt(1 - beta_2^t) / (sqrt(v_t) + eps)   where rho_t > 5, else theta - gamma m^_t
        r_t^2 = (rho_t - 4) (rho_t - 2) rho_inf / ((rho_inf - 4) (rho_inf - 2) rho_t)

    decoupled_weight_decay: as AdamW. Raises ValueError for options out of range.
    """

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled_weight_decay=False, *,
                 foreach=None, maximize=False, capturable=False, differentiable=False):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
                                  "decoupled_weight_decay": decoupled_weight_decay})

    def apply(self, p, g, state, group):
        m, v, first, second = self.moments(g, state, group)
        most = 2 / (1 - group["betas"][1]) - 1
        rho = most - 2 * state["step"] * (1 - second) / second
        change = m / first
        if rho > 5:
            r = ((rho - 4) * (rho - 2) * most / ((most - 4) * (most - 2) * rho)) ** 0.5
            change = change * (r * second**0.5) / (v ** 0.5 + group["eps"])
        p -= group["lr"] * change
