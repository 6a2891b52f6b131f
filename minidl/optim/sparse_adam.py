"""Adam for gradients of which most rows are zeros."""
from ..ops import where
from .adamax import AdamVariant


class SparseAdam(AdamVariant):
    """Adam that leaves alone what has no gradient, as torch.optim.SparseAdam: for embeddings, of which a step reads few rows.

        m_i = beta_1 m_i + (1 - beta_1) g_i              of the rows i in which g_t is not 0 throughout
        v_i = beta_2 v_i + (1 - beta_2) g_i^2            all others stay, in the averages and in theta
        theta_i = theta_i - gamma sqrt(1 - beta_2^t) / (1 - beta_1^t) m_i / (sqrt(v_i) + eps)

    Gradients are dense here, whose rows of zeros stand for those that PyTorch's sparse gradients do not have.
    Raises ValueError for options out of range.
    """

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, maximize=False):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0, "maximize": maximize})

    def apply(self, p, g, state, group):
        rows = (g != 0).any(axis=tuple(range(1, g.ndim)), keepdims=True) if g.ndim else g != 0
        before = [state[name].clone() for name in ("exp_avg", "exp_avg_sq")]
        m, v, first, second = self.moments(g, state, group)
        p -= where(rows, group["lr"] * second**0.5 / first * m / (v ** 0.5 + group["eps"]), 0.0)
        for average, old in zip((m, v), before):
            average.copy_(where(rows, average, old))
