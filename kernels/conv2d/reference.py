"""Convolution as a sum over the taps of the window: for each tap, one matrix product of a shifted image and a slice of w.

Sums run in float64. This is the plain definition; the other versions are checked against it.
"""
import numpy as np

from ..pool import MaxPoolParams
from ..pool.reference import max_pool2d, max_pool2d_backward
from . import geometry


def taps(kh, kw, p, oh, ow):
    """(a, b, rows, columns): for tap (a, b), where in the padded image the output's pixels find their factor."""
    for a in range(kh):
        for b in range(kw):
            top, left = a * p.dilation_h, b * p.dilation_w
            yield (a, b, slice(top, top + (oh - 1) * p.stride_h + 1, p.stride_h),
                   slice(left, left + (ow - 1) * p.stride_w + 1, p.stride_w))


def padded(x, p):
    """x in float64 with a border of zeros, channels split into groups: (N, G, C/G, H + 2 pad_h, W + 2 pad_w)."""
    n, c, h, w = x.shape
    x = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (p.pad_h, p.pad_h), (p.pad_w, p.pad_w)))
    return np.reshape(x, (n, p.groups, c // p.groups, h + 2 * p.pad_h, w + 2 * p.pad_w))


def conv2d(y, x, weight, bias, residual, p):
    n, o, oh, ow = y.shape
    _, c, kh, kw = weight.shape
    x = padded(x, p)
    w = np.reshape(weight.astype(np.float64), (p.groups, o // p.groups, c, kh, kw))
    total = np.zeros((n, p.groups, o // p.groups, oh, ow), np.float64, like=x)
    for a, b, rows, columns in taps(kh, kw, p, oh, ow):
        total += np.einsum("ngchw,goc->ngohw", x[..., rows, columns], w[..., a, b], optimize=True)
    total = np.reshape(total, y.shape)
    if bias is not None:
        total = total + bias[:, None, None]
    if residual is not None:
        total = total + residual
    if p.activation:
        total = np.clip(total, 0, 6 if p.activation == 6 else None)
    y[...] = total.astype(y.dtype)


def conv2d_max_pool2d(y, index, x, weight, bias, p):
    _, unpooled = geometry(x.shape, weight.shape, p[:2], p[2:4], p[4:6], p.groups)
    whole = np.empty(unpooled, y.dtype, like=y)
    conv2d(whole, x, weight, bias, None, p)
    max_pool2d(y, index, whole, MaxPoolParams(*p[8:], 0, 0, 1, 1, p.activation))


def unpooled(g, index, shape):
    """g of every pixel, where it is given of the maxima of 2x2 windows."""
    if index is None:
        return g
    whole = np.empty(shape, g.dtype, like=g)
    max_pool2d_backward(whole, g, index, MaxPoolParams(2, 2, 2, 2, 0, 0, 1, 1))
    return whole


def conv2d_backward_data(dx, g, weight, index, p):
    g = unpooled(g, index, geometry(dx.shape, weight.shape, p[:2], p[2:4], p[4:6], p.groups)[1])
    n, o, oh, ow = g.shape
    _, c, kh, kw = weight.shape
    _, _, h, w = dx.shape
    g = np.reshape(g.astype(np.float64), (n, p.groups, o // p.groups, oh, ow))
    weight = np.reshape(weight.astype(np.float64), (p.groups, o // p.groups, c, kh, kw))
    total = np.zeros((n, p.groups, c, h + 2 * p.pad_h, w + 2 * p.pad_w), np.float64, like=g)
    for a, b, rows, columns in taps(kh, kw, p, oh, ow):
        total[..., rows, columns] += np.einsum("ngohw,goc->ngchw", g, weight[..., a, b], optimize=True)
    dx[...] = np.reshape(total[..., p.pad_h:p.pad_h + h, p.pad_w:p.pad_w + w], dx.shape).astype(dx.dtype)


def conv2d_backward_weight(dw, db, g, x, index, p):
    g = unpooled(g, index, geometry(x.shape, dw.shape, p[:2], p[2:4], p[4:6], p.groups)[1])
    n, o, oh, ow = g.shape
    _, c, kh, kw = dw.shape
    g = np.reshape(g.astype(np.float64), (n, p.groups, o // p.groups, oh, ow))
    x = padded(x, p)
    for a, b, rows, columns in taps(kh, kw, p, oh, ow):
        tap = np.einsum("ngohw,ngchw->goc", g, x[..., rows, columns], optimize=True)
        dw[:, :, a, b] = np.reshape(tap, (o, c)).astype(dw.dtype)
    db[...] = np.reshape(np.sum(g, axis=(0, 3, 4)), (o,)).astype(db.dtype)
