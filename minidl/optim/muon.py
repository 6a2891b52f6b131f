"""Muon."""
from .optimizer import Optimizer, require, zeros_like


class Muon(Optimizer):
    """Momentum, orthogonalized (Jordan et al. 2024), as torch.optim.Muon: for the matrices of hidden layers.

        b_t = b_{t-1} + (1 - mu) (g_t - b_{t-1})               momentum_buffer; mu = momentum
        u_t = g_t + mu (b_t - g_t)                             with nesterov, else b_t
        theta = theta - gamma lambda theta                     gamma = lr, lambda = weight_decay
        theta = theta - gamma r orthogonal(u_t)

    adjust_lr_fn: None or 'original': r = sqrt(max(1, rows / columns)); 'match_rms_adamw': r = 0.2 sqrt(max(rows, columns)).
    PyTorch orthogonalizes in bfloat16, this in the parameter's dtype, which is more exact.
    Raises ValueError for options out of range and for a parameter that is no matrix.
    """

    def __init__(self, params, lr=1e-3, weight_decay=0.1, momentum=0.95, nesterov=True,
                 ns_coefficients=(3.4445, -4.7750, 2.0315), eps=1e-7, ns_steps=5, adjust_lr_fn=None):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov,
                                  "ns_coefficients": ns_coefficients, "eps": eps, "ns_steps": ns_steps,
                                  "adjust_lr_fn": adjust_lr_fn})

    def check(self, group):
        require("Muon", group, **{k: (group[k] >= 0, "at least 0") for k in ("lr", "weight_decay", "momentum")},
                ns_coefficients=(len(group["ns_coefficients"]) == 3, "three numbers"),
                ns_steps=(group["ns_steps"] < 100, "below 100"),
                adjust_lr_fn=(group["adjust_lr_fn"] in (None, "original", "match_rms_adamw"),
                              "None, 'original' or 'match_rms_adamw'"))
        for p in group["params"]:
            if p.ndim != 2:
                raise ValueError(f"Muon: a parameter of shape {p.shape}: matrices expected (give the others to AdamW)")

    def update(self, params, grads, group):
        for p, g in zip(params, grads):
            state = self.state.setdefault(p, {})
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = zeros_like(p)
            b, mu, (rows, columns) = state["momentum_buffer"], group["momentum"], p.shape
            b += (1 - mu) * (g - b)
            u = orthogonal(g + mu * (b - g) if group["nesterov"] else b, group)
            r = max(1, rows / columns) ** 0.5
            if group["adjust_lr_fn"] == "match_rms_adamw":
                r = 0.2 * max(rows, columns) ** 0.5
            p *= 1 - group["lr"] * group["weight_decay"]
            p -= group["lr"] * r * u


def orthogonal(x, group):
    """x with its singular values near 1: steps X <- a X + b (X X^T) X + c (X X^T)^2 X from X / |X|."""
    a, b, c = group["ns_coefficients"]
    turned = x.shape[0] > x.shape[1]
    x = x.mT if turned else x
    x = x / max(float((x * x).sum()) ** 0.5, group["eps"])
    for _ in range(group["ns_steps"]):
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.mT if turned else x
