"""Adafactor."""
import numpy as np

from ..autograd.tensor import wrap
from ..ops import clip
from .optimizer import Optimizer, require, zeros_like


class Adafactor(Optimizer):
    """Adam without its memory (Shazeer and Stern 2018), as torch.optim.Adafactor: a matrix keeps rows and columns of v_t.

        s_t = t^beta2_decay
        r_t = r_{t-1} + s_t (mean of g_t^2 over the last axis - r_{t-1})                    row_var
        c_t = c_{t-1} + s_t (mean of g_t^2 over the axis before - c_{t-1})                  col_var
        v_t = r_t c_t / max(mean of r_t, eps_1);  v_t = v_{t-1} + s_t (g_t^2 - v_{t-1}) of vectors     variance
        u_t = g_t / sqrt(max(v_t, eps_1^2))
        theta = theta - gamma lambda theta                                                  gamma = lr, lambda = weight_decay
        theta = theta - max(eps_2, RMS(theta)) min(gamma, 1 / sqrt(t)) u_t / max(1, RMS(u_t) / d)

    eps: (eps_1, eps_2), eps_1 None: the dtype's own. RMS: the root of the mean square; of theta before it shrinks.
    Raises ValueError for options out of range.
    """

    def __init__(self, params, lr=1e-2, beta2_decay=-0.8, eps=(None, 1e-3), d=1.0, weight_decay=0.0, *, foreach=None,
                 maximize=False):
        super().__init__(params, {"lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d, "weight_decay": weight_decay,
                                  "maximize": maximize})

    def check(self, group):
        require("Adafactor", group, lr=(group["lr"] >= 0, "at least 0"), beta2_decay=(group["beta2_decay"] <= 0, "at most 0"),
                eps=(all(e is None or e >= 0 for e in group["eps"]) and group["eps"][1] is not None, "numbers of at least 0"),
                d=(group["d"] >= 1, "at least 1"), weight_decay=(group["weight_decay"] >= 0, "at least 0"))

    def update(self, params, grads, group):
        for p, g in zip(params, grads):
            state = self.state.get(p) or self._begin(p)
            state["step"] = t = int(state["step"]) + 1
            g = -g if group["maximize"] else g
            least = np.finfo(p.dtype).eps.item() if group["eps"][0] is None else group["eps"][0]
            rate = max(group["eps"][1], rms(p)) * min(group["lr"], t ** -0.5)
            p *= 1 - group["lr"] * group["weight_decay"]
            u = g / clip(self._variance(g * g, state, t ** group["beta2_decay"], least), least * least) ** 0.5
            p -= rate / max(1.0, rms(u) / group["d"]) * u

    def _begin(self, p):
        state = self.state[p] = {"step": 0}
        if p.ndim > 1:
            lead, rows, columns = p.shape[:-2], *p.shape[-2:]
            state["row_var"] = wrap(np.zeros((*lead, rows, 1), p.dtype, like=p.array))
            state["col_var"] = wrap(np.zeros((*lead, 1, columns), p.dtype, like=p.array))
        else:
            state["variance"] = zeros_like(p)
        return state

    def _variance(self, square, state, share, least):
        """v_t, of g_t^2."""
        if square.ndim < 2:
            state["variance"] += share * (square - state["variance"])
            return state["variance"]
        rows, columns = state["row_var"], state["col_var"]
        rows += share * (square.mean(axis=-1, keepdims=True) - rows)
        columns += share * (square.mean(axis=-2, keepdims=True) - columns)
        return rows * columns / clip(rows.mean(axis=-2, keepdims=True), least)


def rms(x):
    """The root of the mean square, as a number."""
    return float((x * x).mean()) ** 0.5
