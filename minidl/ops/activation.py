"""Activation functions and softmax. A derivative that is a kernel of its own is an operation, `NAME_backward`, too.

There `dy` is the gradient of the activation's result; `out`, the result itself, or x is what was kept to know the slope.
"""
import numpy as np

from .. import kernels
from ..autograd import op
from .aliases import aliased
from .arithmetic import abs, sign
from .elementwise import exp, tanh
from .index import getitem, where

SQRT_2_OVER_PI = 0.7978845608028654
SQRT_2PI = 2.5066282746310002


@op
def relu(x):
    """max(x, 0), elementwise (Nair and Hinton, 2010). d/dx = 1 where x > 0, else 0. Shape: any, kept."""
    return np.maximum(x, 0) if x.dtype.kind in "iu" else kernels.relu(x)


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
def elu(x, alpha=1.0, scale=1.0, input_scale=1.0):
    """scale x where x >= 0, else scale alpha (exp(input_scale x) - 1) (Clevert et al., 2015). Shape: any, kept.

    d/dx = scale, or input_scale (y + scale alpha). Raises ValueError for an alpha below 0.
    """
    return kernels.elu(x, alpha, scale, input_scale)


@elu.vjp
def elu_vjp(g, y, alpha, scale, input_scale):
    return elu_backward(g, y, alpha, scale, input_scale)


@op
def elu_backward(dy, out, alpha=1.0, scale=1.0, input_scale=1.0):
    """scale dy where out > 0, else dy input_scale (out + scale alpha). Shapes: alike.

    d/d(dy): the same of g, d/d(out) = 0 or dy input_scale.
    """
    return kernels.elu_backward(dy, out, alpha, scale, input_scale)


@elu_backward.vjp
def elu_backward_vjp(g, dy, out, alpha, scale, input_scale, need):
    return (elu_backward(g, out, alpha, scale, input_scale) if need[0] else None,
            where(out > 0, 0.0, g * dy * input_scale) if need[1] else None)


def selu(input):
    """elu with the alpha and scale that keep mean 0 and variance 1 (Klambauer et al., 2017). Shape: any, kept."""
    return elu(input, 1.6732632423543772, 1.0507009873554805)


def celu(input, alpha=1.0):
    """max(0, x) + min(0, alpha (exp(x / alpha) - 1)) (Barron, 2017). Shape: any, kept."""
    return elu(input, alpha, 1.0, 1 / alpha)


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
def logsigmoid(x):
    """log(sigmoid(x)), elementwise, without overflow. d/dx = sigmoid(-x). Shape: any, kept."""
    return kernels.log_sigmoid(x)


@logsigmoid.vjp
def logsigmoid_vjp(g, x):
    return log_sigmoid_backward(g, x)


@op
def log_sigmoid_backward(dy, x):
    """dy sigmoid(-x). d/d(dy): the same of g, d/dx = -dy s (1 - s), s = sigmoid(x). Shapes: alike."""
    return kernels.log_sigmoid_backward(dy, x)


@log_sigmoid_backward.vjp
def log_sigmoid_backward_vjp(g, dy, x, need):
    return log_sigmoid_backward(g, x) if need[0] else None, sigmoid_backward(-g * dy, sigmoid(x)) if need[1] else None


@op
def mish(x):
    """x t, t = tanh(softplus(x)), elementwise (Misra, 2019). d/dx = t + x (1 - t**2) sigmoid(x). Shape: any, kept."""
    return kernels.mish(x)


@mish.vjp
def mish_vjp(g, x):
    return mish_backward(g, x)


@op
def mish_backward(dy, x):
    """dy mish'(x). d/d(dy): the same of g, d/dx = dy (1 - t**2) s (2 + x (1 - s - 2 t s)), s = sigmoid(x). Shapes: alike."""
    return kernels.mish_backward(dy, x)


@mish_backward.vjp
def mish_backward_vjp(g, dy, x, need):
    dx = None
    if need[1]:
        s, t = sigmoid(x), tanh(softplus(x))
        dx = g * dy * ((1 - t) * (1 + t) * s * (2 + x * (1 - s - 2 * t * s)))
    return mish_backward(g, x) if need[0] else None, dx


@op
def softsign(x):
    """x / (1 + |x|), elementwise. d/dx = 1 / (1 + |x|)**2. Shape: any, kept."""
    return kernels.softsign(x)


@softsign.vjp
def softsign_vjp(g, x):
    return softsign_backward(g, x)


@op
def softsign_backward(dy, x):
    """dy / (1 + |x|)**2. d/d(dy): the same of g, d/dx = -2 dy sign(x) / (1 + |x|)**3. Shapes: alike."""
    return kernels.softsign_backward(dy, x)


@softsign_backward.vjp
def softsign_backward_vjp(g, dy, x, need):
    return (softsign_backward(g, x) if need[0] else None,
            g * dy * (-2 * sign(x) / (1 + abs(x)) ** 3) if need[1] else None)


@op
def tanhshrink(x):
    """x - tanh(x), elementwise. d/dx = tanh(x)**2. Shape: any, kept."""
    return kernels.tanhshrink(x)


@tanhshrink.vjp
def tanhshrink_vjp(g, x):
    return tanhshrink_backward(g, x)


@op
def tanhshrink_backward(dy, x):
    """dy tanh(x)**2. d/d(dy): the same of g, d/dx = 2 dy t (1 - t**2), t = tanh(x). Shapes: alike."""
    return kernels.tanhshrink_backward(dy, x)


@tanhshrink_backward.vjp
def tanhshrink_backward_vjp(g, dy, x, need):
    t = tanh(x)
    return tanhshrink_backward(g, x) if need[0] else None, 2 * g * dy * t * (1 - t) * (1 + t) if need[1] else None


@aliased
def glu(input, axis=-1):
    """a sigmoid(b) for the halves a and b of the input along an axis (Dauphin et al., 2017). Shape: half of it there."""
    n = input.shape[axis]
    if n % 2:
        raise ValueError(f"glu: shape {input.shape}: an even number of elements along axis {axis} expected")
    lead = (slice(None),) * (axis % input.ndim)
    return getitem(input, (*lead, slice(0, n // 2))) * sigmoid(getitem(input, (*lead, slice(n // 2, n))))


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


def softmin(input, axis=-1):
    """softmax of -input. Shape: any with an axis, kept."""
    return softmax(-input, axis)


__all__ = ["celu", "elu", "gelu", "glu", "leaky_relu", "log_softmax", "logsigmoid", "mish", "relu", "selu", "sigmoid", "silu",
           "softmax", "softmin", "softplus", "softsign", "tanh", "tanhshrink"]
