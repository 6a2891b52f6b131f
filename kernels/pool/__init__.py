"""Maximum and average pooling of images, and their derivatives."""
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .._cases import case, channels_last, integers, normal
from .._dispatch import kernel
from ..matmul import RELU_ONLY as ACTIVATIONS


class MaxPoolParams(NamedTuple):
    kh: int
    kw: int
    sh: int
    sw: int
    ph: int
    pw: int
    dh: int
    dw: int
    activation: int = 0


class AvgPoolParams(NamedTuple):
    kh: int
    kw: int
    sh: int
    sw: int
    ph: int
    pw: int
    include_pad: int
    divisor: float  # of the sums, instead of what a window counts; 0 for none


def mean_params(op, p, count_include_pad, divisor_override):
    if divisor_override == 0:
        raise ValueError(f"{op}: divisor_override=0: another number, or None, expected")
    return AvgPoolParams(*p[:6], int(count_include_pad), float(divisor_override or 0))


def pair(op, name, value, least):
    """(vertical, horizontal) of an int or a pair of them, or a tuple of one, each at least `least`."""
    both = (value, value) if isinstance(value, (int, np.integer)) else tuple(value)
    both = both * 2 if len(both) == 1 else both
    if len(both) != 2 or not all(isinstance(v, (int, np.integer)) and v >= least for v in both):
        raise ValueError(f"{op}: {name}={value!r}: an integer of at least {least}, or two of them, expected")
    return both


@lru_cache(4096)  # a model asks for the same few again and again
def windows(op, shape, kernel_size, stride, padding, dilation, ceil_mode, activation=None):
    """The windows' parameters and the (N, C, OH, OW) of their results for images of `shape`."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"{op}: activation={activation!r}: one of {', '.join(map(repr, ACTIVATIONS))} expected")
    if len(shape) != 4:
        raise ValueError(f"{op}: input of shape {tuple(shape)}: (N, C, H, W) expected")
    k = pair(op, "kernel_size", kernel_size, 1)
    s = k if stride is None or stride == () else pair(op, "stride", stride, 1)
    p = pair(op, "padding", padding, 0)
    d = pair(op, "dilation", dilation, 1)
    if p[0] > k[0] // 2 or p[1] > k[1] // 2:
        raise ValueError(f"{op}: padding={padding!r}: at most half of kernel_size={kernel_size!r} expected")
    out = []
    for axis in (0, 1):
        size, pad, step = shape[2 + axis], p[axis], s[axis]
        room = size + 2 * pad - d[axis] * (k[axis] - 1) - 1
        count = (room + (step - 1 if ceil_mode else 0)) // step + 1
        if ceil_mode and (count - 1) * step >= size + pad:  # the last must start in the image or the padding before it
            count -= 1
        if count < 1 or size < 1:
            raise ValueError(f"{op}: kernel_size={kernel_size!r} on an image of {shape[2]}x{shape[3]} with "
                             f"padding={padding!r}, dilation={dilation!r}: a window that fits expected")
        out.append(count)
    return MaxPoolParams(*k, *s, *p, *d, ACTIVATIONS[activation]), (shape[0], shape[1], *out)


def whole(*values):
    """Lists as tuples: what the cache of windows can look up."""
    return [tuple(v) if type(v) is list else v for v in values]


@lru_cache(256)
def index_dtype(kh, kw):
    """The smallest integer that holds every tap of a window; its largest value stands for none."""
    return np.dtype(np.uint8 if kh * kw <= 255 else np.int16 if kh * kw <= 32767 else np.int32)


@kernel
def max_pool2d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, activation=None):
    """The largest value of each window, and which of its taps that is.

    x: (N, C, H, W). kernel_size, stride (None: kernel_size), padding (at most half a window) and dilation are ints or
    (vertical, horizontal). ceil_mode: a last window may hang over the edge.
    activation: None, or 'relu' of the maximum, which is the maximum of the relus; where it is 0 the index names no tap,
    so that the derivative needs no mask.
    Returns y (N, C, OH, OW) and the index ky * kw + kx of the tap, an unsigned byte for windows of up to 255 taps.
    The first of equal values wins; a NaN is larger than any number, and the last of several wins, as in PyTorch.
    Raises ValueError where no window fits.
    """
    p, shape = windows("max_pool2d", x.shape, *whole(kernel_size, stride, padding, dilation), ceil_mode, activation)
    outs = [(shape, x.dtype, "channels_last"), (shape, index_dtype(p.kh, p.kw), "channels_last")]
    return outs, (x,), p


@kernel
def max_pool2d_backward(g, index, input_shape, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """The derivative of `max_pool2d` with respect to x: each g goes to the tap that was the largest.

    g, index: (N, C, OH, OW); input_shape: (N, C, H, W), the shape of the result; the rest as in `max_pool2d`.
    """
    p, shape = windows("max_pool2d_backward", tuple(input_shape), *whole(kernel_size, stride, padding, dilation), ceil_mode)
    if g.shape != shape or index.shape != shape:
        raise ValueError(f"max_pool2d_backward: g {g.shape} and index {index.shape}: {shape} expected of both")
    if index.dtype != index_dtype(p[0], p[1]):
        raise ValueError(f"max_pool2d_backward: index of {index.dtype}: {index_dtype(p[0], p[1])} expected")
    return [(tuple(input_shape), g.dtype, "channels_last")], (g, index), p


@kernel(tolerance=2e-6)  # sums over whole images
def avg_pool2d(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
    """The mean of each window.

    x: (N, C, H, W); the windows as in `max_pool2d`. count_include_pad: padding counts as zeros of the window; what
    hangs over the padding in ceil_mode never counts. divisor_override: a number to divide the sums by instead.
    Returns (N, C, OH, OW). Raises ValueError where no window fits.
    """
    p, shape = windows("avg_pool2d", x.shape, *whole(kernel_size, stride, padding), 1, ceil_mode)
    return [(shape, x.dtype, "channels_last")], (x,), mean_params("avg_pool2d", p, count_include_pad, divisor_override)


@kernel
def avg_pool2d_backward(g, input_shape, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True,
                        divisor_override=None):
    """The derivative of `avg_pool2d` with respect to x: each g is spread evenly over its window.

    g: (N, C, OH, OW); input_shape: (N, C, H, W), the shape of the result; the rest as in `avg_pool2d`.
    """
    p, shape = windows("avg_pool2d_backward", tuple(input_shape), *whole(kernel_size, stride, padding), 1, ceil_mode)
    if g.shape != shape:
        raise ValueError(f"avg_pool2d_backward: g {g.shape}: {shape} expected")
    p = mean_params("avg_pool2d_backward", p, count_include_pad, divisor_override)
    return [(tuple(input_shape), g.dtype, "channels_last")], (g,), p


@max_pool2d.cost
@avg_pool2d.cost
def window_flops(outs, ins, p):
    return outs[0].size * p.kh * p.kw


@max_pool2d_backward.cost
@avg_pool2d_backward.cost
def spread_flops(outs, ins, p):
    return ins[0].size * p.kh * p.kw


def shared_cases():
    """(label, x, window arguments, bench) of all four kernels."""
    def image(n, c, h, w):
        return channels_last(normal(n, c, h, w))

    yield "2x2", image(2, 33, 6, 8), {"kernel_size": 2}, False
    yield "2x2 odd size", image(3, 16, 11, 11), {"kernel_size": 2}, False
    yield "2x2 C order", normal(2, 5, 7, 6), {"kernel_size": 2}, False
    yield "2x2 cut out", image(2, 40, 9, 9)[:, 3:37, 1:8, 2:9], {"kernel_size": 2}, False
    yield "3x3 stride 2 padding 1", image(2, 20, 13, 12), {"kernel_size": 3, "stride": 2, "padding": 1}, False
    yield "3x3 stride 1 padding 1", image(2, 64, 7, 7), {"kernel_size": 3, "stride": 1, "padding": 1}, False
    yield "3x2 stride (1, 3)", image(1, 17, 9, 8), {"kernel_size": (3, 2), "stride": (1, 3), "padding": (1, 0)}, False
    yield "2x2 stride 3", image(2, 18, 10, 11), {"kernel_size": 2, "stride": 3}, False
    yield "ceil", image(2, 9, 7, 8), {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}, False
    yield "ceil, window beyond", image(2, 9, 5, 6), {"kernel_size": 2, "stride": 3, "ceil_mode": True}, False
    yield "whole image", image(3, 48, 7, 7), {"kernel_size": 7}, False
    yield "more than 255 taps", image(2, 16, 19, 17), {"kernel_size": (19, 17)}, False
    yield "one pixel", normal(1, 1, 1, 1), {"kernel_size": 1}, False
    yield "no images", normal(0, 3, 4, 4), {"kernel_size": 2}, False
    yield "float64", normal(2, 3, 6, 6, dtype="float64"), {"kernel_size": 2, "padding": 1}, False
    yield "2x2 128x32x26x26", image(128, 32, 26, 26), {"kernel_size": 2}, True
    yield "2x2 128x64x11x11", image(128, 64, 11, 11), {"kernel_size": 2}, True
    yield "3x3 2x64x112x112", image(2, 64, 112, 112), {"kernel_size": 3, "stride": 2, "padding": 1}, True


def dilated_cases():
    for label, x, window, bench in shared_cases():
        yield label, x, window, bench
    x = channels_last(normal(2, 18, 12, 11))
    yield "dilation 2", x, {"kernel_size": 3, "stride": 1, "padding": 1, "dilation": 2}, False
    yield "dilation (3, 1) stride 5", x, {"kernel_size": 2, "stride": 5, "dilation": (3, 1)}, False
    yield "window outside", channels_last(normal(1, 17, 4, 4)), {"kernel_size": 2, "stride": 1, "padding": 1,
                                                                 "dilation": 5}, False


@max_pool2d.examples
def max_pool2d_cases():
    for label, x, window, bench in dilated_cases():
        yield case(label, x, **window, bench=bench)
    ties = integers(3, 2, 37, 8, 8).astype("float32")
    yield case("ties", channels_last(ties), 2)
    special = channels_last(np.where(ties == 1, np.float32("nan"), np.where(ties == 2, np.float32("-inf"), ties)))
    yield case("NaN and infinity", special, 2)
    yield case("NaN and infinity, 3x3", special, 3, 2, 1)
    yield case("relu", channels_last(normal(2, 21, 8, 8)) - 1, 2, activation="relu")
    yield case("relu, NaN", special, 2, activation="relu")
    yield case("relu, 255 taps", channels_last(normal(1, 3, 15, 17)) - 3, (15, 17), activation="relu")
    yield case("relu, 256 taps", channels_last(normal(1, 3, 16, 16)) - 3, 16, activation="relu")
    yield case("integers", integers(9, 2, 3, 6, 6), 2, padding=1)


@max_pool2d_backward.examples
def max_pool2d_backward_cases():
    for label, x, window, bench in dilated_cases():
        y, index = max_pool2d(x, **window, activation="relu" if bench else None, backend="reference")
        yield case(label, channels_last(normal(*y.shape, dtype=y.dtype)), index, x.shape, **window, bench=bench)


@avg_pool2d.examples
def avg_pool2d_cases():
    for label, x, window, bench in shared_cases():
        yield case(label, x, **window, bench=bench)
        if "padding" in window:
            yield case(f"{label}, padding not counted", x, **window, count_include_pad=False, bench=bench)
    yield case("divisor", channels_last(normal(2, 19, 7, 6)), 3, 2, 1, divisor_override=4)
    yield case("global 128x512x7x7", channels_last(normal(128, 512, 7, 7)), 7, bench=True)


@avg_pool2d_backward.examples
def avg_pool2d_backward_cases():
    for c in avg_pool2d_cases():
        x = c.args[0]
        shape = avg_pool2d.spec(*c.args, **c.kwargs)[0][0][0]
        g = channels_last(normal(*shape, dtype=x.dtype))
        yield case(c.label, g, x.shape, *c.args[1:], **c.kwargs, bench=c.bench)
