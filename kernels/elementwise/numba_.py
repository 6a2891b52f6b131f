"""The formulas for one element; Numba compiles each to a NumPy ufunc, which takes any strides."""
import math
from functools import cache
from inspect import signature

import numpy as np
from numba import njit, vectorize


def version(formula):
    """formula(elements, parameters), made a version; it is compiled at the first call."""
    @cache
    def compiled():
        count = len(signature(formula).parameters)
        return vectorize([f"{t}({', '.join([t] * count)})" for t in ("float32", "float64")], cache=True)(formula)

    def run(y, *ins_and_p):
        *ins, p = ins_and_p
        if y.dtype not in (np.float32, np.float64):
            return NotImplemented
        with np.errstate(all="ignore"):
            compiled()(*ins, *(y.dtype.type(value) for value in p), y)
    return run


@version
def relu(x):
    return 0 if x < 0 else x


@version
def relu_backward(g, y):
    return 0 if y <= 0 else g


@version
def leaky_relu(x, slope):
    return slope * x if x < 0 else x


@version
def leaky_relu_backward(g, y, slope):
    return slope * g if y <= 0 else g


@version
def elu(x, alpha, scale, input_scale):
    return scale * (alpha * math.expm1(x * input_scale) if x < 0 else x)


@version
def elu_backward(g, y, alpha, scale, input_scale):
    return g * (input_scale * (y + alpha * scale) if y <= 0 else scale)


@version
def sigmoid(x):
    return logistic(x)


@version
def sigmoid_backward(g, y):
    return g * y * (1 - y)


@version
def tanh(x):
    return math.tanh(x)


@version
def tanh_backward(g, y):
    return g * (1 - y) * (1 + y)


@version
def silu(x):
    return clip(x, 1e3) * logistic(x) if x < 0 else x * logistic(x)


@version
def silu_backward(g, x):
    s = logistic(x)
    return g * s * (1 + clip(x, 1e3) * (1 - s))


@version
def gelu(x):
    return clip(x, 50) * normal_cdf(x) if x < 0 else x * normal_cdf(x)


@version
def gelu_backward(g, x):
    x = clip(x, 50)
    return g * (normal_cdf(x) + x * math.exp(-x * x / 2) / math.sqrt(2 * math.pi))


@version
def gelu_tanh(x):
    return x if x > 50 else clip(x, 50) * logistic(2 * gelu_tanh_inner(clip(x, 50)))


@version
def gelu_tanh_backward(g, x):
    x = clip(x, 50)
    s = logistic(2 * gelu_tanh_inner(x))
    return g * (s + x * s * (1 - s) * 2 * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2))


@version
def softplus(x):
    return (x if x > 0 else 0) + math.log1p(math.exp(-abs(x)))


@version
def softplus_backward(g, x):
    return g * logistic(x)


@version
def log_sigmoid(x):
    return (x if x < 0 else 0) - math.log1p(math.exp(-abs(x))) if x == x else x


@version
def log_sigmoid_backward(g, x):
    return g * logistic(-x)


@version
def mish(x):
    e = math.exp(40 if x > 40 else x)
    n = e * (e + 2)
    return (clip(x, 1e3) if x < 0 else x) * (n / (n + 2))


@version
def mish_backward(g, x):
    e = math.exp(40 if x > 40 else x)
    n = e * (e + 2)
    return g * (n / (n + 2) + clip(x, 1e3) * 4 * e * (e + 1) / ((n + 2) * (n + 2)))


@version
def softsign(x):
    return clip(x, 1e30) / (1 + abs(clip(x, 1e30)))


@version
def softsign_backward(g, x):
    return g / (1 + abs(x)) / (1 + abs(x))


@version
def tanhshrink(x):
    return x - math.tanh(x)


@version
def tanhshrink_backward(g, x):
    return g * math.tanh(x) ** 2


@version
def hardtanh(x, min_val, max_val):
    return min_val if x < min_val else max_val if x > max_val else x


@version
def hardtanh_backward(g, y, min_val, max_val):
    return 0 if y <= min_val or y >= max_val else g


@version
def hardsigmoid(x):
    return clip(x / 6, 0.5) + 0.5


@version
def hardsigmoid_backward(g, x):
    return 0 if x <= -3 or x >= 3 else g / 6


@version
def hardswish(x):
    return x * (clip(x, 3) + 3) / 6


@version
def hardswish_backward(g, x):
    return g * (0 if x <= -3 else 1 if x >= 3 else (2 * x + 3) / 6)


@version
def hardshrink(x, lambd):
    return 0 if abs(x) <= lambd else x


@version
def hardshrink_backward(g, y):
    return 0 if y == 0 else g


@version
def softshrink(x, lambd):
    return 0 if abs(x) <= lambd else x - lambd if x > 0 else x + lambd


@version
def softshrink_backward(g, y):
    return 0 if y == 0 else g


@version
def threshold(x, threshold, value):
    return value if x <= threshold else x


@version
def threshold_backward(g, x, threshold):
    return 0 if x <= threshold else g


@njit
def clip(x, limit):
    return limit if x > limit else -limit if x < -limit else x


@njit
def logistic(x):
    e = math.exp(-abs(x))
    return (e if x < 0 else 1) / (1 + e)


@njit
def normal_cdf(x):
    return math.erfc(-x / math.sqrt(2)) / 2


@njit
def gelu_tanh_inner(x):
    return math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
