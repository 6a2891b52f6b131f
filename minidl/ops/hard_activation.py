"""Activation functions of straight pieces. A derivative that is a kernel is an operation, `NAME_backward`, too.

There `dy` is the gradient of the activation's result; `out`, the result itself, or x is what was kept to know the slope. Each
derivative is linear in dy and its slope constant between the kinks.
"""
import numpy as np

from .. import kernels
from ..autograd import op
from .activation import relu_backward
from .arithmetic import minimum
from .index import where


@op
def hardtanh(x, min_val=-1.0, max_val=1.0):
    """x between min_val and max_val, elementwise. d/dx = 1 strictly inside, else 0. Shape: any, kept."""
    return np.clip(x, x.dtype.type(min_val), x.dtype.type(max_val)) if x.dtype.kind in "iu" else \
        kernels.hardtanh(x, min_val, max_val)


@hardtanh.vjp
def hardtanh_vjp(g, y, min_val, max_val):
    return hardtanh_backward(g, y, min_val, max_val)


@op
def hardtanh_backward(dy, out, min_val=-1.0, max_val=1.0):
    """dy where min_val < out < max_val, else 0. d/d(dy): the same of g, d/d(out) = 0. Shapes: alike."""
    return kernels.hardtanh_backward(dy, out, min_val, max_val)


@hardtanh_backward.vjp
def hardtanh_backward_vjp(g, out, min_val, max_val):
    return hardtanh_backward(g, out, min_val, max_val), None


def relu6(input):
    """input between 0 and 6 (Krizhevsky, 2010). d/dx = 1 strictly inside, else 0. Shape: any, kept."""
    return hardtanh(input, 0.0, 6.0)


def sloped(dy, out, activation):
    """dy where out, the result of 'relu' or 'relu6', is not at an end."""
    return hardtanh_backward(dy, out, 0.0, 6.0) if activation == "relu6" else relu_backward(dy, out)


@op
def hardsigmoid(x):
    """x / 6 + 1 / 2 between 0 and 1, elementwise. d/dx = 1 / 6 where -3 < x < 3, else 0. Shape: any, kept."""
    return kernels.hardsigmoid(x)


@hardsigmoid.vjp
def hardsigmoid_vjp(g, x):
    return hardsigmoid_backward(g, x)


@op
def hardsigmoid_backward(dy, x):
    """dy / 6 where -3 < x < 3, else 0. d/d(dy): the same of g, d/dx = 0. Shapes: alike."""
    return kernels.hardsigmoid_backward(dy, x)


@hardsigmoid_backward.vjp
def hardsigmoid_backward_vjp(g, x):
    return hardsigmoid_backward(g, x), None


@op
def hardswish(x):
    """x hardsigmoid(x), elementwise (Howard et al., 2019). d/dx: 0, (2 x + 3) / 6 for -3 < x < 3, or 1. Shape: kept."""
    return kernels.hardswish(x)


@hardswish.vjp
def hardswish_vjp(g, x):
    return hardswish_backward(g, x)


@op
def hardswish_backward(dy, x):
    """dy hardswish'(x). d/d(dy): the same of g, d/dx = dy / 3 where -3 < x < 3, else 0. Shapes: alike."""
    return kernels.hardswish_backward(dy, x)


@hardswish_backward.vjp
def hardswish_backward_vjp(g, dy, x, need):
    return hardswish_backward(g, x) if need[0] else None, 2 * hardsigmoid_backward(g * dy, x) if need[1] else None


@op
def hardshrink(x, lambd=0.5):
    """x where |x| > lambd, else 0, elementwise. d/dx = 1 or 0. Shape: any, kept. Raises ValueError for a lambd below 0."""
    return kernels.hardshrink(x, lambd)


@hardshrink.vjp
def hardshrink_vjp(g, y):
    return shrink_backward(g, y)


@op
def softshrink(x, lambd=0.5):
    """x brought nearer to 0 by lambd, 0 where |x| <= lambd, elementwise. d/dx = 1 or 0. Shape, ValueError: as hardshrink."""
    return kernels.softshrink(x, lambd)


@softshrink.vjp
def softshrink_vjp(g, y):
    return shrink_backward(g, y)


@op
def shrink_backward(dy, out):
    """dy where out is not 0, else 0. d/d(dy): the same of g, d/d(out) = 0. Shapes: alike."""
    return kernels.softshrink_backward(dy, out)


@shrink_backward.vjp
def shrink_backward_vjp(g, out):
    return shrink_backward(g, out), None


@op
def threshold_op(x, threshold, value):
    """x where x > threshold, else value, elementwise. d/dx = 1 or 0. Shape: any, kept."""
    return np.where(x > threshold, x, x.dtype.type(value)) if x.dtype.kind in "iu" else kernels.threshold(x, threshold, value)


@threshold_op.vjp
def threshold_op_vjp(g, x, threshold):
    return threshold_backward(g, x, threshold)


@op
def threshold_backward(dy, x, threshold):
    """dy where x > threshold, else 0. d/d(dy): the same of g, d/dx = 0. Shapes: alike."""
    return kernels.threshold_backward(dy, x, threshold)


@threshold_backward.vjp
def threshold_backward_vjp(g, x, threshold):
    return threshold_backward(g, x, threshold), None


def threshold(input, threshold, value):
    """input where it is above the threshold, else value. Shape: any, kept."""
    return threshold_op(input, threshold, value)


@op
def leaky(x, slope):
    """x where x >= 0, else slope x, elementwise. d/dx = 1 or slope, d/dslope = 0 or x. Shapes broadcast."""
    return kernels.prelu(x, slope)


@leaky.vjp(x="x", slope="x")
def leaky_vjp(g, x, slope, need):
    return leaky_backward(g, x, slope) if need[0] else None, g * minimum(x, 0) if need[1] else None


@op
def leaky_backward(dy, x, slope):
    """dy where x > 0, else dy slope. d/d(dy): the same of g, d/dx = 0, d/dslope = 0 or dy. Shapes broadcast."""
    return kernels.prelu_backward(dy, x, slope)


@leaky_backward.vjp
def leaky_backward_vjp(g, dy, x, slope, need):
    return leaky_backward(g, x, slope) if need[0] else None, None, where(x > 0, 0.0, g * dy) if need[2] else None


def prelu(input, weight):
    """input where it is at least 0, else weight input (He et al., 2015). Shape: any, kept.

    weight: one element, or one for each channel, axis 1. Raises ValueError for another number.
    """
    channels = input.shape[1] if input.ndim > 1 else 1
    if weight.ndim > 1 or weight.size not in (1, channels):
        raise ValueError(f"prelu: weight {weight.shape}, input {input.shape}: 1 or {channels} elements expected")
    return leaky(input, weight.reshape((-1,) + (1,) * max(0, input.ndim - 2)) if weight.size > 1 else weight.reshape(()))


def rrelu(input, lower=1 / 8, upper=1 / 3, training=False):
    """input where it is at least 0, else a input, with a drawn from [lower, upper) for each element in training and their
    mean otherwise (Xu et al., 2015). Shape: any, kept. Raises ValueError unless lower <= upper.
    """
    from ..random import uniform
    if not lower <= upper:
        raise ValueError(f"rrelu: lower={lower}, upper={upper}: lower <= upper expected")
    if not training:
        return leaky(input, (lower + upper) / 2)
    return leaky(input, uniform(lower, upper, input.shape, dtype=input.dtype))


__all__ = ["hardshrink", "hardsigmoid", "hardswish", "hardtanh", "prelu", "relu6", "rrelu", "softshrink", "threshold"]
