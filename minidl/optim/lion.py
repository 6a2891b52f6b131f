"""Lion."""
from ..ops import sign
from .elementwise import Elementwise
from .optimizer import require


class Lion(Elementwise):
    """Evolved sign momentum (Chen et al. 2023): each parameter moves by lr, whatever the size of its gradient.

        theta = theta - gamma lambda theta                                          gamma = lr, lambda = weight_decay
        theta = theta - gamma sign(beta_1 m_{t-1} + (1 - beta_1) g_t)
        m_t = beta_2 m_{t-1} + (1 - beta_2) g_t                                     exp_avg

    PyTorch has no Lion; the arguments are those of the authors' version for it. Raises ValueError for options out of range.
    """

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0, *, maximize=False):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "maximize": maximize,
                                  "decoupled_weight_decay": True})

    def check(self, group):
        betas = group["betas"]
        require("Lion", group, **{k: (group[k] >= 0, "at least 0") for k in ("lr", "weight_decay")},
                betas=(len(betas) == 2 and all(0 <= b < 1 for b in betas), "two numbers in [0, 1)"))

    def states(self, group):
        return ["exp_avg"]

    def apply(self, p, g, state, group):
        beta1, beta2 = group["betas"]
        m = state["exp_avg"]
        p -= group["lr"] * sign(m + (1 - beta1) * (g - m))
        m += (1 - beta2) * (g - m)
