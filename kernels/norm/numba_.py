"""The same in Numba: blocks of rows in parallel, channels, which lie together in memory, in the inner loop."""
import numpy as np
from numba import njit, prange

ROWS = 256  # of a block


def rows(a):
    """An (N, C, ...) array as (rows, channels), where it lies in that order in memory and is not empty; else None."""
    last = np.moveaxis(a, 1, -1)
    return last.reshape(-1, a.shape[1]) if a.dtype == np.float32 and last.flags.c_contiguous and a.size else None


def one_for_each(v, value, channels):
    return np.full(channels, value, np.float64) if v is None else v.astype(np.float64)


def batch_norm(y, x, weight, bias, mean, var, p):
    y, x = rows(y), rows(x)
    if y is None or x is None:
        return NotImplemented
    scale = one_for_each(weight, 1, len(mean)) / np.sqrt(var.astype(np.float64) + p.eps)
    affine(y, x, *single(mean, scale, one_for_each(bias, 0, len(mean))))


def batch_norm_train(y, mean, var, rstd, x, weight, bias, residual, p):
    result, x = rows(y), rows(x)
    if result is None or x is None:
        return NotImplemented
    average = moment(x, np.zeros(x.shape[1]), False) / len(x)
    variance = moment(x, average, True) / len(x)
    inverse = 1 / np.sqrt(variance + p.eps)
    scale = one_for_each(weight, 1, len(mean)) * inverse
    mean[...], var[...], rstd[...] = single(average, variance, inverse)
    rounded = (mean - average) * scale  # what rounding the mean leaves
    affine(result, x, mean, *single(scale, one_for_each(bias, 0, len(mean)) + rounded))
    if residual is not None:
        y += residual
    if p.activation:
        np.clip(y, 0, 6 if p.activation == 6 else None, out=y)


def batch_norm_backward(dx, dweight, dbias, g, x, mean, rstd, weight, out, p):
    if out is not None:
        g = np.multiply(g, (out > 0) & (out < 6) if p.activation == 6 else out > 0, out=np.empty_like(dx))
    dx, g, x = rows(dx), rows(g), rows(x)
    if dx is None or g is None or x is None:
        return NotImplemented
    count = max(1, len(x))
    sums = sums_of(g, x, mean.astype(np.float64))
    db, dw = sums[0], sums[1] * rstd
    scale = one_for_each(weight, 1, len(mean)) * rstd
    combine(dx, g, x, *single(mean, db / count, scale, -scale * rstd * dw / count))
    dweight[...], dbias[...] = single(dw, db)


def single(*vectors):
    return [v.astype(np.float32) for v in vectors]


@njit(parallel=True, cache=True)
def affine(y, x, mean, scale, shift):
    for i in prange(x.shape[0]):
        for c in range(x.shape[1]):
            y[i, c] = (x[i, c] - mean[c]) * scale[c] + shift[c]


@njit(parallel=True, cache=True)
def moment(x, center, square):
    """(C,): the sum over rows of x - center, or of its square."""
    n, channels = x.shape
    blocks = (n + ROWS - 1) // ROWS
    parts = np.zeros((blocks, channels))
    for block in prange(blocks):
        for i in range(block * ROWS, min(n, block * ROWS + ROWS)):
            for c in range(channels):
                d = x[i, c] - center[c]
                parts[block, c] += d * d if square else d
    return parts.sum(axis=0)


@njit(parallel=True, cache=True)
def sums_of(g, x, mean):
    """(2, C): the sums over rows of g and of g * (x - mean)."""
    n, channels = x.shape
    blocks = (n + ROWS - 1) // ROWS
    parts = np.zeros((blocks, 2, channels))
    for block in prange(blocks):
        for i in range(block * ROWS, min(n, block * ROWS + ROWS)):
            for c in range(channels):
                parts[block, 0, c] += g[i, c]
                parts[block, 1, c] += g[i, c] * (x[i, c] - mean[c])
    return parts.sum(axis=0)


@njit(parallel=True, cache=True)
def combine(dx, g, x, mean, g_mean, of_g, of_x):
    for i in prange(x.shape[0]):
        for c in range(x.shape[1]):
            dx[i, c] = of_g[c] * (g[i, c] - g_mean[c]) + of_x[c] * (x[i, c] - mean[c])
