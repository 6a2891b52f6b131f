"""Trigonometric and hyperbolic functions, elementwise, in radians. The hyperbolic tangent is in elementwise.py."""
import numpy as np

from ..autograd import op
from ..kernels import as_float
from .arithmetic import hypot, sqrt


@op
def sin(x):
    """The sine, elementwise. d/dx = cos(x). Shape: any, kept."""
    return np.sin(as_float(x))


@sin.vjp
def sin_vjp(g, x):
    return g * cos(x)


@op
def cos(x):
    """The cosine, elementwise. d/dx = -sin(x). Shape: any, kept."""
    return np.cos(as_float(x))


@cos.vjp
def cos_vjp(g, x):
    return -g * sin(x)


@op
def tan(x):
    """The tangent, elementwise. d/dx = 1 + tan(x)**2. Shape: any, kept."""
    return np.tan(as_float(x))


@tan.vjp
def tan_vjp(g, y):
    return g * (1 + y * y)


@op
def asin(x):
    """The inverse sine, elementwise. d/dx = 1 / sqrt(1 - x**2). Shape: any, kept."""
    return np.arcsin(as_float(x))


@asin.vjp
def asin_vjp(g, x):
    return g / sqrt((1 - x) * (1 + x))


@op
def acos(x):
    """The inverse cosine, elementwise. d/dx = -1 / sqrt(1 - x**2). Shape: any, kept."""
    return np.arccos(as_float(x))


@acos.vjp
def acos_vjp(g, x):
    return -g / sqrt((1 - x) * (1 + x))


@op
def atan(x):
    """The inverse tangent, elementwise. d/dx = 1 / (1 + x**2). Shape: any, kept."""
    return np.arctan(as_float(x))


@atan.vjp
def atan_vjp(g, x):
    return g / (1 + x * x)


@op
def atan2(x1, x2):
    """The angle of the point (x2, x1), elementwise. d/dx1 = x2 / r**2, d/dx2 = -x1 / r**2. Shapes broadcast."""
    return np.arctan2(as_float(x1), as_float(x2))


@atan2.vjp
def atan2_vjp(g, x1, x2, need):
    r = hypot(x1, x2)
    return g * (x2 / r / r) if need[0] else None, -g * (x1 / r / r) if need[1] else None


@op
def sinh(x):
    """The hyperbolic sine, elementwise. d/dx = cosh(x). Shape: any, kept."""
    return np.sinh(as_float(x))


@sinh.vjp
def sinh_vjp(g, x):
    return g * cosh(x)


@op
def cosh(x):
    """The hyperbolic cosine, elementwise. d/dx = sinh(x). Shape: any, kept."""
    return np.cosh(as_float(x))


@cosh.vjp
def cosh_vjp(g, x):
    return g * sinh(x)


@op
def asinh(x):
    """The inverse hyperbolic sine, elementwise. d/dx = 1 / sqrt(1 + x**2). Shape: any, kept."""
    return np.arcsinh(as_float(x))


@asinh.vjp
def asinh_vjp(g, x):
    return g / sqrt(1 + x * x)


@op
def acosh(x):
    """The inverse hyperbolic cosine, elementwise, of x >= 1. d/dx = 1 / sqrt(x**2 - 1). Shape: any, kept."""
    return np.arccosh(as_float(x))


@acosh.vjp
def acosh_vjp(g, x):
    return g / sqrt((x - 1) * (x + 1))


@op
def atanh(x):
    """The inverse hyperbolic tangent, elementwise, of |x| < 1. d/dx = 1 / (1 - x**2). Shape: any, kept."""
    return np.arctanh(as_float(x))


@atanh.vjp
def atanh_vjp(g, x):
    return g / ((1 - x) * (1 + x))
