"""Rows in parallel; sums in float64."""
import math

import numpy as np
from numba import njit, prange

from . import labels_in_range


def cross_entropy(loss, lse, logits, target, weight, p):
    if loss.dtype != np.float32 or not (loss.flags.c_contiguous and lse.flags.c_contiguous):
        return NotImplemented
    labels_in_range("cross_entropy", target, logits.shape[1], p.ignore_index)
    losses(loss, lse, *dense(logits, target, ones_or(weight, logits)), *p)


def cross_entropy_backward(dlogits, g, logits, lse, target, weight, p):
    if dlogits.dtype != np.float32 or not dlogits.flags.c_contiguous:
        return NotImplemented
    labels_in_range("cross_entropy_backward", target, logits.shape[1], p.ignore_index)
    gradients(dlogits, *dense(g, logits, lse, target, ones_or(weight, logits)), *p)


def dense(*arrays):
    """In C order, labels as int64: Numba compiles anew for every kind of array."""
    return [np.ascontiguousarray(a, np.int64 if a.dtype.kind in "iu" else None) for a in arrays]


def ones_or(weight, logits):
    return np.ones(logits.shape[1], logits.dtype) if weight is None else weight


@njit(parallel=True, cache=True)
def losses(loss, lse, x, target, w, ignore_index, smoothing):
    classes = x.shape[1]
    for r in prange(len(x)):
        largest, total, smooth = x[r].max(), 0.0, 0.0
        for c in range(classes):
            total += math.exp(x[r, c] - largest)
        log_sum = math.log(total)
        lse[r] = largest + log_sum
        t = target[r]
        if t == ignore_index:
            loss[r] = 0
            continue
        if smoothing:
            for c in range(classes):
                smooth += w[c] * (x[r, c] - largest - log_sum)
        loss[r] = -(1 - smoothing) * w[t] * (x[r, t] - largest - log_sum) - smoothing / classes * smooth


@njit(parallel=True, cache=True)
def gradients(dx, g, x, lse, target, w, ignore_index, smoothing):
    classes = x.shape[1]
    total = w.sum()
    for r in prange(len(x)):
        t = target[r]
        if t == ignore_index:
            dx[r] = 0
            continue
        hard, soft = g[r] * (1 - smoothing) * w[t], g[r] * smoothing / classes
        for c in range(classes):
            dx[r, c] = (hard + soft * total) * math.exp(x[r, c] - lse[r]) - soft * w[c]
        dx[r, t] -= hard
