"""Batch normalisation by its definition, in float64."""
import numpy as np


def along(v, x):
    """(C,) as (1, C, 1, ...), in float64."""
    return v.astype(np.float64).reshape((1, -1) + (1,) * (x.ndim - 2))


def axes(x):
    return (0, *range(2, x.ndim))


def normalised(y, x, weight, bias, mean, rstd, residual=None, activation=0):
    z = (x - along(mean, x)) * along(rstd, x)
    if weight is not None:
        z = z * along(weight, x)
    if bias is not None:
        z = z + along(bias, x)
    if residual is not None:
        z = z + residual
    if activation:
        z = np.clip(z, 0, 6 if activation == 6 else None)
    y[...] = z.astype(y.dtype)


def batch_norm(y, x, weight, bias, mean, var, p):
    normalised(y, x, weight, bias, mean, 1 / np.sqrt(var.astype(np.float64) + p.eps))


def batch_norm_train(y, mean, var, rstd, x, weight, bias, residual, p):
    wide = x.astype(np.float64)
    average, variance = wide.mean(axes(x)), wide.var(axes(x))
    inverse = 1 / np.sqrt(variance + p.eps)
    normalised(y, x, weight, bias, average, inverse, residual, p.activation)
    mean[...], var[...], rstd[...] = (v.astype(y.dtype) for v in (average, variance, inverse))


def batch_norm_backward(dx, dweight, dbias, g, x, mean, rstd, weight, out, p):
    if out is not None:
        g = np.where((out > 0) & (out < 6) if p.activation == 6 else out > 0, g, 0)
    z = (x - along(mean, x)) * along(rstd, x)
    dw, db = (g * z).sum(axes(x)), g.astype(np.float64).sum(axes(x))
    scale = along(rstd, x) if weight is None else along(rstd, x) * along(weight, x)
    count = max(1, x.size // max(1, x.shape[1]))
    dx[...] = (scale * (g - (along(db, x) + z * along(dw, x)) / count)).astype(dx.dtype)
    dweight[...], dbias[...] = dw.astype(dx.dtype), db.astype(dx.dtype)
