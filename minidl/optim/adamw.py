"""AdamW."""
from .adam import Adam


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), as torch.optim.AdamW.

        theta = theta - gamma lambda theta               gamma = lr, lambda = weight_decay
        theta = theta - gamma m^_t / (sqrt(v^_t) + eps)  m^_t and v^_t as in Adam, of the gradient alone

    Raises ValueError for options out of range.
    """

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, amsgrad=False, *, maximize=False,
                 foreach=None, capturable=False, differentiable=False, fused=None):
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, decoupled_weight_decay=True)
