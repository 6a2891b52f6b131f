"""Activation functions and softmax. A derivative that is a kernel of its own is an operation, `NAME_backward`, too.

There `dy` is the gradient of the activation's result; `out`, the result itself, or x is what was kept to know the slope.
"""
import numpy as np

from .. import kernels
from ..autograd import op
from ..kernels import large
from .elementwise import exp, tanh
from .index import where

SQRT_2_OVER_PI = 0.7978845608028654
SQRT_2PI = 2.5066282746310002


@op
def relu(x):
    """max(x, 0), elementwise (Nair and Hinton, 2010). d/dx = 1 where x > 0, else 0. Shape: any, kept."""
    return kernels.relu(x)


@relu.vjp
def relu_vjp(g, y):
    return relu_backward(g, y)


@op
def relu_backward(dy, out):
    """dy where out > 0, else 0. d/d(dy): the same of g, d/d(out) = 0. Shapes: alike."""
    return kernels.relu_backward(dy, out)


@relu_backward.vjp
def relu_backward_vjp(g, out):
    return relu_backward(g, out), None


@op
def leaky_relu(x, negative_slope=0.01):
    """x where x >= 0, else negative_slope * x (Maas et al., 2013). d/dx = 1 or negative_slope. Shape: any, kept.

    Raises ValueError for a slope below 0.
    """
    return kernels.leaky_relu(x, negative_slope)


@leaky_relu.vjp
def leaky_relu_vjp(g, y, negative_slope):
    return leaky_relu_backward(g, y, negative_slope)


@op
def leaky_relu_backward(dy, out, negative_slope=0.01):
    """dy where out > 0, else negative_slope * dy. d/d(dy): the same of g, d/d(out) = 0. Shapes: alike."""
    return kernels.leaky_relu_backward(dy, out, negative_slope)


@leaky_relu_backward.vjp
def leaky_relu_backward_vjp(g, out, negative_slope):
    return leaky_relu_backward(g, out, negative_slope), None


@op
def elu(x, alpha=1.0):
    """x where x >= 0, else alpha (exp(x) - 1) (Clevert et al., 2015). d/dx = 1 or alpha exp(x). Shape: any, kept.

    Raises ValueError for an alpha below 0.
    """
    return kernels.elu(x, alpha)


@elu.vjp
def elu_vjp(g, y, alpha):
    return elu_backward(g, y, alpha)


@op
def elu_backward(dy, out, alpha=1.0):
    """dy where out > 0, else dy (out + alpha). d/d(dy): the same of g, d/d(out) = 0 or dy. Shapes: alike."""
    return kernels.elu_backward(dy, out, alpha)


@elu_backward.vjp
def elu_backward_vjp(g, dy, out, alpha, need):
    return elu_backward(g, out, alpha) if need[0] else None, where(out > 0, 0.0, g * dy) if need[1] else None


@op
def sigmoid(x):
    """1 / (1 + exp(-x)), elementwise, without overflow. d/dx = y (1 - y). Shape: any, kept."""
    return kernels.sigmoid(x)


@sigmoid.vjp
def sigmoid_vjp(g, y):
    return sigmoid_backward(g, y)


@op
def sigmoid_backward(dy, out):
    """dy out (1 - out). d/d(dy): the same of g, d/d(out) = dy (1 - 2 out). Shapes: alike."""
    return kernels.sigmoid_backward(dy, out)


@sigmoid_backward.vjp
def sigmoid_backward_vjp(g, dy, out, need):
    return sigmoid_backward(g, out) if need[0] else None, g * dy * (1 - 2 * out) if need[1] else None


@op
def silu(x):
    """x sigmoid(x), elementwise: swish (Ramachandran et al., 2017). d/dx = s (1 + x (1 - s)), s = sigmoid(x). Shape: kept."""
    return kernels.silu(x)


@silu.vjp
def silu_vjp(g, x):
    return silu_backward(g, x)


@op
def silu_backward(dy, x):
    """dy silu'(x). d/d(dy): the same of g, d/dx = dy s (1 - s) (2 + x (1 - 2 s)), s = sigmoid(x). Shapes: alike."""
    return kernels.silu_backward(dy, x)


@silu_backward.vjp
def silu_backward_vjp(g, dy, x, need):
    dx = None
    if need[1]:
        s = sigmoid(x)
        dx = g * dy * (s * (1 - s) * (2 + x * (1 - 2 * s)))
    return silu_backward(g, x) if need[0] else None, dx


def gelu(input, approximate="none"):
    """input times the normal distribution function of it (Hendrycks and Gimpel, 2016). Shape: any, kept.

    approximate: 'none', or 'tanh' for GPT-2's approximation. Raises ValueError for anything else.
    """
    if approximate == "none":
        return gelu_exact(input)
    if approximate == "tanh":
        return gelu_tanh(input)
    raise ValueError(f"gelu: approximate={approximate!r}: 'none' or 'tanh' expected")


@op
def gelu_exact(x):
    """x P(x), elementwise, P the normal distribution function, p its density. d/dx = P(x) + x p(x). Shape: any, kept."""
    return kernels.gelu(x)


@gelu_exact.vjp
def gelu_exact_vjp(g, x):
    return gelu_backward(g, x)


@op
def gelu_backward(dy, x):
    """dy (P(x) + x p(x)), as in gelu_exact. d/d(dy): the same of g, d/dx = dy p(x) (2 - x**2). Shapes: alike."""
    return kernels.gelu_backward(dy, x)


@gelu_backward.vjp
def gelu_backward_vjp(g, dy, x, need):
    dx = g * dy * (exp(-0.5 * x * x) / SQRT_2PI * (2 - x * x)) if need[1] else None
    return gelu_backward(g, x) if need[0] else None, dx


@op
def gelu_tanh(x):
    """x s, s = sigmoid(v), v = 2 sqrt(2 / pi) (x + 0.044715 x**3), elementwise. d/dx = s + x s (1 - s) v'. Shape: kept."""
    return kernels.gelu_tanh(x)


@gelu_tanh.vjp
def gelu_tanh_vjp(g, x):
    return gelu_tanh_backward(g, x)


@op
def gelu_tanh_backward(dy, x):
    """dy gelu_tanh'(x). d/d(dy): the same of g, d/dx = dy (2 s' v' + x (s'' v'**2 + s' v'')), s' = ds/dv. Shapes: alike."""
    return kernels.gelu_tanh_backward(dy, x)


@gelu_tanh_backward.vjp
def gelu_tanh_backward_vjp(g, dy, x, need):
    dx = None
    if need[1]:
        v1 = 2 * SQRT_2_OVER_PI * (1 + 0.134145 * x * x)
        v2 = 2 * SQRT_2_OVER_PI * 0.26829 * x
        s = sigmoid(2 * SQRT_2_OVER_PI * x * (1 + 0.044715 * x * x))
        s1 = s * (1 - s)
        dx = g * dy * (2 * s1 * v1 + x * s1 * ((1 - 2 * s) * v1 * v1 + v2))
    return gelu_tanh_backward(g, x) if need[0] else None, dx


@op
def softplus(x):
    """log(1 + exp(x)), elementwise, without overflow. d/dx = sigmoid(x). Shape: any, kept."""
    return kernels.softplus(x)


@softplus.vjp
def softplus_vjp(g, x):
    return softplus_backward(g, x)


@op
def softplus_backward(dy, x):
    """dy sigmoid(x). d/d(dy): the same of g, d/dx = dy s (1 - s), s = sigmoid(x). Shapes: alike."""
    return kernels.softplus_backward(dy, x)


@softplus_backward.vjp
def softplus_backward_vjp(g, dy, x, need):
    return softplus_backward(g, x) if need[0] else None, sigmoid_backward(g * dy, sigmoid(x)) if need[1] else None


@op
def hardtanh(x, min_val=-1.0, max_val=1.0):
    """x between min_val and max_val, elementwise. d/dx = 1 strictly inside, else 0. Shape: any, kept."""
    return kernels.clip(x, min_val, max_val) if large(x) else np.clip(x, min_val, max_val)


@hardtanh.vjp
def hardtanh_vjp(g, y, min_val, max_val):
    return where((y > min_val) & (y < max_val), g, 0.0)


def relu6(input):
    """input between 0 and 6 (Krizhevsky, 2010). d/dx = 1 strictly inside, else 0. Shape: any, kept."""
    return hardtanh(input, 0.0, 6.0)


@op
def softmax(x, axis=-1):
    """exp(x) / sum(exp(x)) along an axis, without overflow. dL/dx = y (g - sum(g y)). Shape: any with an axis, kept."""
    return kernels.softmax(x, axis)


@softmax.vjp
def softmax_vjp(g, y, axis):
    return softmax_backward(g, y, axis)


@op
def softmax_backward(dy, out, axis=-1):
    """out (dy - sum(dy out)) along an axis. d/d(dy): the same of g, d/d(out) = g dy - g s - dy t. Shapes: alike.

    There s = sum(dy out) and t = sum(g out).
    """
    return kernels.softmax_backward(dy, out, axis)


@softmax_backward.vjp
def softmax_backward_vjp(g, dy, out, axis, need):
    dout = None
    if need[1]:
        s, t = (dy * out).sum(axis=axis, keepdims=True), (g * out).sum(axis=axis, keepdims=True)
        dout = g * (dy - s) - dy * t
    return softmax_backward(g, out, axis) if need[0] else None, dout


@op
def log_softmax(x, axis=-1):
    """x - log(sum(exp(x))) along an axis, without overflow. dL/dx = g - softmax(x) sum(g). Shape: as softmax."""
    return kernels.log_softmax(x, axis)


@log_softmax.vjp
def log_softmax_vjp(g, y, axis):
    return log_softmax_backward(g, y, axis)


@op
def log_softmax_backward(dy, out, axis=-1):
    """dy - p sum(dy), p = exp(out), along an axis. d/d(dy) = g - sum(g p), d/d(out) = -g p sum(dy). Shapes: alike."""
    return kernels.log_softmax_backward(dy, out, axis)


@log_softmax_backward.vjp
def log_softmax_backward_vjp(g, dy, out, axis, need):
    gp = g * exp(out)
    return (g - gp.sum(axis=axis, keepdims=True) if need[0] else None,
            -gp * dy.sum(axis=axis, keepdims=True) if need[1] else None)


__all__ = ["elu", "gelu", "hardtanh", "leaky_relu", "log_softmax", "relu", "relu6", "sigmoid", "silu", "softmax", "softplus",
           "tanh"]
