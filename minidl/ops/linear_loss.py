"""Cross entropy of a linear layer's results, which are never in memory as a whole: for large vocabularies."""
from math import prod

import numpy as np

from .. import kernels
from ..autograd import grad, op
from ..autograd.modes import state
from ..kernels.cross_entropy import labels_in_range
from .linear import linear
from .loss import check_reduction, cross_entropy, total_weight
from .shape import reshape

CHUNK = 1 << 26  # logits that are in memory at a time, at most; sums over rows are read and written once for each chunk


@op
def linear_cross_entropy_labels(x, linear_weight, target, linear_bias=None, weight=None, reduction="mean", ignore_index=-100,
                                label_smoothing=0.0, wanted=(False, False, False)):
    """cross_entropy(linear(x, linear_weight, linear_bias), target), and its gradients by these three where they are wanted.

    With D = dloss/dlogits: dL/dx = g D linear_weight, dL/dlinear_weight = g D^T x, dL/dlinear_bias = g times the sum of D
    over rows, all found on the way forward, while the logits of some rows are there. Gradients of these go through the
    definition. Shapes: x (N, in), linear_weight (C, in), target (N,), linear_bias, weight (C,) -> (), (N, in), (C, in), (C,).
    """
    labels_in_range("linear_cross_entropy", target, len(linear_weight), ignore_index)
    count = total_weight(target, weight, ignore_index) if reduction == "mean" else 1
    chunks = max(1, -(-len(x) * len(linear_weight) // CHUNK))
    rows = max(1, -(-len(x) // chunks))
    losses, dx, dw, db = [], [], None, None
    for i in range(0, max(1, len(x)), rows):
        part, labels = x[i:i + rows], target[i:i + rows]
        logits = kernels.matmul(part, linear_weight.T, linear_bias)
        loss, lse = kernels.cross_entropy(logits, labels, weight, ignore_index, label_smoothing)
        losses.append(loss)
        if not any(wanted):
            continue
        of_loss = np.empty_like(loss)
        of_loss[...] = 1 / (count or 1)
        d = kernels.cross_entropy_backward(of_loss, logits, lse, labels, weight, ignore_index, label_smoothing, out=logits)
        if wanted[0]:
            dx.append(kernels.matmul(d, linear_weight))
        if wanted[1]:
            dw = kernels.matmul(d.T, part, residual=dw)
        if wanted[2]:
            db = np.add.reduce(d, axis=0) if db is None else db + np.add.reduce(d, axis=0)
    total = np.add.reduce(losses[0] if len(losses) == 1 else np.concatenate(losses))
    total = total / total.dtype.type(count) if count else total * np.nan  # NaN where every label is ignored
    none = np.empty_like(losses[0][:0])
    dx = (dx[0] if len(dx) == 1 else np.concatenate(dx)) if wanted[0] else none
    return total, dx, none if dw is None else dw, none if db is None else db


@linear_cross_entropy_labels.vjp(first=None)
def linear_cross_entropy_labels_vjp(g, y, x, linear_weight, target, linear_bias, weight, reduction, ignore_index,
                                    label_smoothing, need):
    g, needs = g[0], (need[0], need[1], need[3])
    if state.recording:
        arguments = [a for a, wants in zip((x, linear_weight, linear_bias), needs) if wants]
        loss = cross_entropy(linear(x, linear_weight, linear_bias), target, weight, ignore_index, reduction, label_smoothing)
        found = iter(grad(loss, arguments, g, create_graph=True))
        dx, dw, db = (next(found) if wants else None for wants in needs)
    else:
        dx, dw, db = (g * gradient if wants else None for gradient, wants in zip(y[1:], needs))
    return dx, dw, None, db


def linear_cross_entropy(input, linear_weight, target, *, linear_bias=None, weight=None, reduction="mean", ignore_index=None,
                         label_smoothing=0.0, options=None):
    """cross_entropy(linear(input, linear_weight, linear_bias), target, ...), the logits being there for some rows at a time.

    input: (N, in) or (in,); linear_weight: (C, in), or (C, d1, ..., in) for logits (N, C, d1, ...); linear_bias: its shape
    without the last axis, or None. The other arguments are those of cross_entropy; ignore_index None: -100. options, hints how
    to share the work out, is accepted for PyTorch's sake: the rows in memory at a time are chosen here. With reduction
    'none', several labels for each row or probabilities as target, all logits are in memory.
    Raises ValueError for shapes that do not fit and labels out of range.
    """
    name = "linear_cross_entropy"
    check_reduction(name, reduction)
    if linear_weight.ndim < 2 or input.ndim not in (1, 2) or input.shape[-1] != linear_weight.shape[-1]:
        raise ValueError(f"{name}: input {input.shape}, linear_weight {linear_weight.shape}: (N, in) or (in,), and (C, in) or "
                         "(C, d1, ..., in), expected")
    if input.ndim == 1 and linear_weight.ndim > 2:
        raise ValueError(f"{name}: input {input.shape}, linear_weight {linear_weight.shape}: (N, in) expected")
    if linear_bias is not None and linear_bias.shape != linear_weight.shape[:-1]:
        raise ValueError(f"{name}: linear_bias {linear_bias.shape}: {linear_weight.shape[:-1]} expected")
    if getattr(weight, "_requires_grad", False):
        raise ValueError(f"{name}: weight requires a gradient: it is taken as a constant: use weight.detach()")
    shape = input.shape[:-1] + linear_weight.shape[:-1]
    if target.shape == shape and target.dtype.kind == "f" and ignore_index is not None:
        raise ValueError(f"{name}: ignore_index={ignore_index} with probabilities as target: None expected")
    ignore_index = -100 if ignore_index is None else ignore_index
    by_rows = linear_weight.ndim == input.ndim == 2 and target.dtype.kind in "iu" and target.shape == input.shape[:1]
    if reduction != "none" and by_rows and len(linear_weight):
        wanted = tuple(state.recording and getattr(a, "_requires_grad", False) for a in (input, linear_weight, linear_bias))
        return linear_cross_entropy_labels(input, linear_weight, target, linear_bias, weight, reduction, ignore_index,
                                           label_smoothing, wanted)[0]
    flat = prod(linear_weight.shape[:-1])
    logits = linear(input, reshape(linear_weight, (flat, input.shape[-1])),
                    None if linear_bias is None else reshape(linear_bias, (flat,)))
    return cross_entropy(reshape(logits, shape), target, weight, ignore_index, reduction, label_smoothing)


__all__ = ["linear_cross_entropy"]
