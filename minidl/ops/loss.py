"""Losses, with PyTorch's arguments and conventions."""
import warnings

import numpy as np

from .. import kernels
from ..autograd import op
from ..kernels.cross_entropy import labels_in_range
from .activation import log_softmax, softplus
from .arithmetic import abs, clip
from .elementwise import exp, log, log1p
from .index import take, take_along_axis, where
from .shape import expand_dims, moveaxis, reshape

REDUCTIONS = ("mean", "sum", "none")


def reduced(name, losses, reduction):
    """The mean or the sum of the losses, or the losses themselves."""
    if reduction == "mean":
        return losses.mean()
    if reduction == "sum":
        return losses.sum()
    check_reduction(name, reduction)
    return losses


def check_reduction(name, reduction):
    if reduction not in REDUCTIONS:
        raise ValueError(f"{name}: reduction={reduction!r}: one of {', '.join(map(repr, REDUCTIONS))} expected")


def check_shapes(name, x, target):
    """Warns, as PyTorch does, where shapes differ: (N, 1) against (N,) broadcasts to (N, N), hardly ever on purpose."""
    if x.shape != target.shape:
        warnings.warn(f"{name}: input {x.shape}, target {target.shape}: the shapes differ and will broadcast; give them the "
                      "same shape, for example by target.reshape(x.shape)", stacklevel=3)


def of_dtype(input, target):
    """The target, whole numbers in the input's dtype, so that the loss has this one too."""
    return target.astype(input.dtype) if input.dtype.kind == "f" and target.dtype.kind in "iub" else target


def weighted(name, losses, weight, reduction):
    """The losses times the weights, reduced; the mean divides by the sum of the weights."""
    if weight is None:
        return reduced(name, losses, reduction)
    if weight.shape != losses.shape:
        raise ValueError(f"{name}: losses {losses.shape}, weight {weight.shape}: the same shape expected")
    return (losses * weight).sum() / weight.sum() if reduction == "mean" else reduced(name, losses * weight, reduction)


def mse_loss(input, target, reduction="mean", weight=None):
    """(input - target)**2. d/dinput = 2 (input - target) / count. Shapes: alike -> () or, for 'none', theirs.

    weight: how much each element counts, of their shape; the mean divides by the sum of the weights.
    """
    check_shapes("mse_loss", input, target)
    difference = input - of_dtype(input, target)
    return weighted("mse_loss", difference * difference, weight, reduction)


def l1_loss(input, target, reduction="mean", weight=None):
    """|input - target|. d/dinput = sign(input - target) / count. Arguments and shapes: as mse_loss."""
    check_shapes("l1_loss", input, target)
    return weighted("l1_loss", abs(input - of_dtype(input, target)), weight, reduction)


def huber_loss(input, target, reduction="mean", delta=1.0, weight=None):
    """d**2 / 2 where |d| < delta, else delta (|d| - delta / 2), d = input - target (Huber, 1964). The rest as in mse_loss.

    Raises ValueError unless delta is above 0.
    """
    if delta <= 0:
        raise ValueError(f"huber_loss: delta={delta!r}: above 0 expected")
    check_shapes("huber_loss", input, target)
    size = abs(input - of_dtype(input, target))
    small = clip(size, None, delta)  # flat where the loss is linear
    return weighted("huber_loss", small * (size - 0.5 * small), weight, reduction)


def smooth_l1_loss(input, target, reduction="mean", beta=1.0):
    """huber_loss / beta: d**2 / (2 beta) where |d| < beta, else |d| - beta / 2. beta 0: l1_loss. Shapes: as mse_loss.

    Raises ValueError for a beta below 0.
    """
    if beta < 0:
        raise ValueError(f"smooth_l1_loss: beta={beta!r}: at least 0 expected")
    return l1_loss(input, target, reduction) if beta == 0 else huber_loss(input, target, reduction, beta) / beta


@op
def cross_entropy_labels(x, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """Cross entropy of rows of logits with labels, reduced, and log(sum(exp(x))) of each row.

    dL/dx = cross_entropy_backward. Shapes: x (N, C), target (N,), weight (C,) or None -> () or (N,), and (N,).
    """
    losses, lse = kernels.cross_entropy(x, target, weight, ignore_index, label_smoothing)
    if reduction == "none":
        return losses, lse
    total = np.add.reduce(losses)
    if reduction == "sum":
        return total, lse
    count = total_weight(target, weight, ignore_index)
    return total / total.dtype.type(count) if count else total * np.nan, lse  # NaN where every label is ignored


@cross_entropy_labels.vjp(first=None)
def cross_entropy_labels_vjp(g, y, x, target, weight, ignore_index, reduction, label_smoothing):
    dloss, dlse = g
    dx = None
    if dloss is not None:
        if reduction == "mean":
            labels, w = (getattr(a, "array", a) for a in (target, weight))
            dloss = dloss / (float(total_weight(labels, w, ignore_index)) or 1.0)
        dx = cross_entropy_backward(dloss, x, y[1], target, weight, ignore_index, label_smoothing)
    if dlse is not None:
        through = expand_dims(dlse, 1) * exp(x - expand_dims(y[1], 1))
        dx = through if dx is None else dx + through
    return dx


@op
def cross_entropy_backward(dy, x, lse, target, weight=None, ignore_index=-100, label_smoothing=0.0):
    """dx = dy (a p - b) of the losses before reduction: p = exp(x - lse), b the smoothed and weighted label, a = sum(b).

    d/d(dy) = sum of g (a p - b), d/dx = g dy a p, d/dlse = -sum of g dy a p. Shapes: dy () or (N,), lse, target (N,),
    x (N, C) -> (N, C).
    """
    if dy.ndim == 0:  # of a sum or mean: the same for every row
        rows = np.empty_like(lse)
        rows[...] = dy
        dy = rows
    return kernels.cross_entropy_backward(dy, x, lse, target, weight, ignore_index, label_smoothing)


@cross_entropy_backward.vjp
def cross_entropy_backward_vjp(g, dy, x, lse, target, weight, ignore_index, label_smoothing, need):
    d_dy = dx = dlse = None
    if need[0]:
        unit = cross_entropy_backward(dy.detach() * 0 + 1, x, lse, target, weight, ignore_index, label_smoothing)
        d_dy = (g * unit).sum(axis=1)
    if need[1] or need[2]:
        a = label_weights(target, weight, ignore_index, label_smoothing)
        dx = g * expand_dims(dy * a, 1) * exp(x - expand_dims(lse, 1))
        dlse = -dx.sum(axis=1)
    return d_dy, dx, dlse


@op
def label_weights(target, weight=None, ignore_index=-100, label_smoothing=0.0):
    """How much a label counts: (1 - e) w[t] + e mean(w), 0 where it is ignored. No derivative: constants. Shape: (N,)."""
    kept = target != ignore_index
    if weight is None:
        return kept.astype(np.float32)
    w = (1 - label_smoothing) * weight[np.where(kept, target, 0)]
    if label_smoothing:
        w = w + label_smoothing * np.mean(weight)
    return np.where(kept, w, 0).astype(weight.dtype)


def total_weight(target, weight, ignore_index):
    """What the mean divides by: the sum of the weights of the labels that are not ignored."""
    kept = target != ignore_index
    return np.count_nonzero(kept) if weight is None else np.sum(weight[target[kept]])


def cross_entropy(input, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """-log softmax(input)[target], computed from the logits in one kernel.

    input: logits (N, C), (N, C, d1, ...) or (C,). target: labels, input's shape without C, or probabilities of input's shape.
    weight: (C,), one for each class; the mean divides by the weights of the labels. ignore_index: labels that count nothing.
    label_smoothing e: the label's probability is 1 - e + e / C, the others' e / C (Szegedy et al., 2015).
    Returns () or, for reduction 'none', target's shape without C. d/dinput = (softmax(input) - target) / N.
    Raises ValueError for shapes that do not fit and labels out of range.
    """
    check_reduction("cross_entropy", reduction)
    if getattr(weight, "_requires_grad", False):
        raise ValueError("cross_entropy: weight requires a gradient: it is taken as a constant: use weight.detach()")
    if input.ndim == 0:
        raise ValueError(f"cross_entropy: input {input.shape}: (N, C), (N, C, d1, ...) or (C,) expected")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing={label_smoothing}: a number in [0, 1] expected")
    if target.dtype.kind == "f" and target.shape == input.shape:
        if ignore_index >= 0:
            raise ValueError(f"cross_entropy: ignore_index={ignore_index} with probabilities as target: below 0 expected")
        return cross_entropy_probabilities(input, target, weight, reduction, label_smoothing)
    if target.dtype.kind not in "iu":
        raise TypeError(f"cross_entropy: target is {target.dtype}{target.shape}: integer labels, or probabilities of the "
                        f"input's shape {input.shape}, expected: target.astype('int64')?")
    labels_shape = input.shape[:1] + input.shape[2:] if input.ndim > 1 else ()
    if target.shape != labels_shape:
        one_hot = target.shape == input.shape and input.ndim > 1
        hint = ": target.argmax(1) turns one-hot rows into labels" if one_hot else ""
        raise ValueError(f"cross_entropy: input {input.shape}, target {target.shape}: target {labels_shape} expected{hint}")
    if input.ndim != 2:
        input = moveaxis(input, 1, -1) if input.ndim > 2 else input
        input, target = reshape(input, (-1, input.shape[-1])), reshape(target, (-1,))
    loss = cross_entropy_labels(input, target, weight, ignore_index, reduction, label_smoothing)[0]
    return reshape(loss, labels_shape) if reduction == "none" and loss.shape != labels_shape else loss


def cross_entropy_probabilities(x, target, weight, reduction, label_smoothing):
    """Cross entropy with a probability for each class; the mean is over samples."""
    axis = 1 if x.ndim > 1 else 0
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / x.shape[axis]
    if weight is not None:
        if weight.shape != x.shape[axis:axis + 1]:
            raise ValueError(f"cross_entropy: input {x.shape}, weight {weight.shape}: {x.shape[axis:axis + 1]} expected")
        target = target * reshape(weight, (-1,) + (1,) * (x.ndim - axis - 1))
    losses = -(target * log_softmax(x, axis)).sum(axis=axis)
    return reduced("cross_entropy", losses, reduction)


def nll_loss(input, target, weight=None, ignore_index=-100, reduction="mean"):
    """-input[target]: cross entropy of logarithms of probabilities. Arguments and shapes: as cross_entropy with labels.

    d/dx = -weight / sum of weights at the labels, 0 elsewhere. Raises ValueError for labels out of range.
    """
    check_reduction("nll_loss", reduction)
    axis = 1 if input.ndim > 1 else 0
    labels_shape = input.shape[:axis] + input.shape[axis + 1:]
    if target.shape != labels_shape or target.dtype.kind not in "iu":
        raise ValueError(f"nll_loss: input {input.shape}, target {target.dtype}{target.shape}: "
                         f"integer labels {labels_shape} expected")
    labels_in_range("nll_loss", getattr(target, "array", target).reshape(-1), input.shape[axis], ignore_index)
    kept = target != ignore_index
    labels = where(kept, target, 0)
    at = expand_dims(labels, axis)
    losses = where(kept, -reshape(take_along_axis(input, at, axis), labels_shape), 0.0)
    if weight is None:
        total = kept.sum()
    else:
        each = where(kept, take(weight, labels), 0.0)
        losses, total = losses * each, each.sum()
    return losses.sum() / total.astype(input.dtype) if reduction == "mean" else reduced("nll_loss", losses, reduction)


@op
def bce(x, target):
    """-(t log x + (1 - t) log(1 - x)), elementwise, the logarithms at least -100, as in PyTorch.

    d/dx = (x - t) / max(x (1 - x), 1e-12), d/dt = log(1 - x) - log x. Shapes broadcast.
    """
    with np.errstate(divide="ignore"):
        return -(target * np.maximum(np.log(x), -100) + (1 - target) * np.maximum(np.log1p(-x), -100))


@bce.vjp
def bce_vjp(g, x, target, need):
    dx = g * (x - target) / clip(x * (1 - x), 1e-12, None) if need[0] else None
    return dx, g * (clip(log1p(-x), -100, None) - clip(log(x), -100, None)) if need[1] else None


def binary_cross_entropy(input, target, weight=None, reduction="mean"):
    """-(t log x + (1 - t) log(1 - x)), x the input and t the target, times weight. Shapes: alike -> () or, for 'none', theirs.

    Raises ValueError for shapes that differ or an input outside of [0, 1]. Logits: binary_cross_entropy_with_logits.
    """
    check_same("binary_cross_entropy", input, target)
    values = getattr(input, "array", input)
    if values.size and not (np.min(values) >= 0 and np.max(values) <= 1):
        raise ValueError(f"binary_cross_entropy: input from {np.min(values)} to {np.max(values)}: probabilities in [0, 1] "
                         "expected; for logits use binary_cross_entropy_with_logits")
    losses = bce(input, target)
    return reduced("binary_cross_entropy", losses if weight is None else losses * weight, reduction)


def binary_cross_entropy_with_logits(input, target, weight=None, reduction="mean", pos_weight=None):
    """binary_cross_entropy of sigmoid(x), x the input, without overflow: softplus(x) - t x. d/dx = sigmoid(x) - t.

    pos_weight: how much more a positive counts, broadcast: (1 - t) x + (1 + (pos_weight - 1) t) softplus(-x).
    Raises ValueError for shapes that differ.
    """
    check_same("binary_cross_entropy_with_logits", input, target)
    target = of_dtype(input, target)
    if pos_weight is None:
        losses = softplus(input) - target * input
    else:
        losses = (1 - target) * input + (1 + (pos_weight - 1) * target) * softplus(-input)
    return reduced("binary_cross_entropy_with_logits", losses if weight is None else losses * weight, reduction)


def check_same(name, x, target):
    if x.shape != target.shape:
        raise ValueError(f"{name}: input {x.shape}, target {target.shape}: the same shape expected: "
                         f"target.reshape{x.shape}?")


__all__ = ["binary_cross_entropy", "binary_cross_entropy_with_logits", "cross_entropy", "huber_loss", "l1_loss", "mse_loss",
           "nll_loss", "smooth_l1_loss"]
