"""Exponentials and logarithms, applied to each element, and the change of dtype."""
import numpy as np

from .. import kernels
from ..autograd import op
from ..kernels import as_float
from .index import where


@op
def astype(x, dtype, copy=True, device=None):
    """The values in another dtype; copy=False shares memory where it is x's already. d/dx = 1, in x's dtype. Shape: kept.

    Raises TypeError for complex numbers as real ones: real(x) or imag(x) says which part; ValueError for another device.
    """
    if device is not None and device != getattr(x, "device", "cpu"):
        raise ValueError(f"astype: device={device!r}: {getattr(x, 'device', 'cpu')!r} expected")
    if x.dtype.kind == "c" and np.dtype(dtype).kind in "iuf":
        raise TypeError(f"astype: {x.dtype} as {np.dtype(dtype)}: a complex dtype expected, or real(x) or imag(x) first")
    return x.astype(dtype, copy=copy)


@astype.vjp(complex=True)
def astype_vjp(g):
    return g


@op
def exp(x):
    """e**x, elementwise. d/dx = exp(x). Shape: any, kept."""
    return kernels.exp(as_float(x))


@exp.vjp
def exp_vjp(g, y):
    return g * y


@exp.complex_vjp
def exp_complex_vjp(g, y):
    return g * conj(y)


@op
def expm1(x):
    """e**x - 1, elementwise, exact near 0. d/dx = exp(x). Shape: any, kept."""
    return np.expm1(as_float(x))


@expm1.vjp
def expm1_vjp(g, y):
    return g * (y + 1)


@op
def exp2(x):
    """2**x, elementwise. d/dx = log(2) 2**x. Shape: any, kept."""
    return np.exp2(as_float(x))


@exp2.vjp
def exp2_vjp(g, y):
    return g * y * LOG2


@op
def log(x):
    """The natural logarithm, elementwise. d/dx = 1 / x. Shape: any, kept."""
    return kernels.log(as_float(x))


@log.vjp
def log_vjp(g, x):
    return g / x


@op
def log1p(x):
    """log(1 + x), elementwise, exact near 0. d/dx = 1 / (1 + x). Shape: any, kept."""
    return np.log1p(as_float(x))


@log1p.vjp
def log1p_vjp(g, x):
    return g / (1 + x)


@op
def log2(x):
    """The logarithm to base 2, elementwise. d/dx = 1 / (x log(2)). Shape: any, kept."""
    return np.log2(as_float(x))


@log2.vjp
def log2_vjp(g, x):
    return g / (x * LOG2)


@op
def log10(x):
    """The logarithm to base 10, elementwise. d/dx = 1 / (x log(10)). Shape: any, kept."""
    return np.log10(as_float(x))


@log10.vjp
def log10_vjp(g, x):
    return g / (x * LOG10)


@op
def logaddexp(x1, x2):
    """log(exp(x1) + exp(x2)) without overflow, elementwise. d/dx1 = exp(x1 - y), d/dx2 = exp(x2 - y). Shapes broadcast."""
    return np.logaddexp(as_float(x1), as_float(x2))


@logaddexp.vjp
def logaddexp_vjp(g, y, x1, x2, need):
    return _weight(g, x1, y) if need[0] else None, _weight(g, x2, y) if need[1] else None


def _weight(g, x, y):
    same = y == x  # infinite arguments among them, whose difference would be NaN
    return g * exp(where(same, 0.0, x) - where(same, 0.0, y))


@op
def tanh(x):
    """Hyperbolic tangent, elementwise. d/dx = 1 - tanh(x)**2. Shape: any, kept."""
    return kernels.tanh(as_float(x))


@tanh.vjp
def tanh_vjp(g, y):
    return tanh_backward(g, y)


@op
def tanh_backward(dy, out):
    """dy (1 - out) (1 + out), which does not cancel as |out| nears 1. d/d(dy): the same of g, d/d(out) = -2 dy out. Shapes:
    alike."""
    return kernels.tanh_backward(dy, out)


@tanh_backward.vjp
def tanh_backward_vjp(g, dy, out, need):
    return tanh_backward(g, out) if need[0] else None, g * dy * (-2 * out) if need[1] else None


@op
def real(x):
    """The real part, elementwise. d/dx = 1. Shape: any, kept."""
    return np.real(x)


@real.vjp(complex=True)
def real_vjp(g):
    return g


@op
def imag(x):
    """The imaginary part, elementwise. dL/dx = i g. Shape: any, kept."""
    return np.imag(x)


@imag.vjp(complex=True)
def imag_vjp(g):
    return g * 1j


@op
def conj(x):
    """The complex conjugate, elementwise. dL/dx = conj(g). Shape: any, kept."""
    return np.conj(x)


@conj.vjp(complex=True)
def conj_vjp(g):
    return conj(g)


LOG2, LOG10 = 0.6931471805599453, 2.302585092994046
