"""Losses as modules: `loss(input, target)`. What they compute is said at the functions of nn.functional.

reduction: 'mean', 'sum' or 'none'.
"""
from math import prod

from ..ops import reshape
from . import functional as F
from .linear import Linear
from .module import Module


class Loss(Module):
    """What all losses have: reduction."""

    def __init__(self, reduction="mean"):
        super().__init__()
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f"{type(self).__name__}: reduction={reduction!r}: 'mean', 'sum' or 'none' expected")
        self.reduction = reduction


class MSELoss(Loss):
    """The squared error (functional.mse_loss)."""

    def forward(self, input, target):
        return F.mse_loss(input, target, self.reduction)


class L1Loss(Loss):
    """The absolute error (functional.l1_loss)."""

    def forward(self, input, target):
        return F.l1_loss(input, target, self.reduction)


class SmoothL1Loss(Loss):
    """The squared error below beta, the absolute above (functional.smooth_l1_loss)."""

    def __init__(self, reduction="mean", beta=1.0):
        super().__init__(reduction)
        self.beta = beta

    def forward(self, input, target):
        return F.smooth_l1_loss(input, target, self.reduction, self.beta)


class HuberLoss(Loss):
    """The squared error below delta, delta times the absolute above (functional.huber_loss)."""

    def __init__(self, reduction="mean", delta=1.0):
        super().__init__(reduction)
        self.delta = delta

    def forward(self, input, target):
        return F.huber_loss(input, target, self.reduction, self.delta)


class CrossEntropyLoss(Loss):
    """The cross entropy of logits with labels or probabilities (functional.cross_entropy)."""

    def __init__(self, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing

    def forward(self, input, target):
        return F.cross_entropy(input, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing)


class LinearCrossEntropyLoss(Loss):
    """A linear layer and the cross entropy of its results, which are not all in memory (functional.linear_cross_entropy).

    out_features: axes of the logits behind the classes, (N, C, *out_features).
    """

    def __init__(self, in_features, num_classes, *, out_features=(), bias=False, reduction="mean", weight=None,
                 ignore_index=None, label_smoothing=0.0):
        super().__init__(reduction)
        self.num_classes, self.out_features = num_classes, tuple(out_features)
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing
        self.register_buffer("weight", weight)
        self.linear = Linear(in_features, prod(self.out_features, start=num_classes), bias=bias)

    def forward(self, input, target):
        shape, bias = (self.num_classes, *self.out_features), self.linear.bias
        return F.linear_cross_entropy(
            input, reshape(self.linear.weight, (*shape, -1)), target,
            linear_bias=None if bias is None else reshape(bias, shape), weight=self.weight, reduction=self.reduction,
            ignore_index=self.ignore_index, label_smoothing=self.label_smoothing)


class NLLLoss(Loss):
    """The cross entropy of logarithms of probabilities with labels (functional.nll_loss)."""

    def __init__(self, weight=None, ignore_index=-100, reduction="mean"):
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index

    def forward(self, input, target):
        return F.nll_loss(input, target, self.weight, self.ignore_index, self.reduction)


class BCELoss(Loss):
    """The binary cross entropy of probabilities (functional.binary_cross_entropy)."""

    def __init__(self, weight=None, reduction="mean"):
        super().__init__(reduction)
        self.register_buffer("weight", weight)

    def forward(self, input, target):
        return F.binary_cross_entropy(input, target, self.weight, self.reduction)


class BCEWithLogitsLoss(Loss):
    """The binary cross entropy of logits (functional.binary_cross_entropy_with_logits)."""

    def __init__(self, weight=None, reduction="mean", pos_weight=None):
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input, target):
        return F.binary_cross_entropy_with_logits(input, target, self.weight, self.reduction, self.pos_weight)
