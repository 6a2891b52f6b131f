"""The formulas in float64. Infinities are clipped where infinity times zero would hide the limit."""
import numpy as np


def version(formula):
    """formula(arrays, parameters) in float64, made a version: the result is rounded once, to the output's dtype."""
    def run(y, *ins_and_p):
        *ins, p = ins_and_p
        with np.errstate(all="ignore"):
            y[...] = formula(*(x.astype(np.float64) for x in ins), *p).astype(y.dtype)
    return run


@version
def relu(x):
    return np.where(x < 0, 0.0, x)


@version
def relu_backward(g, y):
    return np.where(y <= 0, 0.0, g)


@version
def leaky_relu(x, slope):
    return np.where(x < 0, slope * x, x)


@version
def leaky_relu_backward(g, y, slope):
    return np.where(y <= 0, slope * g, g)


@version
def elu(x, alpha, scale, input_scale):
    return scale * np.where(x < 0, alpha * np.expm1(np.minimum(x, 0) * input_scale), x)


@version
def elu_backward(g, y, alpha, scale, input_scale):
    return g * np.where(y <= 0, input_scale * (y + alpha * scale), scale)


@version
def sigmoid(x):
    return logistic(x)


@version
def sigmoid_backward(g, y):
    return g * y * (1 - y)


@version
def tanh(x):
    return np.tanh(x)


@version
def tanh_backward(g, y):
    return g * (1 - y) * (1 + y)


@version
def silu(x):
    return np.maximum(x, -1e3) * logistic(x)


@version
def silu_backward(g, x):
    s = logistic(x)
    return g * s * (1 + np.clip(x, -1e3, 1e3) * (1 - s))


@version
def gelu(x):
    return np.maximum(x, -50) * normal_cdf(x)


@version
def gelu_backward(g, x):
    density = np.exp(-x * x / 2) / np.sqrt(2 * np.pi)
    return g * (normal_cdf(x) + np.clip(x, -50, 50) * density)


@version
def gelu_tanh(x):
    x = np.maximum(x, -50)
    return x * logistic(2 * gelu_tanh_inner(x))


@version
def gelu_tanh_backward(g, x):
    x = np.clip(x, -50, 50)
    s = logistic(2 * gelu_tanh_inner(x))
    inner_slope = np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x**2)
    return g * (s + x * s * (1 - s) * 2 * inner_slope)


@version
def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


@version
def softplus_backward(g, x):
    return g * logistic(x)


@version
def log_sigmoid(x):
    return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))


@version
def log_sigmoid_backward(g, x):
    return g * logistic(-x)


@version
def mish(x):
    return np.maximum(x, -1e3) * np.tanh(np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))))


@version
def mish_backward(g, x):
    e = np.exp(np.minimum(x, 100))
    n = e * (e + 2)
    return g * (n / (n + 2) + np.clip(x, -1e3, 1e3) * 4 * e * (e + 1) / (n + 2) ** 2)


@version
def softsign(x):
    x = np.clip(x, -1e40, 1e40)
    return x / (1 + np.abs(x))


@version
def softsign_backward(g, x):
    return g / (1 + np.abs(x)) ** 2


@version
def tanhshrink(x):
    return x - np.tanh(x)


@version
def tanhshrink_backward(g, x):
    return g * np.tanh(x) ** 2


@version
def hardtanh(x, min_val, max_val):
    return np.clip(x, min_val, max_val)


@version
def hardtanh_backward(g, y, min_val, max_val):
    return np.where((y <= min_val) | (y >= max_val), 0.0, g)


@version
def hardsigmoid(x):
    return np.clip(x / 6 + 0.5, 0, 1)


@version
def hardsigmoid_backward(g, x):
    return np.where((x <= -3) | (x >= 3), 0.0, g / 6)


@version
def hardswish(x):
    return x * np.clip(x + 3, 0, 6) / 6


@version
def hardswish_backward(g, x):
    return g * np.where(x <= -3, 0.0, np.where(x >= 3, 1.0, (2 * x + 3) / 6))


@version
def hardshrink(x, lambd):
    return np.where(np.abs(x) <= lambd, 0.0, x)


@version
def hardshrink_backward(g, y):
    return np.where(y == 0, 0.0, g)


@version
def softshrink(x, lambd):
    return np.where(np.abs(x) <= lambd, 0.0, x - np.sign(x) * lambd)


@version
def softshrink_backward(g, y):
    return np.where(y == 0, 0.0, g)


@version
def threshold(x, threshold, value):
    return np.where(x <= threshold, value, x)


@version
def threshold_backward(g, x, threshold):
    return np.where(x <= threshold, 0.0, g)


def gelu_tanh_inner(x):
    return np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)


def logistic(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def normal_cdf(x):
    return np.where(x < 0, erfc(np.abs(x) / np.sqrt(2)), 2 - erfc(np.abs(x) / np.sqrt(2))) / 2


def erfc(x):
    """The complementary error function for x >= 0, to about 1e-15: the trapezoidal rule on its integral, and the residue of
    the pole that comes close as x nears 0 (Hunter and Regan, Math. Comp. 26, 1972)."""
    h = 0.5
    x = np.minimum(x, 30)  # erfc(30) = 0 in float64
    nodes = [((n + 0.5) * h) ** 2 for n in range(13)]
    total = sum(np.exp(-t) / (t + x * x) for t in nodes)
    residue = np.where(x < np.pi / h, 2 / (1 + np.exp(2 * np.pi * x / h)), 0)
    return 2 * h * x / np.pi * np.exp(-x * x) * total + residue
