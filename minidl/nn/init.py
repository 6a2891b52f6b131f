"""Initial values, written into a tensor in place and off the tape. Every function returns the tensor.

They draw from `generator`, or else from minidl.random.default_generator. A tensor of no elements stays as it is.
"""
import math
from contextlib import contextmanager
from numbers import Real

import numpy as np

from ..autograd import no_grad
from ..autograd.tensor import wrap
from ..ops import argsort, eye, where
from ..random import rand, randn


class Switch:
    """drawing: whether uniform_ and normal_, by which layers draw their initial values, do anything."""
    drawing = True


@contextmanager
def nothing_drawn():
    """Inside, uniform_ and normal_ leave tensors as they are, and the random numbers too."""
    before, Switch.drawing = Switch.drawing, False
    try:
        yield
    finally:
        Switch.drawing = before


def _fill(tensor, values):
    with no_grad():
        return tensor.copy_(values)


def uniform_(tensor, a=0.0, b=1.0, generator=None):
    """Values drawn evenly from [a, b)."""
    if not Switch.drawing or not tensor.size:
        return tensor
    return _fill(tensor, rand(tensor.shape, generator=generator, dtype=tensor.dtype) * (b - a) + a)


def normal_(tensor, mean=0.0, std=1.0, generator=None):
    """Values drawn from a normal distribution."""
    if not Switch.drawing or not tensor.size:
        return tensor
    return _fill(tensor, randn(tensor.shape, generator=generator, dtype=tensor.dtype) * std + mean)


def trunc_normal_(tensor, mean=0.0, std=1.0, a=-2.0, b=2.0, generator=None):
    """Values drawn from a normal distribution, those outside of [a, b] drawn again.

    Raises ValueError where so little of the distribution lies in [a, b] that drawing would hardly end.
    """
    share = (math.erf((b - mean) / (std * 2**0.5)) - math.erf((a - mean) / (std * 2**0.5))) / 2
    if share < 1e-3:
        raise ValueError(f"trunc_normal_: a={a}, b={b} with mean={mean}, std={std}: an interval near the mean expected")
    values = randn(tensor.shape, generator=generator, dtype=tensor.dtype) * std + mean
    while True:
        outside = (values < a) | (values > b)
        if not outside.any():
            return _fill(tensor, values)
        values = where(outside, randn(tensor.shape, generator=generator, dtype=tensor.dtype) * std + mean, values)


def constant_(tensor, val):
    """One value."""
    return _fill(tensor, val)


def zeros_(tensor):
    """Zeros."""
    return _fill(tensor, 0)


def ones_(tensor):
    """Ones."""
    return _fill(tensor, 1)


def eye_(tensor):
    """The identity matrix. Raises ValueError unless there are two axes."""
    if tensor.ndim != 2:
        raise ValueError(f"eye_: shape {tensor.shape}: two axes expected")
    return _fill(tensor, eye(*tensor.shape))


def dirac_(tensor, groups=1):
    """A convolution's weight that keeps its input: 1 in the middle of the window from channel i of a group to channel i.

    Shape: (out, in / groups, ...). Raises ValueError unless there are 3 to 5 axes and the groups divide the first.
    """
    if tensor.ndim not in (3, 4, 5) or tensor.shape[0] % groups:
        raise ValueError(f"dirac_: shape {tensor.shape}, groups={groups}: 3 to 5 axes and a first one that the groups divide "
                         "expected")
    out, size, *window = tensor.shape
    values = np.zeros((groups, out // groups, size, *window), tensor.dtype)
    kept = np.arange(min(out // groups, size))
    values[:, kept, kept, *(n // 2 for n in window)] = 1
    return _fill(tensor, wrap(values.reshape(tensor.shape)))


def sparse_(tensor, sparsity, std=0.01, generator=None):
    """A matrix drawn from a normal distribution, this share of each column zeros (Martens, 2010), rounded up.

    Raises ValueError unless there are two axes.
    """
    if tensor.ndim != 2:
        raise ValueError(f"sparse_: shape {tensor.shape}: two axes expected")
    values = randn(tensor.shape, generator=generator, dtype=tensor.dtype) * std
    order = argsort(rand(tensor.shape, generator=generator), axis=0)
    return _fill(tensor, where(order < math.ceil(sparsity * tensor.shape[0]), 0.0, values))


def orthogonal_(tensor, gain=1.0, generator=None):
    """Orthonormal rows, or columns where there are more rows, times gain (Saxe et al., 2013); later axes count as one.

    Raises ValueError below two axes.
    """
    if tensor.ndim < 2:
        raise ValueError(f"orthogonal_: shape {tensor.shape}: two axes or more expected")
    rows = tensor.shape[0]
    drawn = randn((rows, math.prod(tensor.shape[1:])), generator=generator, dtype="float64").array
    q, r = np.linalg.qr(drawn if rows >= drawn.shape[1] else drawn.T)
    q = q * np.sign(np.diagonal(r))  # makes the distribution uniform (Mezzadri, 2006)
    q = q if rows >= drawn.shape[1] else q.T
    return _fill(tensor, wrap((gain * q).reshape(tensor.shape).astype(tensor.dtype)))


def calculate_gain(nonlinearity, param=None):
    """The factor that keeps the variance through a nonlinearity, as in PyTorch. Raises ValueError for an unknown one."""
    gains = {"linear": 1.0, "conv1d": 1.0, "conv2d": 1.0, "conv3d": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": 2**0.5,
             "selu": 0.75}
    if nonlinearity == "leaky_relu":
        if not (param is None or (isinstance(param, Real) and not isinstance(param, bool))):
            raise ValueError(f"calculate_gain: param={param!r}: a number, the slope below 0, expected")
        return (2 / (1 + (0.01 if param is None else param) ** 2)) ** 0.5
    if nonlinearity not in gains:
        raise ValueError(f"calculate_gain: nonlinearity={nonlinearity!r}: one of {', '.join(gains)}, leaky_relu expected")
    return gains[nonlinearity]


def fans(tensor):
    """(values that go into an output, outputs that a value goes to) of a weight (out, in, ...)."""
    if tensor.ndim < 2:
        raise ValueError(f"init: a weight of shape {tensor.shape}: (out, in, ...) expected")
    window = math.prod(tensor.shape[2:])
    return tensor.shape[1] * window, tensor.shape[0] * window


def xavier_uniform_(tensor, gain=1.0, generator=None):
    """Drawn from [-b, b), b = gain sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010). Keras: glorot_uniform."""
    bound = gain * (6 / sum(fans(tensor))) ** 0.5
    return uniform_(tensor, -bound, bound, generator)


glorot_uniform_ = xavier_uniform_


def xavier_normal_(tensor, gain=1.0, generator=None):
    """Normal with standard deviation gain sqrt(2 / (fan_in + fan_out)) (Glorot and Bengio, 2010)."""
    return normal_(tensor, 0.0, gain * (2 / sum(fans(tensor))) ** 0.5, generator)


def _kaiming_std(tensor, a, mode, nonlinearity):
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"kaiming: mode={mode!r}: 'fan_in' or 'fan_out' expected")
    return calculate_gain(nonlinearity, a) / max(fans(tensor)[mode == "fan_out"], 1) ** 0.5


def kaiming_uniform_(tensor, a=0, mode="fan_in", nonlinearity="leaky_relu", generator=None):
    """Drawn from [-b, b), b = gain sqrt(3 / fan) (He et al., 2015). a: the slope of a leaky ReLU below 0."""
    bound = 3**0.5 * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(tensor, a=0, mode="fan_in", nonlinearity="leaky_relu", generator=None):
    """Normal with standard deviation gain / sqrt(fan) (He et al., 2015). a: the slope of a leaky ReLU below 0."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def default_(weight, bias):
    """PyTorch's initial values of linear and convolutional layers: both drawn from [-b, b), b = 1 / sqrt(fan_in)."""
    kaiming_uniform_(weight, a=5**0.5)
    if bias is not None:
        bound = 1 / fans(weight)[0] ** 0.5 if weight.size else 0.0
        uniform_(bias, -bound, bound)
