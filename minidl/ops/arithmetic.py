"""Arithmetic, elementwise, with NumPy's broadcasting and the array API's type promotion.

The functions are NumPy's; an array of another library takes them over through `__array_ufunc__`. Where integers must give
floats (a quotient, a root, a logarithm) they give the library's default, float32.
"""
import math

import numpy as np

from .. import kernels
from ..autograd import op
from ..kernels import large
from .creation import zeros_like
from .elementwise import as_float, conj, log
from .index import where


@op
def add(x1, x2):
    """x1 + x2, elementwise. d/dx1 = 1, d/dx2 = 1. Shapes broadcast."""
    return kernels.add(x1, x2)


@add.vjp(complex=True)
def add_vjp(g, need):
    return g if need[0] else None, g if need[1] else None


@op
def subtract(x1, x2):
    """x1 - x2, elementwise. d/dx1 = 1, d/dx2 = -1. Shapes broadcast."""
    return kernels.subtract(x1, x2)


@subtract.vjp(complex=True)
def subtract_vjp(g, need):
    return g if need[0] else None, -g if need[1] else None


@op
def multiply(x1, x2):
    """x1 * x2, elementwise. d/dx1 = x2, d/dx2 = x1. Shapes broadcast."""
    return kernels.multiply(x1, x2)


@multiply.vjp(x1="x2", x2="x1")
def multiply_vjp(g, x1, x2, need):
    return g * x2 if need[0] else None, g * x1 if need[1] else None


@multiply.complex_vjp(x1="x2", x2="x1")
def multiply_complex_vjp(g, x1, x2, need):
    return g * conjugate(x2) if need[0] else None, g * conjugate(x1) if need[1] else None


@op
def divide(x1, x2):
    """x1 / x2, elementwise; integers give float32. d/dx1 = 1 / x2, d/dx2 = -x1 / x2**2. Shapes broadcast."""
    y = kernels.divide(x1, x2)
    if y.dtype == np.float64 and not (_is_float(x1) or _is_float(x2)):
        y = y.astype(np.float32)
    return y


@divide.vjp(x1="x2")
def divide_vjp(g, x1, x2, need):
    return g / x2 if need[0] else None, -g * x1 / (x2 * x2) if need[1] else None


@divide.complex_vjp(x1="x2")
def divide_complex_vjp(g, x1, x2, need):
    return g / conjugate(x2) if need[0] else None, -g * conj(x1 / (x2 * x2)) if need[1] else None


@op
def floor_divide(x1, x2):
    """The quotient rounded down, elementwise. d/dx1 = d/dx2 = 0. Shapes broadcast."""
    return np.floor_divide(x1, x2)


@floor_divide.vjp
def floor_divide_vjp(g, need):
    return zeros_like(g) if need[0] else None, zeros_like(g) if need[1] else None


@op
def remainder(x1, x2):
    """x1 - x2 * floor(x1 / x2), elementwise: the sign is x2's. d/dx1 = 1, d/dx2 = -floor(x1 / x2). Shapes broadcast."""
    return np.remainder(x1, x2)


@remainder.vjp(x1="x2", x2="x2")
def remainder_vjp(g, x1, x2, need):
    return g if need[0] else None, -g * floor_divide(x1, x2) if need[1] else None


@op
def negative(x):
    """-x, elementwise. d/dx = -1. Shape: any, kept."""
    return kernels.negative(x)


@negative.vjp(complex=True)
def negative_vjp(g):
    return -g


@op
def positive(x):
    """+x, elementwise: a copy. d/dx = 1. Shape: any, kept."""
    return np.positive(x)


@positive.vjp(complex=True)
def positive_vjp(g):
    return g


@op
def pow(x1, x2):
    """x1 ** x2, elementwise. d/dx1 = x2 x1**(x2 - 1), d/dx2 = x1**x2 log(x1), 0 where x1 = 0. Shapes broadcast."""
    if type(x2) is int and x2 == 2:
        return kernels.square(x1)
    return np.power(x1, x2)


@pow.vjp
def pow_vjp(g, x1, x2, need):
    dx1 = dx2 = None
    if need[0]:
        if not isinstance(x2, (int, float)):
            constant = x2 == 0  # x1**0 is flat, at x1 = 0 too
            dx1 = g * x2 * x1 ** where(constant, 1, x2 - 1)
        elif x2 == 2:
            dx1 = g * (2 * x1)
        else:
            dx1 = g * x2 * x1 ** (x2 - 1) if x2 != 0 else zeros_like(g)
    if need[1] and isinstance(x1, (int, float)):
        dx2 = g * pow(x1, x2) * (math.log(x1) if x1 > 0 else 0.0 if x1 == 0 else math.nan)
    elif need[1]:
        zero = x1 == 0
        dx2 = where(zero, 0.0, g * pow(x1, x2) * log(where(zero, 1.0, x1)))
    return dx1, dx2


@op
def square(x):
    """x * x, elementwise. d/dx = 2 x. Shape: any, kept."""
    return kernels.square(x)


@square.vjp
def square_vjp(g, x):
    return g * (2 * x)


@square.complex_vjp
def square_complex_vjp(g, x):
    return g * conj(2 * x)


@op
def sqrt(x):
    """The square root, elementwise; NaN below 0. d/dx = 1 / (2 sqrt(x)). Shape: any, kept."""
    return kernels.sqrt(as_float(x))


@sqrt.vjp
def sqrt_vjp(g, y):
    return g / (2 * y)


@op
def reciprocal(x):
    """1 / x, elementwise. d/dx = -1 / x**2. Shape: any, kept."""
    return kernels.reciprocal(as_float(x))


@reciprocal.vjp
def reciprocal_vjp(g, y):
    return -g * (y * y)


@op
def abs(x):
    """The absolute value, elementwise. d/dx = sign(x), x / |x| of a complex one, 0 at 0. Shape: any, kept."""
    return kernels.abs(x)


@abs.vjp
def abs_vjp(g, x):
    return g * sign(x)


@abs.complex_vjp
def abs_complex_vjp(g, y, x):
    return g * (x / where(y == 0, 1.0, y))


@op
def sign(x):
    """-1, 0 or 1 by the sign of x, elementwise. d/dx = 0. Shape: any, kept."""
    return kernels.sign(x)


@sign.vjp
def sign_vjp(g):
    return zeros_like(g)


@op
def copysign(x1, x2):
    """|x1| with the sign of x2, elementwise. d/dx1 = sign(x1) copysign(1, x2), d/dx2 = 0. Shapes broadcast."""
    return np.copysign(x1, x2)


@copysign.vjp(x1="x1", x2="x1")
def copysign_vjp(g, x1, x2, need):
    return g * sign(x1) * copysign(1.0, x2).astype(g.dtype) if need[0] else None, zeros_like(g) if need[1] else None


@op
def nextafter(x1, x2):
    """The next floating-point number after x1 towards x2, elementwise. d/dx1 = 1, d/dx2 = 0. Shapes broadcast."""
    return np.where(np.equal(x1, x2), x2, np.nextafter(x1, x2))  # of two zeros the second, whose sign may differ


@nextafter.vjp
def nextafter_vjp(g, need):
    return g if need[0] else None, zeros_like(g) if need[1] else None


@op
def hypot(x1, x2):
    """sqrt(x1**2 + x2**2) without overflow, elementwise. d/dx1 = x1 / y, 0 where y = 0, alike x2. Shapes broadcast."""
    return np.hypot(as_float(x1), as_float(x2))


@hypot.vjp
def hypot_vjp(g, y, x1, x2, need):
    y = where(y == 0, 1.0, y)
    return g * (x1 / y) if need[0] else None, g * (x2 / y) if need[1] else None


@op
def maximum(x1, x2):
    """The larger of two, elementwise; NaN where either is. d/dx1 = [x1 > x2], one half each at a tie. Shapes broadcast."""
    return kernels.maximum(x1, x2)


@maximum.vjp
def maximum_vjp(g, x1, x2, need):
    return _share(g, x1 > x2, x1 == x2, need)


@op
def minimum(x1, x2):
    """The smaller of two, elementwise; NaN where either is. d/dx1 = [x1 < x2], one half each at a tie. Shapes broadcast."""
    return kernels.minimum(x1, x2)


@minimum.vjp
def minimum_vjp(g, x1, x2, need):
    return _share(g, x1 < x2, x1 == x2, need)


@op
def clip(x, min=None, max=None):
    """x between two bounds, elementwise: `max` where they cross. Shapes broadcast to x's.

    d/dx = 1 inside and at the bounds, 0 outside; d/dmin = 1 where x < min, d/dmax = 1 where x > max.
    """
    return kernels.clip(x, min, max) if large(x, min, max) else np.clip(x, min, max)


@clip.vjp
def clip_vjp(g, x, min, max, need):
    low = None if min is None else x < min
    high = None if max is None else x > max
    if low is not None and high is not None:
        crossed = min > max
        low, high = low & (not crossed if type(crossed) is bool else crossed == False), high | crossed  # noqa: E712
    outside = low if high is None else high if low is None else low | high
    dx = (g if outside is None else where(outside, 0.0, g)) if need[0] else None
    return (dx, where(low, g, 0.0) if need[1] else None,
            where(high, g, 0.0) if need[2] else None)


def conjugate(x):
    """conj, but a Python number stays one, which leaves the dtype to the other operand."""
    return x.conjugate() if isinstance(x, (int, float, complex)) else conj(x)


def _is_float(x):
    return hasattr(x, "dtype") and x.dtype.kind == "f"


def _share(g, first, tie, need):
    """The gradients of two arguments of which the first was chosen where `first`, either where `tie`."""
    half = where(tie, g * 0.5, 0.0)
    return where(first, g, half) if need[0] else None, where(first, 0.0, g - half) if need[1] else None
