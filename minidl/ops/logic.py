"""Comparisons, logic and bits, elementwise. Their results are not floating-point, so no gradient passes through them."""
import numpy as np

from .. import kernels
from ..autograd import op


@op
def equal(x1, x2):
    """x1 == x2, elementwise; no derivative: the result is boolean. Shapes broadcast."""
    return kernels.equal(x1, x2)


@op
def not_equal(x1, x2):
    """x1 != x2, elementwise; no derivative: the result is boolean. Shapes broadcast."""
    return kernels.not_equal(x1, x2)


@op
def less(x1, x2):
    """x1 < x2, elementwise; no derivative: the result is boolean. Shapes broadcast."""
    return kernels.less(x1, x2)


@op
def less_equal(x1, x2):
    """x1 <= x2, elementwise; no derivative: the result is boolean. Shapes broadcast."""
    return kernels.less_equal(x1, x2)


@op
def greater(x1, x2):
    """x1 > x2, elementwise; no derivative: the result is boolean. Shapes broadcast."""
    return kernels.greater(x1, x2)


@op
def greater_equal(x1, x2):
    """x1 >= x2, elementwise; no derivative: the result is boolean. Shapes broadcast."""
    return kernels.greater_equal(x1, x2)


@op
def logical_and(x1, x2):
    """Whether both hold (are not 0), elementwise; no derivative: the result is boolean. Shapes broadcast."""
    return np.logical_and(x1, x2)


@op
def logical_or(x1, x2):
    """Whether one or both hold (are not 0), elementwise; no derivative: the result is boolean. Shapes broadcast."""
    return np.logical_or(x1, x2)


@op
def logical_xor(x1, x2):
    """Whether exactly one holds (is not 0), elementwise; no derivative: the result is boolean. Shapes broadcast."""
    return np.logical_xor(x1, x2)


@op
def bitwise_and(x1, x2):
    """The bits set in both integers, elementwise; no derivative: integers. Shapes broadcast."""
    return np.bitwise_and(x1, x2)


@op
def bitwise_or(x1, x2):
    """The bits set in one or both integers, elementwise; no derivative: integers. Shapes broadcast."""
    return np.bitwise_or(x1, x2)


@op
def bitwise_xor(x1, x2):
    """The bits set in exactly one of two integers, elementwise; no derivative: integers. Shapes broadcast."""
    return np.bitwise_xor(x1, x2)


@op
def bitwise_left_shift(x1, x2):
    """x1 with its bits moved x2 places up, elementwise; no derivative: integers. Shapes broadcast."""
    return np.left_shift(x1, x2)


@op
def bitwise_right_shift(x1, x2):
    """x1 with its bits moved x2 places down, elementwise; no derivative: integers. Shapes broadcast."""
    return np.right_shift(x1, x2)


@op
def logical_not(x):
    """Whether x is 0, elementwise; no derivative: the result is boolean. Shape: any, kept."""
    return np.logical_not(x)


@op
def bitwise_invert(x):
    """Each bit of an integer inverted, elementwise; no derivative: integers. Shape: any, kept."""
    return np.invert(x)


@op
def isnan(x):
    """Whether x is NaN, elementwise; no derivative: the result is boolean. Shape: any, kept."""
    return np.isnan(x)


@op
def isinf(x):
    """Whether x is infinite, elementwise; no derivative: the result is boolean. Shape: any, kept."""
    return np.isinf(x)


@op
def isfinite(x):
    """Whether x is neither infinite nor NaN, elementwise; no derivative: the result is boolean. Shape: any, kept."""
    return np.isfinite(x)


@op
def signbit(x):
    """Whether the sign bit is set, that of -0.0 too, elementwise; no derivative: the result is boolean. Shape: any, kept."""
    return np.signbit(x)
