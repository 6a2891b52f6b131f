"""Cross entropy of logits and integer labels, sample by sample; how the samples are reduced is the caller's business.

Labels are checked by the versions (`labels_in_range`), for a specification sees no values; the native one leaves labels out of
range to the reference, which raises ValueError.
"""
from typing import NamedTuple

import numpy as np

from .._cases import case, integers, normal, uniform
from .._dispatch import kernel
from ..elementwise import floating


class CrossEntropyParams(NamedTuple):
    ignore_index: int
    label_smoothing: float


@kernel(tolerance=2e-6)  # a sum of exponentials, a logarithm and a difference
def cross_entropy(logits, target, weight=None, ignore_index=-100, label_smoothing=0.0):
    """-(1 - e) w[t] log p[t] - e / C * sum_c w[c] log p[c], with p = softmax(logits), t the label and e the smoothing.

    logits: (N, C) floating; target: (N,) integers, 0 <= t < C or ignore_index, whose loss is 0; weight: (C,) or None for
    ones. Smoothing is that of Szegedy et al. (2015), the weights enter as in PyTorch. Returns the losses (N,) and
    log(sum(exp(logits))) of each row (N,), which the derivative needs. Raises ValueError for a label out of range.
    """
    p = checked("cross_entropy", logits, target, weight, ignore_index, label_smoothing)
    out = logits.shape[:1], logits.dtype
    return [out, out], (logits, target, weight), p


@kernel(tolerance=2e-6)
def cross_entropy_backward(g, logits, lse, target, weight=None, ignore_index=-100, label_smoothing=0.0):
    """dL/dlogits[c] = g ((1 - e) w[t] (p[c] - [c = t]) + e / C * (sum(w) p[c] - w[c])), 0 where the label is ignored.

    g: (N,) = dL/dloss; lse: the second output of cross_entropy; p = exp(logits - lse). Returns (N, C).
    """
    p = checked("cross_entropy_backward", logits, target, weight, ignore_index, label_smoothing)
    for name, array in (("g", g), ("lse", lse)):
        if array.shape != logits.shape[:1] or array.dtype != logits.dtype:
            raise ValueError(f"cross_entropy_backward: {name} is {array.dtype}{array.shape}: "
                             f"{logits.dtype}{logits.shape[:1]} expected")
    return [(logits.shape, logits.dtype)], (g, logits, lse, target, weight), p


def checked(name, logits, target, weight, ignore_index, label_smoothing):
    floating(name, "logits", logits)
    if logits.ndim != 2:
        raise ValueError(f"{name}: logits {logits.shape}: two axes, (N, C), expected")
    if target.dtype.kind not in "iu":
        raise TypeError(f"{name}: target is {target.dtype}: integer labels expected")
    if logits.shape[1] == 0 and logits.shape[0]:
        raise ValueError(f"{name}: logits {logits.shape}: at least one class expected")
    if target.shape != logits.shape[:1]:
        raise ValueError(f"{name}: target {target.shape}: one label for each row of logits {logits.shape}, "
                         f"{logits.shape[:1]}, expected")
    if weight is not None and (weight.shape != logits.shape[1:] or weight.dtype != logits.dtype):
        raise ValueError(f"{name}: weight is {weight.dtype}{weight.shape}: {logits.dtype}{logits.shape[1:]} expected")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"{name}: label_smoothing={label_smoothing!r}: 0 <= label_smoothing <= 1 expected")
    return CrossEntropyParams(ignore_index, label_smoothing)


UNSIGNED = {size: np.dtype(f"u{size}") for size in (1, 2, 4, 8)}


def labels_in_range(name, target, classes, ignore_index):
    """Raises ValueError where a label is neither a class nor ignore_index."""
    if target.size == 0:
        return
    # A negative number is a large one when read as unsigned, so that one pass tells whether there is anything to look for.
    if (type(target) is np.ndarray and target.dtype.isnative
            and np.maximum.reduce(target.view(UNSIGNED[target.itemsize])) < classes):
        return
    bad = ((target < 0) | (target >= classes)) & (target != ignore_index)
    if bad.any():
        i = int(np.argmax(bad))
        raise ValueError(f"{name}: target[{i}] = {int(target[i])}: 0 <= target < {classes} expected "
                         f"(or ignore_index {ignore_index})")


@cross_entropy.cost
def cross_entropy_flops(outs, ins, p):
    return 4 * ins[0].size  # an exp counted as one


@cross_entropy_backward.cost
def cross_entropy_backward_flops(outs, ins, p):
    return 3 * outs[0].size


def examples():
    """(label, logits, target, options, bench)"""
    for n, c in [(1, 1), (1, 10), (5, 3), (37, 10), (16, 32), (9, 33), (20, 100), (3, 3000)]:
        yield f"{n}x{c}", normal(n, c), integers(c, n), {}, False
    yield "empty", normal(0, 4), integers(4, 0), {}, False
    for c in (10, 50):
        x, t, w = normal(35, c), integers(c, 35), uniform(c)
        some = np.where(np.arange(35) % 3 == 0, -100, t)
        yield f"ignored {c}", x, some, {}, False
        yield f"ignore_index 2 of {c}", x, t, {"ignore_index": 2}, False
        yield f"weight {c}", x, some, {"weight": w}, False
        yield f"smoothing {c}", x, some, {"label_smoothing": 0.1}, False
        yield f"weight, smoothing {c}", x, some, {"weight": w, "label_smoothing": 0.3}, False
        yield f"far from 0 {c}", x * 50 + 1000, t, {"label_smoothing": 0.1}, False
        masked = x.copy()
        masked[:, 1] = -np.inf
        yield f"-inf {c}", masked, np.where(t == 1, 0, t), {}, False
        yield f"float64 {c}", x.astype("float64"), t, {}, False
        for dtype in ("int32", "uint8", "int16"):
            yield f"{dtype} {c}", x, t.astype(dtype), {}, False
        yield f"strided {c}", normal(70, 2 * c)[::2, :c], integers(c, 70)[::-2], {}, False
        yield f"every second column {c}", normal(35, 2 * c)[:, ::2], t, {}, False
    for n, c in [(128, 10), (512, 1000), (4, 50257)]:
        yield f"{n}x{c}", normal(n, c), integers(c, n), {}, True


@cross_entropy.examples
def cross_entropy_cases():
    for label, logits, target, options, bench in examples():
        yield case(label, logits, target, bench=bench, **options)


@cross_entropy_backward.examples
def cross_entropy_backward_cases():
    for label, logits, target, options, bench in examples():
        _, lse = cross_entropy(logits, target, **options, backend="reference")
        yield case(label, normal(len(lse), seed=2).astype(lse.dtype), logits, lse, target, bench=bench, **options)
    g = np.broadcast_to(np.float32(0.25), (37,))  # the gradient of a mean
    yield case("broadcast g", g, normal(37, 10), uniform(37) + 2, integers(10, 37))


__all__ = ["cross_entropy", "cross_entropy_backward"]
