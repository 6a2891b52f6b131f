"""Reductions over axes: sums, extremes, moments, for large arrays on all threads.

x: a floating-point array; axis: None for all axes, a number or a tuple of them. The result has x's shape without these axes,
or with ones for them under keepdims. Sums are as accurate as NumPy's pairwise ones. Raises TypeError for another dtype, and
IndexError or ValueError for axes that are not there or given twice.
"""
from typing import NamedTuple

import numpy as np

from .._cases import case, channels_last, normal
from .._dispatch import kernel
from ..elementwise import floating


class Axes(NamedTuple):
    """reduced: a bit for each axis that goes."""
    reduced: int
    correction: float = 0.0


def reduction(name, x, axis, keepdims, dtype=None, correction=0.0):
    floating(name, "x", x)
    ndim = x.ndim
    if axis is None or (ndim == 0 and axis in (0, -1, (0,), (-1,))):  # a number is a line of one, as NumPy has it
        bits = (1 << ndim) - 1
    else:
        bits = 0
        for a in axis if isinstance(axis, (tuple, list)) else (axis,):
            if not -ndim <= a < ndim:
                raise IndexError(f"{name}: axis {a} of shape {x.shape}: -{ndim} to {ndim - 1} expected")
            if bits >> a % ndim & 1:
                raise ValueError(f"{name}: axis={axis}: each axis once expected")
            bits |= 1 << a % ndim
    if keepdims:
        shape = tuple(1 if bits >> d & 1 else n for d, n in enumerate(x.shape))
    else:
        shape = tuple(n for d, n in enumerate(x.shape) if not bits >> d & 1)
    return [(shape, dtype or x.dtype)], (x,), Axes(bits, correction)


@kernel(tolerance=2e-6)
def sum(x, axis=None, keepdims=False):
    """The sum."""
    return reduction("sum", x, axis, keepdims)


@kernel(tolerance=2e-6)
def mean(x, axis=None, keepdims=False):
    """The arithmetic mean."""
    return reduction("mean", x, axis, keepdims)


@kernel(tolerance=2e-6)
def sum_squares(x, axis=None, keepdims=False):
    """The sum of squares."""
    return reduction("sum_squares", x, axis, keepdims)


@kernel(tolerance=2e-6)
def var(x, axis=None, correction=0.0, keepdims=False):
    """The sum of squares about the mean, over count - correction, or infinite or NaN where that is not above 0."""
    return reduction("var", x, axis, keepdims, correction=float(correction))


@kernel(tolerance=2e-6)
def logsumexp(x, axis=None, keepdims=False):
    """log(sum(exp(x))) without overflow."""
    return reduction("logsumexp", x, axis, keepdims)


@kernel(tolerance=2e-6)
def max(x, axis=None, keepdims=False):
    """The largest element, NaN where one is."""
    return reduction("max", nonempty("max", x), axis, keepdims)


@kernel(tolerance=2e-6)
def min(x, axis=None, keepdims=False):
    """The smallest element, NaN where one is."""
    return reduction("min", nonempty("min", x), axis, keepdims)


@kernel(tolerance=2e-6)
def argmax(x, axis=None, keepdims=False):
    """Where the largest element, or a NaN, first stands along one axis, or in x flattened."""
    return place("argmax", x, axis, keepdims)


@kernel(tolerance=2e-6)
def argmin(x, axis=None, keepdims=False):
    """Where the smallest element, or a NaN, first stands along one axis, or in x flattened."""
    return place("argmin", x, axis, keepdims)


def nonempty(name, x):
    if not x.size:
        raise ValueError(f"{name}: shape {x.shape}: an element or more expected")
    return x


def place(name, x, axis, keepdims):
    outs, ins, p = reduction(name, nonempty(name, x), axis, keepdims, np.dtype(np.int64))
    if axis is None and x.ndim != 1:  # in C order, however x lies in memory
        ins, p = (x.reshape(-1),), Axes(1)
    return outs, ins, p


def describe(kernel, operations, all_axes=True):
    """Gives a kernel its cost and its cases; all_axes: several axes at once may go."""
    @kernel.cost
    def flops(outs, ins, p):
        return operations * ins[0].size

    @kernel.examples
    def examples():
        for shape, axes in [((37,), (0,)), ((5, 33), (0, 1, -1)), ((3, 1), (0, 1)), ((1, 1), (0,)), ((2, 3, 4, 5, 6), (1, 4)),
                            ((70_001,), (0,)), ((5000, 7), (0, 1)), ((3000, 70), (0, 1)), ((3, 900, 20), (1,)),
                            ((1, 40_000), (0, 1)), ((40_000, 1), (0, 1)), ((6, 5, 3), (1,)), ((300, 33), (0,)),
                            ((4, 70_000), (1,))]:
            for axis in (None, *axes):
                yield case(f"{shape} over {axis}", normal(*shape) + np.float32(0.5), axis)
        for dtype in ("float16", "float64"):
            yield case(dtype, normal(9, 500, dtype=dtype), 1)
            yield case(f"{dtype} columns", normal(900, 70, dtype=dtype), 0)
            yield case(f"{dtype} all", normal(900, 70, dtype=dtype))
        yield case("keepdims", normal(40, 50), 1, keepdims=True)
        yield case("all, keepdims", normal(4, 50, 3), keepdims=True)
        yield case("every second row", normal(80, 300)[::2], 1)
        yield case("every second column", normal(80, 300)[:, ::2], 1)
        yield case("transposed", normal(80, 300).T, 0)
        yield case("NaN", np.where(normal(30, 70) > 2.5, np.float32(np.nan), normal(30, 70)), 1)
        yield case("infinities", np.where(normal(30, 70) > 2, np.float32(np.inf), normal(30, 70)), 1)
        yield case("minus infinities", np.where(normal(30, 70) > -2, np.float32(-np.inf), normal(30, 70)), 0)
        if all_axes:
            images = normal(3, 20, 9, 11)
            for label, x in [("C order", images), ("channels-last", channels_last(images))]:
                for axis in ((0, 2, 3), (2, 3), 1, (0, 1), (1, 3), (0, 3)):
                    yield case(f"{label} {axis}", x, axis)
            yield case("large mean", normal(400, 50) + np.float32(1000), 0)
        yield case("1e5", normal(100_000), bench=True)
        yield case("1e6", normal(1_000_000), bench=True)
        yield case("2048x768 rows", normal(2048, 768), 1, bench=True)
        if kernel.name not in ("argmax", "argmin"):
            yield case("2048x768 columns", normal(2048, 768), 0, bench=True)
        if kernel.name in ("sum", "max", "var"):
            yield case("1e7", normal(10_000_000), bench=True)
            yield case("32x64x56x56 channels", channels_last(normal(32, 64, 56, 56)), (0, 2, 3), bench=True)


for each, operations in ((sum, 1), (mean, 1), (sum_squares, 2), (var, 4), (logsumexp, 4), (max, 1), (min, 1)):
    describe(each, operations)
describe(argmax, 1, False)
describe(argmin, 1, False)
__all__ = ["argmax", "argmin", "logsumexp", "max", "mean", "min", "sum", "sum_squares", "var"]
