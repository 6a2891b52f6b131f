"""Losses of rankings, margins, distances and distributions, with PyTorch's arguments and conventions.

reduction: 'mean', 'sum' or 'none', and 'batchmean' for kl_div. Shapes: of one axis more than target's, or alike, as said
-> () or, for 'none', one loss for each element or row.
"""
import math
import warnings

import numpy as np

from ..autograd.tensor import wrap
from .activation import logsigmoid, softplus
from .arithmetic import clip, minimum, sqrt
from .distance import pairwise_distance
from .elementwise import exp, log
from .index import take, take_along_axis, where
from .loss import check_reduction, of_dtype, reduced
from .reduce import cumulative_prod
from .shape import expand_dims


def hinge(x):
    """max(x, 0), with gradient 1 at 0, as PyTorch's clamp has it."""
    return clip(x, 0, None)


def kl_div(input, target, reduction="mean", log_target=False):
    """t (log t - input), 0 where t is 0: the divergence of the distribution exp(input) from t. Shapes: broadcast.

    log_target: target holds log t. reduction 'batchmean', the divergence's definition: the sum over the size of axis 0; 'mean'
    divides by the number of elements, and warns.
    """
    if reduction == "mean":
        warnings.warn("kl_div: reduction='mean' divides by the number of elements: 'batchmean' is the divergence",
                      stacklevel=2)
    if log_target:
        losses = exp(target) * (target - input)
    else:
        target = of_dtype(input, target)
        losses = target * log(where(target == 0, 1.0, target)) - target * input
    if reduction == "batchmean":
        return losses.sum() / (input.shape[0] if input.ndim else 1)
    return reduced("kl_div", losses, reduction)


def poisson_nll_loss(input, target, log_input=True, full=False, eps=1e-8, reduction="mean"):
    """exp(input) - t input, or, with log_input False, input - t log(input + eps). full: and Stirling's log(t!), for t > 1."""
    target = of_dtype(input, target)
    losses = exp(input) - target * input if log_input else input - target * log(input + eps)
    if full:
        many = target > 1
        t = where(many, target, 1.0)
        losses = losses + where(many, t * log(t) - t + 0.5 * log(2 * math.pi * t), 0.0)
    return reduced("poisson_nll_loss", losses, reduction)


def gaussian_nll_loss(input, target, var, full=False, eps=1e-6, reduction="mean"):
    """(log var + (input - t)**2 / var) / 2, var at least eps. full: and log(2 pi) / 2.

    var: a number, or of input's shape, which may lack the last axis or have 1 for one. Raises ValueError for others and for
    numbers below 0.
    """
    check_reduction("gaussian_nll_loss", reduction)
    if not hasattr(var, "shape"):
        var = input.detach() * 0 + var
    if bool((var < 0).any()):
        raise ValueError("gaussian_nll_loss: var has entries below 0: variances expected")
    if var.shape == input.shape[:-1] != input.shape:
        var = expand_dims(var, -1)
    elif var.shape != input.shape and (var.ndim != input.ndim or
                                       sorted(v for v, n in zip(var.shape, input.shape) if v != n) != [1]):
        raise ValueError(f"gaussian_nll_loss: input {input.shape}, var {var.shape}: input's shape, without the last axis or "
                         "with 1 for one axis, expected")
    var = var + (clip(var, eps, None) - var).detach()  # the gradient is var's, as in PyTorch
    losses = 0.5 * (log(var) + (input - target) ** 2 / var)
    return reduced("gaussian_nll_loss", losses + 0.5 * math.log(2 * math.pi) if full else losses, reduction)


def hinge_embedding_loss(input, target, margin=1.0, reduction="mean"):
    """input where t is 1, max(margin - input, 0) where it is -1. Shapes: broadcast."""
    losses = where(target != 1, hinge(margin - input), 0.0) + where(target != -1, input, 0.0)
    return reduced("hinge_embedding_loss", losses, reduction)


def margin_ranking_loss(input1, input2, target, margin=0.0, reduction="mean"):
    """max(margin - t (input1 - input2), 0): t is 1 where input1 should be the larger, -1 where the smaller. Shapes: broadcast.

    Raises ValueError for different numbers of axes.
    """
    if not input1.ndim == input2.ndim == target.ndim:
        raise ValueError(f"margin_ranking_loss: input1 {input1.shape}, input2 {input2.shape}, target {target.shape}: as many "
                         "axes each expected")
    return reduced("margin_ranking_loss", hinge(margin - of_dtype(input1, target) * (input1 - input2)), reduction)


def soft_margin_loss(input, target, reduction="mean"):
    """log(1 + exp(-t input)), t 1 or -1. Shapes: broadcast."""
    return reduced("soft_margin_loss", softplus(-of_dtype(input, target) * input), reduction)


def multilabel_soft_margin_loss(input, target, weight=None, reduction="mean"):
    """The mean over classes, the last axis, of the binary cross entropy with logits, times weight (C,). Shapes: (..., C)."""
    target = of_dtype(input, target)
    losses = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    losses = losses if weight is None else losses * weight
    return reduced("multilabel_soft_margin_loss", losses.sum(axis=-1) / input.shape[-1], reduction)


def rows_of_classes(name, input, target, target_ndim):
    """input and target with an axis of rows, and whether the target lacked it. Raises ValueError where shapes do not fit."""
    single = target.ndim < target_ndim
    if input.ndim < 2:
        input, target = (input if input.ndim else input[None])[None], target[None] if target.ndim < target_ndim else target
    if input.ndim != 2 or 0 in input.shape[1:] or target.shape != input.shape[:target_ndim]:
        raise ValueError(f"{name}: input {input.shape}, target {target.shape}: (N, C) or (C,), C above 0, and a target of "
                         f"{'(N, C) or (C,)' if target_ndim == 2 else '(N,) or ()'} expected")
    return input, target, single


def class_numbers(x):
    """0, 1, ..., one for each class of rows (N, C)."""
    return wrap(np.arange(x.shape[1], like=getattr(x, "array", x)))


def multi_margin_loss(input, target, p=1, margin=1.0, weight=None, reduction="mean"):
    """The mean over classes j, the label t left out, of w[t] max(margin - x[t] + x[j], 0)**p.

    Shapes: input (N, C), target (N,), or both without N; weight (C,). Raises ValueError for a p other than 1 and 2 and for
    shapes that do not fit.
    """
    name = "multi_margin_loss"
    if p not in (1, 2):
        raise ValueError(f"{name}: p={p!r}: 1 or 2 expected")
    x, labels, single = rows_of_classes(name, input, target, 1)
    if weight is not None and weight.shape != x.shape[1:]:
        raise ValueError(f"{name}: input {input.shape}, weight {weight.shape}: {x.shape[1:]} expected")
    at = expand_dims(labels, 1)
    losses = hinge(margin - take_along_axis(x, at, 1) + x)
    losses = losses if p == 1 else losses * losses
    losses = losses if weight is None else losses * expand_dims(take(weight, labels), 1)
    losses = where(class_numbers(x) == at, 0.0, losses).sum(axis=1) / x.shape[1]
    return reduced(name, losses[0] if single else losses, reduction)


def multilabel_margin_loss(input, target, reduction="mean"):
    """The sum over labels t and classes j that are none of max(1 - x[t] + x[j], 0), over C. Shapes: (N, C) alike, or (C,).

    target: the labels of a row, up to the first negative number. Raises ValueError for shapes that do not fit.
    """
    x, target, single = rows_of_classes("multilabel_margin_loss", input, target if target.ndim else target[None], 2)
    given = cumulative_prod((target >= 0).astype(x.dtype), 1) > 0
    labels = where(given, target, 0)
    if labels.size and int(labels.max()) >= x.shape[1]:
        raise ValueError(f"multilabel_margin_loss: target holds {int(labels.max())}: less than {x.shape[1]} expected")
    is_label = (expand_dims(where(given, target, -1), 2) == class_numbers(x)).any(axis=1, keepdims=True)
    pairs = hinge(1 - expand_dims(take_along_axis(x, labels, 1), 2) + expand_dims(x, 1))  # (N, labels, classes)
    losses = where(is_label, 0.0, where(expand_dims(given, 2), pairs, 0.0)).sum(axis=(1, 2)) / x.shape[1]
    return reduced("multilabel_margin_loss", losses[0] if single else losses, reduction)


def cosine_embedding_loss(input1, input2, target, margin=0.0, reduction="mean"):
    """1 - cos of the angle where t is 1, max(cos - margin, 0) where it is -1. Shapes: (N, D) twice, (N,), or without N.

    Raises ValueError for other shapes.
    """
    if input1.ndim != target.ndim + 1 or input2.ndim != target.ndim + 1 or target.ndim > 1:
        raise ValueError(f"cosine_embedding_loss: input1 {input1.shape}, input2 {input2.shape}, target {target.shape}: "
                         "(N, D) twice and (N,), or (D,) twice and (), expected")
    squares = ((input1 * input1).sum(axis=-1) + 1e-12) * ((input2 * input2).sum(axis=-1) + 1e-12)
    cosine = (input1 * input2).sum(axis=-1) / sqrt(squares)
    losses = where(target == 1, 1 - cosine, 0.0) + where(target == -1, hinge(cosine - margin), 0.0)
    return reduced("cosine_embedding_loss", losses, reduction)


def triplet_margin_loss(anchor, positive, negative, margin=1.0, p=2.0, eps=1e-6, swap=False, reduction="mean"):
    """triplet_margin_with_distance_loss with pairwise_distance of order p and eps."""
    def distance(a, b):
        return pairwise_distance(a, b, p, eps)
    return triplet_margin_with_distance_loss(anchor, positive, negative, distance_function=distance, margin=margin, swap=swap,
                                             reduction=reduction)


def triplet_margin_with_distance_loss(anchor, positive, negative, *, distance_function=None, margin=1.0, swap=False,
                                      reduction="mean"):
    """max(distance(a, p) - distance(a, n) + margin, 0), the distance being pairwise_distance if None. Shapes: (..., D) alike.

    swap: the negative's distance to the positive counts where it is the smaller (Balntas et al., 2016).
    Raises ValueError for different numbers of axes and a margin that is not above 0.
    """
    name = "triplet_margin_loss"
    if margin <= 0:
        raise ValueError(f"{name}: margin={margin}: above 0 expected")
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise ValueError(f"{name}: anchor {anchor.shape}, positive {positive.shape}, negative {negative.shape}: as many axes "
                         "each expected")
    distance = pairwise_distance if distance_function is None else distance_function
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = minimum(far, distance(positive, negative))
    return reduced(name, hinge(margin + near - far), reduction)


__all__ = ["cosine_embedding_loss", "gaussian_nll_loss", "hinge_embedding_loss", "kl_div", "margin_ranking_loss",
           "multi_margin_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss", "poisson_nll_loss",
           "soft_margin_loss", "triplet_margin_loss", "triplet_margin_with_distance_loss"]
