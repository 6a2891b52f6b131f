"""The activations and their derivatives, elementwise.

A derivative is a kernel of its own, `NAME_backward(g, ...)` with g = dL/dy, and gives dL/dx. It is written in terms of the
output y where y is enough to know the slope, so that x need not be kept; else in terms of x.
All keep shape, dtype and memory layout (C order, or channels-last behind an (N, C, H, W) view). x: any shape, floating.
"""
from typing import NamedTuple

import numpy as np

from .._cases import case, channels_last, normal
from .._dispatch import kernel


class OneParam(NamedTuple):
    value: float


class TwoParams(NamedTuple):
    first: float
    second: float


class EluParams(NamedTuple):
    alpha: float
    scale: float
    input_scale: float


NO_PARAMS = ()


@kernel
def relu(x):
    """max(x, 0). NaN stays NaN."""
    return forward("relu", x)


@kernel
def relu_backward(g, y):
    """g where y > 0, else 0."""
    return backward("relu_backward", g, y=y)


@kernel
def leaky_relu(x, slope=0.01):
    """x where x >= 0, else slope * x; slope is at least 0 (Maas et al., 2013)."""
    return forward("leaky_relu", x, at_least_0("leaky_relu", slope=slope))


@kernel
def leaky_relu_backward(g, y, slope=0.01):
    """g where y > 0, else slope * g."""
    return backward("leaky_relu_backward", g, y=y, p=at_least_0("leaky_relu_backward", slope=slope))


@kernel
def elu(x, alpha=1.0, scale=1.0, input_scale=1.0):
    """scale * x where x >= 0, else scale * alpha * (exp(input_scale * x) - 1); alpha is at least 0 (Clevert et al., 2015)."""
    return forward("elu", x, elu_params("elu", alpha, scale, input_scale))


@kernel
def elu_backward(g, y, alpha=1.0, scale=1.0, input_scale=1.0):
    """scale * g where y > 0, else g * input_scale * (y + scale * alpha), the derivative in terms of y."""
    return backward("elu_backward", g, y=y, p=elu_params("elu_backward", alpha, scale, input_scale))


@kernel
def sigmoid(x):
    """1 / (1 + exp(-x)), without overflow."""
    return forward("sigmoid", x)


@kernel
def sigmoid_backward(g, y):
    """g * y * (1 - y)."""
    return backward("sigmoid_backward", g, y=y)


@kernel(numpy=np.tanh)
def tanh(x):
    """(exp(2x) - 1) / (exp(2x) + 1); of whole numbers too, as NumPy has it."""
    return forward("tanh", x)


@kernel
def tanh_backward(g, y):
    """g * (1 - y) * (1 + y)."""
    return backward("tanh_backward", g, y=y)


@kernel
def silu(x):
    """x * sigmoid(x), also known as swish (Ramachandran et al., 2017); 0 at minus infinity."""
    return forward("silu", x)


@kernel
def silu_backward(g, x):
    """g * s * (1 + x * (1 - s)) with s = sigmoid(x)."""
    return backward("silu_backward", g, x=x)


@kernel
def gelu(x):
    """x * (1 + erf(x / sqrt(2))) / 2 (Hendrycks and Gimpel, 2016); 0 at minus infinity."""
    return forward("gelu", x)


@kernel
def gelu_backward(g, x):
    """g * (P(x) + x * exp(-x**2 / 2) / sqrt(2 pi)) with P the normal distribution function."""
    return backward("gelu_backward", g, x=x)


@kernel
def gelu_tanh(x):
    """x * (1 + tanh(u)) / 2 with u = sqrt(2 / pi) * (x + 0.044715 * x**3): the approximation of gelu used in GPT-2."""
    return forward("gelu_tanh", x)


@kernel
def gelu_tanh_backward(g, x):
    """g * (s + x * s * (1 - s) * 2u') with s = sigmoid(2u) = (1 + tanh(u)) / 2, u' = sqrt(2 / pi) * (1 + 0.134145 * x**2)."""
    return backward("gelu_tanh_backward", g, x=x)


@kernel
def softplus(x):
    """log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)), without overflow."""
    return forward("softplus", x)


@kernel
def softplus_backward(g, x):
    """g * sigmoid(x)."""
    return backward("softplus_backward", g, x=x)


@kernel
def log_sigmoid(x):
    """log(sigmoid(x)) = min(x, 0) - log(1 + exp(-|x|)), without overflow."""
    return forward("log_sigmoid", x)


@kernel
def log_sigmoid_backward(g, x):
    """g * sigmoid(-x)."""
    return backward("log_sigmoid_backward", g, x=x)


@kernel
def mish(x):
    """x * tanh(softplus(x)) (Misra, 2019); 0 at minus infinity."""
    return forward("mish", x)


@kernel
def mish_backward(g, x):
    """g * (t + x * 4 e (e + 1) / (n + 2)**2) with e = exp(x), n = e (e + 2) and t = n / (n + 2) = tanh(softplus(x))."""
    return backward("mish_backward", g, x=x)


@kernel
def softsign(x):
    """x / (1 + |x|)."""
    return forward("softsign", x)


@kernel
def softsign_backward(g, x):
    """g / (1 + |x|)**2."""
    return backward("softsign_backward", g, x=x)


@kernel(tolerance=2e-5)
def tanhshrink(x):
    """x - tanh(x), as it stands: where x is small the difference has few digits, as in PyTorch."""
    return forward("tanhshrink", x)


@kernel
def tanhshrink_backward(g, x):
    """g * tanh(x)**2."""
    return backward("tanhshrink_backward", g, x=x)


@kernel
def hardtanh(x, min_val=-1.0, max_val=1.0):
    """x between min_val and max_val. NaN stays NaN."""
    return forward("hardtanh", x, TwoParams(float(min_val), float(max_val)))


@kernel
def hardtanh_backward(g, y, min_val=-1.0, max_val=1.0):
    """g where min_val < y < max_val, else 0."""
    return backward("hardtanh_backward", g, y=y, p=TwoParams(float(min_val), float(max_val)))


@kernel
def hardsigmoid(x):
    """x / 6 + 1 / 2 between 0 and 1."""
    return forward("hardsigmoid", x)


@kernel
def hardsigmoid_backward(g, x):
    """g / 6 where -3 < x < 3, else 0."""
    return backward("hardsigmoid_backward", g, x=x)


@kernel
def hardswish(x):
    """x * hardsigmoid(x) (Howard et al., 2019)."""
    return forward("hardswish", x)


@kernel
def hardswish_backward(g, x):
    """g * (2 x + 3) / 6 where -3 < x < 3, 0 below and g above."""
    return backward("hardswish_backward", g, x=x)


@kernel
def hardshrink(x, lambd=0.5):
    """x where |x| > lambd, else 0."""
    return forward("hardshrink", x, at_least_0("hardshrink", lambd=lambd))


@kernel
def hardshrink_backward(g, y):
    """g where y is not 0, else 0."""
    return backward("hardshrink_backward", g, y=y)


@kernel
def softshrink(x, lambd=0.5):
    """x brought nearer to 0 by lambd, 0 where |x| <= lambd."""
    return forward("softshrink", x, at_least_0("softshrink", lambd=lambd))


@kernel
def softshrink_backward(g, y):
    """g where y is not 0, else 0."""
    return backward("softshrink_backward", g, y=y)


@kernel
def threshold(x, threshold, value):
    """x where x > threshold, else value. NaN stays NaN."""
    return forward("threshold", x, TwoParams(float(threshold), float(value)))


@kernel
def threshold_backward(g, x, threshold):
    """g where x > threshold, else 0."""
    return backward("threshold_backward", g, x=x, p=OneParam(float(threshold)))


def elu_params(name, alpha, scale, input_scale):
    at_least_0(name, alpha=alpha)
    return EluParams(float(alpha), float(scale), float(input_scale))


def forward(name, x, p=NO_PARAMS):
    floating(name, "x", x)
    return [like(x)], (x,), p


def backward(name, g, *, x=None, y=None, p=NO_PARAMS):
    saved, what = (x, "x") if y is None else (y, "y")
    floating(name, what, saved)
    if g.shape != saved.shape:
        raise ValueError(f"{name}: g {g.shape}: the shape of {what}, {saved.shape}, expected")
    if g.dtype != saved.dtype:
        raise TypeError(f"{name}: g is {g.dtype}: the dtype of {what}, {saved.dtype}, expected")
    return [like(saved)], (g, saved), p


def floating(name, argument, x):
    if x.dtype.kind != "f":
        raise TypeError(f"{name}: {argument} is {x.dtype}: a floating-point dtype expected")


def at_least_0(name, **parameter):
    (key, value), = parameter.items()
    if not value >= 0:  # y would not tell the sign of x
        raise ValueError(f"{name}: {key}={value!r}: at least 0 expected")
    return OneParam(float(value))


def like(x):
    """An output with the shape, the dtype and (for NumPy) the layout of x."""
    if type(x) is np.ndarray and x.ndim == 4 and not x.flags.c_contiguous and x.transpose(0, 2, 3, 1).flags.c_contiguous:
        return x.shape, x.dtype, "channels_last"
    return x.shape, x.dtype


# Operations per element, an exp, log or division counted as one.
COST = {relu: 1, relu_backward: 1, leaky_relu: 2, leaky_relu_backward: 2, elu: 4, elu_backward: 3, sigmoid: 3,
        sigmoid_backward: 3, tanh: 5, tanh_backward: 4, silu: 4, silu_backward: 7, gelu: 5, gelu_backward: 9, gelu_tanh: 8,
        gelu_tanh_backward: 15, softplus: 5, softplus_backward: 4, log_sigmoid: 5, log_sigmoid_backward: 4, mish: 7,
        mish_backward: 12, softsign: 3, softsign_backward: 4, tanhshrink: 6, tanhshrink_backward: 7, hardtanh: 2,
        hardtanh_backward: 2, hardsigmoid: 4, hardsigmoid_backward: 3, hardswish: 5, hardswish_backward: 5, hardshrink: 2,
        hardshrink_backward: 1, softshrink: 3, softshrink_backward: 1, threshold: 1, threshold_backward: 1}


__all__ = [each.name for each in COST]
OPTIONS = {"leaky_relu": {"slope": 0.2}, "elu": {"alpha": 0.7, "scale": 1.25, "input_scale": 0.5},
           "hardshrink": {"lambd": 0.4}, "softshrink": {"lambd": 0.4}, "hardtanh": {"min_val": -0.5, "max_val": 2},
           "threshold": {"threshold": 0.3, "value": -2}}
BACKWARD_OPTIONS = OPTIONS | {"hardshrink": {}, "softshrink": {}, "threshold": {"threshold": 0.3}}


def describe(kernel, operations):
    """Gives a kernel its cost and its cases."""
    operands = 2 if kernel.name.endswith("_backward") else 1
    options = (BACKWARD_OPTIONS if operands == 2 else OPTIONS).get(kernel.name.removesuffix("_backward"), {})

    @kernel.cost
    def flops(outs, ins, p):
        return operations * outs[0].size

    @kernel.examples
    def examples():
        for shape in [(), (0,), (1,), (37,), (3, 0, 2), (5, 33), (2, 3, 4, 5, 6), (70_001,)]:
            yield case(f"{shape}", *(normal(*shape, seed=i) for i in range(operands)), **options)
        for dtype in ("float16", "float32", "float64"):
            x = special(dtype)
            yield case(f"special {dtype}", *(x, x)[:operands], **options)
            yield case(f"{dtype}", *(normal(9, 50, dtype=dtype, seed=i) for i in range(operands)), **options)
        image = normal(2, 5, 3, 4), channels_last(normal(2, 5, 3, 4, seed=1))
        strided = normal(6, 40)[:, ::2], normal(20, 6).T
        large = channels_last(normal(2, 3, 70, 80)), normal(2, 3, 80, 70).transpose(0, 1, 3, 2)
        for label, pair in [("channels-last and C order", image), ("strided", strided), ("strided large", large)]:
            yield case(label, *pair[:operands], **options)
            yield case(f"{label}, swapped", *pair[::-1][:operands], **options)
        gradient = np.broadcast_to(np.float32(0.5), (2, 5, 3, 4))
        yield case("broadcast", *(gradient, image[1])[:operands], **options)
        for n in (16, 128) if operations == 1 else (16,):
            images = (channels_last(normal(n, 32, 26, 26, seed=i)) for i in range(operands))
            yield case(f"{n}x32x26x26", *images, bench=True, **options)


def special(dtype):
    """Zero, small and large values of both signs, the infinities and NaN."""
    positive = [0.0, 1e-40, 1e-30, 1e-8, 1e-4, 0.1, 0.3, 0.5, 1, 2, 5, 9, 14, 20, 50, 88, 89, 104, 200, 1e4, 1e20, np.inf]
    with np.errstate(over="ignore"):
        return np.array([*positive, *(-v for v in positive), np.nan], "float64").astype(dtype)


for each, operations in COST.items():
    describe(each, operations)
