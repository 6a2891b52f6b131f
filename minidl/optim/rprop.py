"""Rprop."""
from ..ops import clip, sign, where
from .elementwise import Elementwise
from .optimizer import require


class Rprop(Elementwise):
    """Resilient backpropagation (Riedmiller and Braun 1993), as torch.optim.Rprop: the gradient's sign alone counts.

        eta_t = min(eta_{t-1} eta_plus, most)   where g_t g_{t-1} > 0       step_size; eta_0 = gamma = lr
                max(eta_{t-1} eta_minus, least) where g_t g_{t-1} < 0, and there g_t = 0
        theta = theta - eta_t sign(g_t)                                     g_t is kept as prev

    etas: (eta_minus, eta_plus). step_sizes: (least, most). Raises ValueError for options out of range.
    """

    def __init__(self, params, lr=1e-2, etas=(0.5, 1.2), step_sizes=(1e-6, 50), *, capturable=False, foreach=None,
                 maximize=False, differentiable=False):
        super().__init__(params, {"lr": lr, "etas": etas, "step_sizes": step_sizes, "maximize": maximize})

    def check(self, group):
        require("Rprop", group, lr=(group["lr"] >= 0, "at least 0"),
                etas=(0 < group["etas"][0] < 1 < group["etas"][1], "0 < eta_minus < 1 < eta_plus"))

    def states(self, group):
        return ["prev", "step_size"]

    def begin(self, state, group):
        state["step_size"].array[...] = group["lr"]

    def apply(self, p, g, state, group):
        minus, plus = group["etas"]
        size, turn = state["step_size"], sign(g * state["prev"])
        size.copy_(clip(size * where(turn > 0, plus, where(turn < 0, minus, 1.0)), *group["step_sizes"]))
        g = where(turn < 0, 0.0, g)
        p -= size * sign(g)
        state["prev"].copy_(g)
