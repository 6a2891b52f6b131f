"""Sums in float64. An array is seen as (outer, reduced, inner): rows where inner is 1, else columns, as they lie in memory.

The extremes and logsumexp are NumPy's: it compares and exponentiates several numbers at once, where Numba takes them in turn.
"""
import math

import numpy as np
from numba import njit, prange

from .reference import axes

FAST = {"contract", "reassoc", "nsz"}  # a sum in any order: more than one addition at a time
BLOCK = 4096  # elements of a line that one task sums


def version(formula):
    """formula(x as (outer, reduced, inner), parameters), (outer, inner), made a version."""
    def run(y, x, p):
        if x.dtype != np.float32 or not x.size:
            return NotImplemented
        with np.errstate(all="ignore"):
            y[...] = formula(lines(x, axes(x, p)), p).reshape(y.shape)
    return run


def lines(x, reduced):
    """x as (outer, reduced, inner) in C order: a view where x lies like that."""
    kept = tuple(d for d in range(x.ndim) if d not in reduced)
    steps = sorted(x.strides[d] for d in reduced)
    columns = bool(kept and reduced) and all(x.strides[d] < steps[0] for d in kept)
    order = reduced + kept if columns else kept + reduced
    count = math.prod(x.shape[d] for d in reduced)
    return np.ascontiguousarray(x.transpose(order)).reshape((1, count, -1) if columns else (-1, count, 1))


def total(x, center, square):
    """(outer, inner): the sums of x - center, or of its square."""
    if x.shape[2] == 1:
        return sums_of_rows(x[:, :, 0], center[:, 0], square)[:, None]
    return sums_of_columns(x[0], center[0], square)[None]


def zeros(x):
    return np.zeros((x.shape[0], x.shape[2]))


@version
def sum(x, p):
    return total(x, zeros(x), False)


@version
def mean(x, p):
    return total(x, zeros(x), False) / x.shape[1]


@version
def sum_squares(x, p):
    return total(x, zeros(x), True)


@version
def var(x, p):
    center = total(x, zeros(x), False) / x.shape[1]
    return total(x, center, True) / np.maximum(x.shape[1] - p.correction, 0.0)


@njit(parallel=True, fastmath=FAST, cache=True)
def sums_of_rows(x, center, square):
    rows, n = x.shape
    blocks = (n + BLOCK - 1) // BLOCK
    parts = np.zeros((rows, blocks))
    for task in prange(rows * blocks):
        r, block = task // blocks, task % blocks
        part = 0.0
        for i in range(block * BLOCK, np.minimum(n, block * BLOCK + BLOCK)):
            d = x[r, i] - center[r]
            part += d * d if square else d
        parts[r, block] = part
    return parts.sum(axis=1)


@njit(parallel=True, fastmath=FAST, cache=True)
def sums_of_columns(x, center, square):
    n, columns = x.shape
    height = 1 + BLOCK // columns  # rows of a block
    blocks = (n + height - 1) // height
    parts = np.zeros((blocks, columns))
    for block in prange(blocks):
        for i in range(block * height, np.minimum(n, block * height + height)):
            for c in range(columns):
                d = x[i, c] - center[c]
                parts[block, c] += d * d if square else d
    return parts.sum(axis=0)

