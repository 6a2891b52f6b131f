"""The same in Numba on channels-last memory: plain loops, the innermost over channels so that it vectorises.

A depthwise convolution has loops of its own, since there a channel out sees one channel in.
"""
import numpy as np
from numba import njit, prange

from ..pool import MaxPoolParams
from ..pool.numba_ import max_pool2d, max_pool2d_backward
from . import geometry

FAST = {"contract", "reassoc", "nsz"}


def images(x):
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def conv2d(y, x, weight, bias, residual, p):
    if y.dtype != np.float32 or x.dtype != np.float32 or weight.dtype != np.float32:
        return NotImplemented
    out = np.empty((y.shape[0], y.shape[2], y.shape[3], y.shape[1]), y.dtype)
    b = np.zeros(y.shape[1], y.dtype) if bias is None else np.ascontiguousarray(bias)
    relu = p.activation == 1 and residual is None
    forward(out, images(x), np.ascontiguousarray(weight.transpose(2, 3, 1, 0)), b, tuple(p[:7]), relu)
    y[...] = out.transpose(0, 3, 1, 2)
    if residual is not None:
        y += residual
    if p.activation == 6 or (p.activation and residual is not None):
        np.clip(y, 0, 6 if p.activation == 6 else None, out=y)


def conv2d_max_pool2d(y, index, x, weight, bias, p):
    _, unpooled = geometry(x.shape, weight.shape, p[:2], p[2:4], p[4:6], p.groups)
    whole = np.empty(unpooled, y.dtype)
    if conv2d(whole, x, weight, bias, None, p._replace(activation=0)) is NotImplemented:
        return NotImplemented
    return max_pool2d(y, index, whole, MaxPoolParams(*p[8:], 0, 0, 1, 1, p.activation))


def unpooled(g, index, shape):
    """g of every pixel, where it is given of the maxima of 2x2 windows."""
    if index is None:
        return g
    n, o, oh, ow = shape
    whole = np.empty((n, oh, ow, o), g.dtype).transpose(0, 3, 1, 2)
    max_pool2d_backward(whole, g, index, MaxPoolParams(2, 2, 2, 2, 0, 0, 1, 1))
    return whole


def conv2d_backward_data(dx, g, weight, index, p):
    if dx.dtype != np.float32 or g.dtype != np.float32 or weight.dtype != np.float32:
        return NotImplemented
    g = unpooled(g, index, geometry(dx.shape, weight.shape, p[:2], p[2:4], p[4:6], p.groups)[1])
    out = np.zeros((dx.shape[0], dx.shape[2], dx.shape[3], dx.shape[1]), dx.dtype)
    backward_data(out, images(g), np.ascontiguousarray(weight.transpose(2, 3, 0, 1)), tuple(p))
    dx[...] = out.transpose(0, 3, 1, 2)


def conv2d_backward_weight(dw, db, g, x, index, p):
    if dw.dtype != np.float32 or g.dtype != np.float32 or x.dtype != np.float32:
        return NotImplemented
    g = unpooled(g, index, geometry(x.shape, dw.shape, p[:2], p[2:4], p[4:6], p.groups)[1])
    out = np.zeros((dw.shape[2], dw.shape[3], dw.shape[1], dw.shape[0]), dw.dtype)
    backward_weight(out, images(g), images(x), tuple(p))
    dw[...] = out.transpose(3, 2, 0, 1)
    db[...] = g.sum(axis=(0, 2, 3), dtype=np.float64)


@njit(parallel=True, fastmath=FAST, cache=True)
def forward(y, x, w, bias, p, relu):
    sh, sw, ph, pw, dh, dw, groups = p
    n, oh, ow, o = y.shape
    kh, kw, c, _ = w.shape
    og = o // groups
    for row in prange(n * oh):
        i, u = row // oh, row % oh
        for v in range(ow):
            for k in range(o):
                y[i, u, v, k] = bias[k]
            for a in range(kh):
                r = u * sh + a * dh - ph
                if r < 0 or r >= x.shape[1]:
                    continue
                for b in range(kw):
                    q = v * sw + b * dw - pw
                    if q < 0 or q >= x.shape[2]:
                        continue
                    if c == og == 1:
                        for k in range(o):
                            y[i, u, v, k] += x[i, r, q, k] * w[a, b, 0, k]
                        continue
                    for g in range(groups):
                        for l in range(c):
                            value = x[i, r, q, g * c + l]
                            for k in range(g * og, g * og + og):
                                y[i, u, v, k] += value * w[a, b, l, k]
            if relu:
                for k in range(o):
                    y[i, u, v, k] = max(y[i, u, v, k], np.float32(0))


@njit(parallel=True, fastmath=FAST, cache=True)
def backward_data(dx, g, w, p):
    sh, sw, ph, pw, dh, dw, groups, _ = p
    n, oh, ow, o = g.shape
    kh, kw, _, c = w.shape
    og = o // groups
    for i in prange(n):
        for u in range(oh):
            for v in range(ow):
                for a in range(kh):
                    r = u * sh + a * dh - ph
                    if r < 0 or r >= dx.shape[1]:
                        continue
                    for b in range(kw):
                        q = v * sw + b * dw - pw
                        if q < 0 or q >= dx.shape[2]:
                            continue
                        if c == og == 1:
                            for k in range(o):
                                dx[i, r, q, k] += g[i, u, v, k] * w[a, b, k, 0]
                            continue
                        for k in range(o):
                            first = k // og * c
                            for l in range(c):
                                dx[i, r, q, first + l] += g[i, u, v, k] * w[a, b, k, l]


@njit(parallel=True, fastmath=FAST, cache=True)
def backward_weight(out, g, x, p):
    sh, sw, ph, pw, dh, dw, groups, _ = p
    n, oh, ow, o = g.shape
    kh, kw, c, _ = out.shape
    og = o // groups
    for tap in prange(kh * kw * c):  # each thread owns some rows of the result
        a, b, l = tap // (kw * c), tap // c % kw, tap % c
        for i in range(n):
            image = np.zeros(o, out.dtype)  # summed apart: a batch has too many pixels for one float32 sum
            for u in range(oh):
                r = u * sh + a * dh - ph
                if r < 0 or r >= x.shape[1]:
                    continue
                for v in range(ow):
                    q = v * sw + b * dw - pw
                    if q < 0 or q >= x.shape[2]:
                        continue
                    if c == og == 1:
                        for k in range(o):
                            image[k] += x[i, r, q, k] * g[i, u, v, k]
                        continue
                    for m in range(groups):
                        value = x[i, r, q, m * c + l]
                        for k in range(m * og, m * og + og):
                            image[k] += value * g[i, u, v, k]
            for k in range(o):
                out[a, b, l, k] += image[k]
