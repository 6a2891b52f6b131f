"""The same in Numba: images in parallel, the inner loop over channels, which lie together in memory."""
import numpy as np
from numba import njit, prange


def pixels(a):
    """The (N, H, W, C) array behind an image, where it lies in that order."""
    return a.transpose(0, 2, 3, 1)


def served(result, *others):
    """Does every float array hold float32, and does the result lie in memory as N, H, W, C?"""
    return pixels(result).flags.c_contiguous and all(a.dtype == np.float32 for a in (result, *others))


def max_pool2d(y, index, x, p):
    if not served(y, x) or index.dtype != np.uint8 or not pixels(index).flags.c_contiguous:
        return NotImplemented
    maximum(pixels(y), pixels(index), np.ascontiguousarray(pixels(x)), tuple(p))


def max_pool2d_backward(dx, g, index, p):
    if not served(dx, g) or index.dtype != np.uint8:
        return NotImplemented
    maximum_backward(pixels(dx), np.ascontiguousarray(pixels(g)), np.ascontiguousarray(pixels(index)), tuple(p))


def avg_pool2d(y, x, p):
    if not served(y, x):
        return NotImplemented
    mean(pixels(y), np.ascontiguousarray(pixels(x)), tuple(p))


def avg_pool2d_backward(dx, g, p):
    if not served(dx, g):
        return NotImplemented
    mean_backward(pixels(dx), np.ascontiguousarray(pixels(g)), tuple(p))


@njit(parallel=True, cache=True)
def maximum(y, index, x, p):
    kh, kw, sh, sw, ph, pw, dh, dw, relu = p
    n, oh, ow, channels = y.shape
    for image in prange(n):
        for i in range(oh):
            for j in range(ow):
                first = True
                for c in range(channels):
                    y[image, i, j, c] = -np.inf
                    index[image, i, j, c] = 0
                for tap in range(kh * kw):
                    h, w = i * sh - ph + tap // kw * dh, j * sw - pw + tap % kw * dw
                    if 0 <= h < x.shape[1] and 0 <= w < x.shape[2]:
                        for c in range(channels):
                            v = x[image, h, w, c]
                            if first or v > y[image, i, j, c] or v != v:
                                y[image, i, j, c] = v
                                index[image, i, j, c] = tap
                        first = False
                if relu:
                    for c in range(channels):
                        if not y[image, i, j, c] > 0:
                            index[image, i, j, c] = 255  # no tap: nothing flows back
                        if y[image, i, j, c] < 0:
                            y[image, i, j, c] = 0


@njit(parallel=True, cache=True)
def maximum_backward(dx, g, index, p):
    kh, kw, sh, sw, ph, pw, dh, dw, _ = p
    n, oh, ow, channels = g.shape
    for image in prange(n):
        dx[image] = 0
        for i in range(oh):
            for j in range(ow):
                for c in range(channels):
                    tap = np.int64(index[image, i, j, c])
                    h, w = i * sh - ph + tap // kw * dh, j * sw - pw + tap % kw * dw
                    if tap < kh * kw and 0 <= h < dx.shape[1] and 0 <= w < dx.shape[2]:  # some windows have no maximum
                        dx[image, h, w, c] += g[image, i, j, c]


@njit(inline="always")
def span(i, k, s, pad, size, include_pad):
    """Window i along one axis: its first and last + 1 place in the image, and how many places its mean counts."""
    start = i * s - pad
    stop = min(start + k, size + pad)
    inner = max(start, 0), min(stop, size)
    return inner[0], inner[1], (stop - start if include_pad else inner[1] - inner[0])


@njit(parallel=True, cache=True)
def mean(y, x, p):
    kh, kw, sh, sw, ph, pw, include_pad, divisor = p
    n, oh, ow, channels = y.shape
    for image in prange(n):
        for i in range(oh):
            h0, h1, rows = span(i, kh, sh, ph, x.shape[1], include_pad)
            for j in range(ow):
                w0, w1, columns = span(j, kw, sw, pw, x.shape[2], include_pad)
                y[image, i, j] = 0
                for h in range(h0, h1):
                    for w in range(w0, w1):
                        for c in range(channels):
                            y[image, i, j, c] += x[image, h, w, c]
                for c in range(channels):
                    y[image, i, j, c] /= divisor if divisor else rows * columns


@njit(parallel=True, cache=True)
def mean_backward(dx, g, p):
    kh, kw, sh, sw, ph, pw, include_pad, divisor = p
    n, oh, ow, channels = g.shape
    for image in prange(n):
        dx[image] = 0
        for i in range(oh):
            h0, h1, rows = span(i, kh, sh, ph, dx.shape[1], include_pad)
            for j in range(ow):
                w0, w1, columns = span(j, kw, sw, pw, dx.shape[2], include_pad)
                share = np.float32(1) / np.float32(divisor if divisor else rows * columns)
                for h in range(h0, h1):
                    for w in range(w0, w1):
                        for c in range(channels):
                            dx[image, h, w, c] += g[image, i, j, c] * share
