"""Losses by Keras' names, and what to do about a model that ends in the activation which the loss would undo.

The logarithm of a softmax's output loses what the softmax rounded away: a probability of 1e-50 is 0 in float32. So where a
model ends in softmax and its loss is a cross entropy, training and evaluation leave the softmax out and take the loss of what
went into it (the logits), which is exact for any logits; likewise for sigmoid and binary cross entropy. `predict` runs the
whole model.
"""
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import nn
from ..nn import functional as F

_EPSILON = 1e-7  # Keras': probabilities are clipped to [_EPSILON, 1 - _EPSILON]


def _rows(prediction, target):
    """(N, ..., C) and its class numbers as (rows, C) and (rows,), in PyTorch's form."""
    if prediction.ndim == 2 and target.ndim == 1:
        return prediction, target
    return prediction.reshape(-1, prediction.shape[-1]), target.reshape(-1)


def sparse_crossentropy_of_logits(prediction, target, reduction):
    return F.cross_entropy(*_rows(prediction, target), reduction=reduction)


def sparse_crossentropy(prediction, target, reduction):
    rows, labels = _rows(prediction, target)
    rows = rows / rows.sum(axis=-1, keepdims=True)
    return F.nll_loss(rows.clip(_EPSILON, 1 - _EPSILON).log(), labels, reduction=reduction)


def crossentropy_of_logits(prediction, target, reduction):
    return _reduced(-(target * F.log_softmax(prediction, -1)).sum(axis=-1), reduction)


def crossentropy(prediction, target, reduction):
    prediction = (prediction / prediction.sum(axis=-1, keepdims=True)).clip(_EPSILON, 1 - _EPSILON)
    return _reduced(-(target * prediction.log()).sum(axis=-1), reduction)


def binary_crossentropy_of_logits(prediction, target, reduction):
    return F.binary_cross_entropy_with_logits(prediction, target, reduction=reduction)


def binary_crossentropy(prediction, target, reduction):
    return F.binary_cross_entropy(prediction.clip(_EPSILON, 1 - _EPSILON), target, reduction=reduction)


def squared_error(prediction, target, reduction):
    return F.mse_loss(prediction, target, reduction=reduction)


def absolute_error(prediction, target, reduction):
    return F.l1_loss(prediction, target, reduction=reduction)


def _reduced(values, reduction):
    return values.mean() if reduction == "mean" else values


@dataclass(frozen=True)
class Loss:
    """A loss and the targets it takes: 'labels' (class numbers), 'one_hot', 'values', or None for any."""

    name: str
    function: Any                # (prediction, target, reduction) -> Tensor
    targets: str | None = None
    undoes: Any = ()             # the class of the last module that `of_logits` does without
    of_logits: Any = None

    def __call__(self, prediction, target, sample_weight=None):
        """The mean over the batch; with weights, of loss times weight (divided by the batch's size, as in Keras)."""
        if sample_weight is None:
            return self.function(prediction, target, "mean")
        values = self.function(prediction, target, "none")
        values = values.reshape(sample_weight.shape[0], -1)
        return (values.mean(axis=1) * sample_weight).mean()


_CROSSENTROPIES = (
    Loss("sparse_categorical_crossentropy", sparse_crossentropy, "labels", nn.Softmax, sparse_crossentropy_of_logits),
    Loss("categorical_crossentropy", crossentropy, "one_hot", nn.Softmax, crossentropy_of_logits),
    Loss("binary_crossentropy", binary_crossentropy, "values", nn.Sigmoid, binary_crossentropy_of_logits),
)
LOSSES = {loss.name: loss for loss in _CROSSENTROPIES}
for _name, _alias, _function in (("mean_squared_error", "mse", squared_error), ("mean_absolute_error", "mae", absolute_error)):
    LOSSES[_name] = LOSSES[_alias] = Loss(_name, _function, "values")


def get(loss):
    """The Loss for a name, a loss of minidl.nn, called with (prediction, target), or a function of Keras' (y_true, y_pred).

    Such a function gives one loss, or one for each sample. Raises ValueError for an unknown name, TypeError for anything else.
    """
    if isinstance(loss, str):
        if loss not in LOSSES:
            from difflib import get_close_matches
            near = get_close_matches(loss, LOSSES, 1)
            raise ValueError(f"compile: loss={loss!r}: " + (f"did you mean {near[0]!r}? " if near else "") +
                             f"One of {', '.join(map(repr, LOSSES))}, a loss of minidl.nn or a function expected")
        return LOSSES[loss]
    if isinstance(loss, nn.Module):
        def function(prediction, target, reduction):
            return loss(prediction, target)
        return Loss(type(loss).__name__, function)
    if callable(loss):
        def function(prediction, target, reduction):
            return _reduced(loss(target, prediction), reduction)
        return Loss(getattr(loss, "__name__", "loss"), function)
    raise TypeError(f"compile: loss is a {type(loss).__name__}: a name, a loss of minidl.nn or a function expected")


def checked_targets(loss, y, shape):
    """`y` in the form that `loss` takes for a model whose output has `shape` (batch included).

    Raises ValueError where the shape, the dtype or a class number does not fit.
    """
    y = y.numpy() if hasattr(y, "backward") else np.asarray(y)
    if y.dtype.kind not in "biuf":
        raise ValueError(f"y: dtype {y.dtype}: numbers expected")
    if loss.targets == "labels":
        return _checked_labels(loss, y, shape)
    if loss.targets is None:
        return y.astype(np.float32) if y.dtype == np.float64 else y
    if y.ndim == len(shape) - 1 and shape[-1] == 1:
        y = y[..., None]
    if y.ndim != len(shape) or any(n not in (None, m) for n, m in zip(shape[1:], y.shape[1:])):
        hint = ""
        if loss.targets == "one_hot" and y.dtype.kind in "iu":
            hint = " (for class numbers there is loss='sparse_categorical_crossentropy')"
        raise ValueError(f"y: shape {y.shape} for loss={loss.name!r}: the model's output shape {shape} expected{hint}")
    return y.astype(np.float32, copy=False)


def _checked_labels(loss, y, shape):
    if y.ndim == len(shape) and y.shape[-1] == 1:
        y = y[..., 0]
    if y.dtype.kind not in "iub":
        hint = " (for one-hot rows there is loss='categorical_crossentropy')" if y.ndim == len(shape) else ""
        raise ValueError(f"y: dtype {y.dtype} for loss={loss.name!r}: whole numbers, such as int64, expected{hint}")
    if y.ndim != len(shape) - 1 or any(n not in (None, m) for n, m in zip(shape[1:-1], y.shape[1:])):
        raise ValueError(f"y: shape {y.shape} for loss={loss.name!r}: class numbers for an output of {shape}, so shape "
                         f"{shape[:-1]}, expected")
    labels = y.astype(np.int64, copy=False)
    # A negative number is a large one when read as unsigned: one pass tells.
    if labels.size and np.maximum.reduce(labels.view(np.uint64), axis=None) >= shape[-1]:
        raise ValueError(f"y: class numbers from {y.min()} to {y.max()}: the model's output {shape} has {shape[-1]} classes, "
                         f"so 0 to {shape[-1] - 1} expected")
    return labels
