"""Images in parallel, sums in float64; channels-last images and rows of channels are read in the order of memory."""
import math

import numpy as np
from numba import njit, prange


def planes(a):
    """(N, C, ...) as (N, C, the rest), however it lies in memory; None for another dtype than float32, or nothing."""
    if a.dtype != np.float32 or not a.size:
        return None
    flat = a.reshape(a.shape[0], a.shape[1], -1)
    return flat if np.shares_memory(flat, a) else None


def full(v, n, value):
    return np.full(n, value, np.float32) if v is None else v


def group_norm(y, mean, rstd, x, weight, bias, p):
    x, y = planes(x), planes(y)
    if x is None or y is None:
        return NotImplemented
    n = x.shape[1]
    normalise(y, mean, rstd, x, full(weight, n, 1), full(bias, n, 0), p.eps)


def group_norm_backward(dx, dweight, dbias, g, x, mean, rstd, weight, p):
    x, g, dx = planes(x), planes(g), planes(dx)
    if x is None or g is None or dx is None:
        return NotImplemented
    parts = gradients(dx, g, x, mean, rstd, full(weight, x.shape[1], 1))
    dweight[...], dbias[...] = parts.sum(axis=0).astype(np.float32)


@njit(parallel=True, cache=True)
def normalise(y, mean, rstd, x, weight, bias, eps):
    images, channels, pixels = x.shape
    groups = mean.shape[1]
    width = channels // groups
    for task in prange(images * groups):
        i, k = task // groups, task % groups
        total, squares = 0.0, 0.0
        for c in range(k * width, k * width + width):
            for j in range(pixels):
                total += x[i, c, j]
        average = total / (width * pixels)
        for c in range(k * width, k * width + width):
            for j in range(pixels):
                squares += (x[i, c, j] - average) ** 2
        inverse = 1 / math.sqrt(squares / (width * pixels) + eps)
        mean[i, k], rstd[i, k] = average, inverse
        for c in range(k * width, k * width + width):
            for j in range(pixels):
                y[i, c, j] = (x[i, c, j] - average) * inverse * weight[c] + bias[c]


@njit(parallel=True, cache=True)
def gradients(dx, g, x, mean, rstd, weight):
    """Fills dx and returns, for each image, the sums of g z and of g: (images, 2, channels)."""
    images, channels, pixels = x.shape
    groups = mean.shape[1]
    width = channels // groups
    parts = np.zeros((images, 2, channels))
    for task in prange(images * groups):
        i, k = task // groups, task % groups
        of_g, of_z = 0.0, 0.0
        for c in range(k * width, k * width + width):
            for j in range(pixels):
                parts[i, 0, c] += g[i, c, j] * (x[i, c, j] - mean[i, k]) * rstd[i, k]
                parts[i, 1, c] += g[i, c, j]
            of_z += weight[c] * parts[i, 0, c]
            of_g += weight[c] * parts[i, 1, c]
        of_z /= width * pixels
        of_g /= width * pixels
        for c in range(k * width, k * width + width):
            for j in range(pixels):
                z = (x[i, c, j] - mean[i, k]) * rstd[i, k]
                dx[i, c, j] = (g[i, c, j] * weight[c] - of_g - z * of_z) * rstd[i, k]
    return parts
