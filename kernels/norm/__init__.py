"""Batch normalisation over the channels, axis 1 (Ioffe and Szegedy 2015)."""
from typing import NamedTuple

import numpy as np

from .._cases import case, channels_last, normal, uniform
from .._dispatch import kernel
from ..conv2d import ACTIVATIONS


class NormParams(NamedTuple):
    eps: float
    activation: int = 0


def check(op, x, **vectors):
    """Raises ValueError unless x has a channel axis and every vector given has one value for each channel."""
    if x.ndim < 2:
        raise ValueError(f"{op}: x {x.shape}: (N, C, ...) expected")
    if x.dtype.kind != "f":
        raise ValueError(f"{op}: x of {x.dtype}: a floating-point dtype expected")
    for name, v in vectors.items():
        if v is not None and v.shape != x.shape[1:2]:
            raise ValueError(f"{op}: {name} {v.shape}: one value for each channel, {x.shape[1:2]}, expected")


def check_given(op, x, **vectors):
    """As `check`, of vectors that must be there."""
    for name, v in vectors.items():
        if v is None:
            raise ValueError(f"{op}: {name} is None: one value for each channel, {x.shape[1:2]}, expected")
    check(op, x, **vectors)


def in_c_order(x):
    return type(x) is np.ndarray and x.flags.c_contiguous


def like(x):
    """The result's shape, dtype and layout: x's where that is C order, else channels-last."""
    return (x.shape, x.dtype, "channels_last") if x.ndim == 4 and not in_c_order(x) else (x.shape, x.dtype)


def laid(a, x):
    """An image laid out in memory as the result for x is, copied where it was not; anything else as it is."""
    if type(a) is not np.ndarray or a.ndim != 4 or a.flags.c_contiguous == in_c_order(x):
        return a
    return np.ascontiguousarray(a) if in_c_order(x) else channels_last(a)


@kernel(tolerance=2e-6)
def batch_norm(x, weight, bias, mean, var, eps=1e-5):
    """(x - mean) / sqrt(var + eps) * weight + bias, with statistics that are given.

    x: (N, C, ...); weight, bias: (C,) or None for 1 and 0; mean, var: (C,). Returns y, shaped as x.
    Raises ValueError where shapes do not match.
    """
    check("batch_norm", x, weight=weight, bias=bias)
    check_given("batch_norm", x, mean=mean, var=var)
    return [like(x)], (x, weight, bias, mean, var), NormParams(eps)


def beside(op, x, **arrays):
    """Raises ValueError unless every array given has x's shape and dtype."""
    for name, a in arrays.items():
        if a is not None and (a.shape != x.shape or a.dtype != x.dtype):
            raise ValueError(f"{op}: {name} is {a.dtype}{a.shape}: as x, {x.dtype}{x.shape}, expected")


@kernel(tolerance=2e-6)
def batch_norm_train(x, weight=None, bias=None, eps=1e-5, activation=None, residual=None):
    """Normalises each channel of x by its own mean and variance; with an activation, "relu" or "relu6", that of y + residual.

    x: (N, C, ...); weight, bias: (C,) or None; residual: as x, or None. Returns y (shaped as x), mean, var (biased: of all
    N... values) and rstd = 1 / sqrt(var + eps), each (C,). Raises ValueError where shapes do not match, a channel has no
    values, or for another activation, or a residual without one.
    """
    check("batch_norm_train", x, weight=weight, bias=bias)
    beside("batch_norm_train", x, residual=residual)
    if x.size == 0:
        raise ValueError(f"batch_norm_train: x {x.shape}: a value or more in each channel expected")
    if activation not in ACTIVATIONS or (residual is not None and activation is None):
        raise ValueError(f"batch_norm_train: activation={activation!r}: 'relu', 'relu6', or None without a residual, expected")
    vector = (x.shape[1:2], x.dtype)
    return [like(x), vector, vector, vector], (x, weight, bias, laid(residual, x)), NormParams(eps, ACTIVATIONS[activation])


@kernel(tolerance=4e-6)
def batch_norm_backward(g, x, mean, rstd, weight=None, out=None, activation=None):
    """The derivative of `batch_norm_train`, through the statistics too, and through its activation if `out` is given: g counts
    only where this is above 0, and below 6 for "relu6".

    g, x, out: (N, C, ...); mean, rstd: (C,), as `batch_norm_train` returned them, like out where there was an activation (None
    where not); weight: (C,) or None. Returns dx (shaped as x), dweight and dbias (C,). Raises ValueError where shapes do not
    match, or for another activation.
    """
    check("batch_norm_backward", x, weight=weight)
    check_given("batch_norm_backward", x, mean=mean, rstd=rstd)
    beside("batch_norm_backward", x, out=out)
    if activation not in ACTIVATIONS:
        raise ValueError(f"batch_norm_backward: activation={activation!r}: 'relu', 'relu6' or None expected")
    if g.shape != x.shape:
        raise ValueError(f"batch_norm_backward: g {g.shape}: the shape of x, {x.shape}, expected")
    vector = (x.shape[1:2], x.dtype)
    ins = laid(g, x), x, mean, rstd, weight, laid(out, x)
    return [like(x), vector, vector], ins, NormParams(0.0, ACTIVATIONS[activation])


@batch_norm.cost
def batch_norm_flops(outs, ins, p):
    return 2 * ins[0].size


@batch_norm_train.cost
def batch_norm_train_flops(outs, ins, p):
    return 6 * ins[0].size


@batch_norm_backward.cost
def batch_norm_backward_flops(outs, ins, p):
    return 9 * ins[0].size


def inputs():
    """(label, x, bench): the layouts and sizes of all three kernels."""
    def image(*shape):
        return channels_last(normal(*shape)) * np.float32(2) + np.float32(0.5)

    yield "image", image(3, 35, 5, 6), False
    yield "few channels", image(4, 3, 9, 7), False
    yield "one channel", image(5, 1, 8, 8), False
    yield "C order", normal(2, 20, 4, 5), False
    yield "several chunks", image(9, 80, 13, 12), False
    yield "cut out channels", channels_last(normal(4, 60, 6, 6))[:, 5:45], False
    yield "rows", normal(33, 47), False
    yield "every second row", normal(66, 47)[::2], False
    yield "wide rows", normal(130, 531), False
    yield "one row", normal(1, 19), False
    yield "sequence", normal(3, 18, 11), False
    yield "C order, large mean", normal(6, 7, 20, 30) + np.float32(30), False
    yield "C order, 8x64x56x56", normal(8, 64, 56, 56), True
    yield "volume", normal(2, 5, 3, 4, 3), False
    yield "large mean", image(4, 33, 16, 16) + np.float32(30), False
    yield "constant channels", np.full((3, 17, 4, 4), 3, "float32"), False
    drift = np.arange(40, dtype="float32")[:, None, None, None]
    yield "drifting mean", channels_last(normal(40, 16, 12, 12) + drift), False
    yield "float64", normal(3, 5, 4, 4, dtype="float64"), False
    yield "8x64x56x56", image(8, 64, 56, 56), True
    yield "128x64x11x11", image(128, 64, 11, 11), True
    yield "128x512", normal(128, 512), True


def affine(x):
    channels = x.shape[1]
    return normal(channels, dtype=x.dtype, seed=1), normal(channels, dtype=x.dtype, seed=2)


@batch_norm.examples
def batch_norm_cases():
    for label, x, bench in inputs():
        weight, bias = affine(x)
        mean, var = normal(x.shape[1], dtype=x.dtype, seed=3), uniform(x.shape[1], dtype=x.dtype) + x.dtype.type(0.1)
        yield case(label, x, weight, bias, mean, var, bench=bench)
        if not bench:
            yield case(f"{label}, no affine", x, None, None, mean, var, eps=0.01)
    yield case("no images", normal(0, 3, 4, 4), None, None, normal(3), uniform(3))


@batch_norm_train.examples
def batch_norm_train_cases():
    for label, x, bench in inputs():
        yield case(label, x, *affine(x), bench=bench)
        if not bench:
            yield case(f"{label}, no affine", x, eps=0.01)
        if x.ndim == 4:
            yield case(f"{label}, relu", x, *affine(x), activation="relu", bench=bench)
            yield case(f"{label}, relu6", x, *(4 * v for v in affine(x)), activation="relu6")
            residual = normal(*x.shape, dtype=x.dtype, seed=5)
            residual = residual if x.flags.c_contiguous else channels_last(residual)
            yield case(f"{label}, residual and relu", x, *affine(x), activation="relu", residual=residual, bench=bench)


@batch_norm_backward.examples
def batch_norm_backward_cases():
    for label, x, bench in inputs():
        axes = (0, *range(2, x.ndim))
        mean, rstd = x.mean(axes), 1 / np.sqrt(x.var(axes) + x.dtype.type(1e-5))
        g = normal(*x.shape, dtype=x.dtype, seed=4)
        g = channels_last(g) if x.ndim == 4 and not x.flags.c_contiguous else g
        yield case(label, g, x, mean, rstd, affine(x)[0], bench=bench)
        if not bench:
            yield case(f"{label}, no affine", g, x, mean, rstd)
        if x.ndim == 4:
            out = normal(*x.shape, dtype=x.dtype, seed=6)
            out = out if x.flags.c_contiguous else channels_last(out)
            yield case(f"{label}, relu", g, x, mean, rstd, affine(x)[0], out, "relu", bench=bench)
            yield case(f"{label}, relu6", g, x, mean, rstd, affine(x)[0], np.clip(8 * out, 0, 6), "relu6")
    yield case("g in C order", normal(2, 20, 4, 5), channels_last(normal(2, 20, 4, 5)), normal(20), uniform(20), None)
    yield case("no images", normal(0, 3, 4, 4), normal(0, 3, 4, 4), normal(3), uniform(3), None)
