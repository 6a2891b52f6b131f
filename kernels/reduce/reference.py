"""The reductions in float64, by NumPy."""
import numpy as np


def axes(x, p):
    return tuple(d for d in range(x.ndim) if p.reduced >> d & 1)


def version(formula):
    """formula(x in float64, axes, parameters), with ones for the axes, made a version: it is rounded once."""
    def run(y, x, p):
        with np.errstate(all="ignore"):
            y[...] = formula(x.astype(np.float64), axes(x, p), p).reshape(y.shape)
    return run


@version
def sum(x, axis, p):
    return np.sum(x, axis=axis, keepdims=True)


@version
def mean(x, axis, p):
    return np.mean(x, axis=axis, keepdims=True)


@version
def sum_squares(x, axis, p):
    return np.sum(x * x, axis=axis, keepdims=True)


@version
def var(x, axis, p):
    squares = (x - np.mean(x, axis=axis, keepdims=True)) ** 2
    total = np.sum(squares, axis=axis, keepdims=True)
    return total / np.maximum(x.size // total.size - p.correction, 0.0)


@version
def logsumexp(x, axis, p):
    top = np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0)
    return np.log(np.sum(np.exp(x - top), axis=axis, keepdims=True)) + top


def max(y, x, p):
    y[...] = np.max(x, axis=axes(x, p), keepdims=True).reshape(y.shape)


def min(y, x, p):
    y[...] = np.min(x, axis=axes(x, p), keepdims=True).reshape(y.shape)


def argmax(y, x, p):
    y[...] = np.argmax(x, axis=axes(x, p)[0]).reshape(y.shape)


def argmin(y, x, p):
    y[...] = np.argmin(x, axis=axes(x, p)[0]).reshape(y.shape)
