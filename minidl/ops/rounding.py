"""Rounding, elementwise. The derivative is 0 wherever it exists, and taken as 0 elsewhere."""
import numpy as np

from .. import kernels
from ..autograd import op
from .creation import zeros_like


@op
def floor(x):
    """The largest integer not above x, elementwise. d/dx = 0. Shape: any, kept."""
    return kernels.floor(x)


@floor.vjp
def floor_vjp(g):
    return zeros_like(g)


@op
def ceil(x):
    """The smallest integer not below x, elementwise. d/dx = 0. Shape: any, kept."""
    return kernels.ceil(x)


@ceil.vjp
def ceil_vjp(g):
    return zeros_like(g)


@op
def trunc(x):
    """The integer part of x, elementwise. d/dx = 0. Shape: any, kept."""
    return kernels.trunc(x)


@trunc.vjp
def trunc_vjp(g):
    return zeros_like(g)


@op
def round(x, decimals=0):
    """The nearest number with `decimals` decimals, halves to even, elementwise. d/dx = 0. Shape: any, kept."""
    return np.round(x, decimals)


@round.vjp
def round_vjp(g):
    return zeros_like(g)
