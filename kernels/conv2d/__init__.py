"""Two-dimensional convolution (cross-correlation, as in deep learning), its gradients by data and by weights.

Letters: N images, C channels in, O channels out, G groups, H x W input, kh x kw window, oh x ow output, s stride,
p padding, d dilation. With c = g C/G + i and o = g O/G + j for group g:

    y[n, o, u, v] = act(bias[o] + sum over i, a, b of w[o, i, a, b] x[n, c, u s + a d - p, v s + b d - p])

Images are seen as (N, C, H, W) and lie in memory as N, H, W, C; weights are seen as (O, C/G, kh, kw) and lie in memory as
kh, kw, C/G, O. Other layouts are right too, at the price of a copy.
"""
from functools import lru_cache
from operator import index
from typing import NamedTuple

import numpy as np

from .._cases import case, channels_last, integers, normal
from .._dispatch import kernel
from ..matmul import RELU_ONLY
from ..pool import index_dtype, windows

ACTIVATIONS = {**RELU_ONLY, "relu6": 6}


class ConvParams(NamedTuple):
    stride_h: int
    stride_w: int
    pad_h: int
    pad_w: int
    dilation_h: int
    dilation_w: int
    groups: int
    activation: int


class ConvPoolParams(NamedTuple):
    """ConvParams, and the pooling windows with their strides."""
    stride_h: int
    stride_w: int
    pad_h: int
    pad_w: int
    dilation_h: int
    dilation_w: int
    groups: int
    activation: int
    pool_h: int
    pool_w: int
    pool_stride_h: int
    pool_stride_w: int


def whole(*values):
    """Lists as tuples: what the cache of geometry can look up."""
    return [tuple(v) if type(v) is list else v for v in values]


def pair(name, value, least):
    """(h, w) from an int or a pair."""
    try:
        h, w = (value, value) if isinstance(value, (int, np.integer)) else value
        h, w = index(h), index(w)
    except (TypeError, ValueError):
        raise ValueError(f"conv2d: {name}={value!r}: an integer or a pair of them expected") from None
    if h < least or w < least:
        raise ValueError(f"conv2d: {name}={value!r}: at least {least} expected")
    return h, w


@lru_cache(4096)  # a model asks for the same few again and again
def geometry(x_shape, w_shape, stride, padding, dilation, groups, activation=None):
    """The parameters and the output's shape. Raises ValueError where shapes do not fit."""
    if len(x_shape) != 4 or len(w_shape) != 4:
        raise ValueError(f"conv2d: input {x_shape}, weight {w_shape}: (N, C, H, W) and (O, C/groups, kh, kw) expected")
    if 0 in w_shape[2:]:
        raise ValueError(f"conv2d: weight {w_shape}: a window of at least 1x1 expected")
    if not isinstance(groups, (int, np.integer)) or groups < 1 or w_shape[0] % groups:
        raise ValueError(f"conv2d: groups={groups!r}: a divisor of the {w_shape[0]} output channels expected")
    if x_shape[1] != w_shape[1] * groups:
        hint = ""
        if x_shape[3] == w_shape[1] * groups:
            hint = ": is the input channels-last? Images are (N, C, H, W) here: x.transpose(0, 3, 1, 2)"
        raise ValueError(f"conv2d: input {x_shape} has {x_shape[1]} channels, weight {w_shape} with groups={groups} expects "
                         f"{w_shape[1] * groups}{hint}")
    if activation not in ACTIVATIONS:
        raise ValueError(f"conv2d: activation={activation!r}: one of {', '.join(map(repr, ACTIVATIONS))} expected")
    p = ConvParams(*pair("stride", stride, 1), *pair("padding", padding, 0), *pair("dilation", dilation, 1), groups,
                   ACTIVATIONS[activation])
    oh = (x_shape[2] + 2 * p.pad_h - p.dilation_h * (w_shape[2] - 1) - 1) // p.stride_h + 1
    ow = (x_shape[3] + 2 * p.pad_w - p.dilation_w * (w_shape[3] - 1) - 1) // p.stride_w + 1
    if oh < 1 or ow < 1:
        raise ValueError(f"conv2d: input {x_shape[2:]} with padding {(p.pad_h, p.pad_w)} is smaller than the window "
                         f"{tuple(w_shape[2:])} with dilation {(p.dilation_h, p.dilation_w)}")
    return p, (x_shape[0], w_shape[0], oh, ow)


def promoted(a, b):
    return a.dtype if a.dtype == b.dtype else np.result_type(a, b)


@kernel(tolerance=5e-6)  # sums of up to some thousand products in float32, and of the transforms in winograd.h
def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, activation=None, residual=None):
    """activation(x * weight + bias + residual): x (N, C, H, W), weight (O, C/groups, kh, kw) -> (N, O, oh, ow).

    bias: (O,) or None. residual: of the result's shape, or None. stride, padding, dilation: an integer or a pair (vertical,
    horizontal). activation: None, 'relu' or 'relu6', which is no more than 6 of the relu.
    """
    p, shape = geometry(x.shape, weight.shape, *whole(stride, padding, dilation), groups, activation)
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"conv2d: bias {bias.shape}: {weight.shape[:1]} expected")
    if residual is not None and residual.shape != shape:
        raise ValueError(f"conv2d: residual {residual.shape}: the result's shape {shape} expected")
    return [(shape, promoted(x, weight), "channels_last")], (x, weight, bias, residual), p


@kernel(tolerance=5e-6)
def conv2d_max_pool2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, kernel_size=2, pool_stride=None,
                      activation="relu"):
    """max_pool2d of activation(x * weight + bias), and the taps of the maxima, without the unpooled result in memory.

    kernel_size, pool_stride (None: kernel_size): of the pooling, an integer or a pair; the rest as in conv2d and max_pool2d.
    """
    p, shape = geometry(x.shape, weight.shape, *whole(stride, padding, dilation), groups, activation)
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"conv2d_max_pool2d: bias {bias.shape}: {weight.shape[:1]} expected")
    pool, shape = windows("conv2d_max_pool2d", shape, *whole(kernel_size, pool_stride), 0, 1, False, activation)
    outs = [(shape, promoted(x, weight), "channels_last"), (shape, index_dtype(pool.kh, pool.kw), "channels_last")]
    return outs, (x, weight, bias), ConvPoolParams(*p, pool.kh, pool.kw, pool.sh, pool.sw)


def check_gradient(name, g, taps, shape):
    if taps is not None:
        shape = (*shape[:2], shape[2] // 2, shape[3] // 2)
        if taps.shape != g.shape or taps.dtype != np.uint8:
            raise ValueError(f"{name}: taps of {taps.dtype}{taps.shape}: uint8 and the gradient's shape {g.shape} expected")
    if g.shape != shape:
        raise ValueError(f"{name}: gradient {g.shape}: the output's shape {shape} expected")


@kernel(tolerance=5e-6)
def conv2d_backward_data(g, weight, input_shape, stride=1, padding=0, dilation=1, groups=1, taps=None):
    """dx from dy = g (N, O, oh, ow): every output pixel adds g w to the input pixels it was made from.

    taps: None, or what conv2d_max_pool2d says of 2x2 windows; g is then the gradient of the maxima, (N, O, oh/2, ow/2).
    """
    p, shape = geometry(tuple(input_shape), weight.shape, *whole(stride, padding, dilation), groups)
    check_gradient("conv2d_backward_data", g, taps, shape)
    return [(tuple(input_shape), promoted(g, weight), "channels_last")], (g, weight, taps), p


@kernel(tolerance=5e-6)  # sums over all pixels of a batch in float32
def conv2d_backward_weight(g, x, weight_shape, stride=1, padding=0, dilation=1, groups=1, taps=None):
    """dw and db from dy = g (N, O, oh, ow) and x: the sums over output pixels of x g, and of g. taps: as by data.

    dw has weight_shape = (O, C/groups, kh, kw), in memory in the order kh, kw, C/groups, O; db has (O,).
    """
    p, shape = geometry(x.shape, tuple(weight_shape), *whole(stride, padding, dilation), groups)
    check_gradient("conv2d_backward_weight", g, taps, shape)
    dtype = promoted(g, x)
    return [(tuple(weight_shape), dtype, "window_first"), (tuple(weight_shape[:1]), dtype)], (g, x, taps), p


@conv2d.cost
def conv2d_flops(outs, ins, p):
    return 2 * outs[0].size * ins[1][0].size


@conv2d_max_pool2d.cost
def conv2d_max_pool2d_flops(outs, ins, p):
    return 2 * outs[0].size * p.pool_stride_h * p.pool_stride_w * ins[1][0].size


@conv2d_backward_data.cost
def conv2d_backward_data_flops(outs, ins, p):
    return 2 * ins[0].size * ins[1][0].size * (1 if ins[2] is None else 4)


@conv2d_backward_weight.cost
def conv2d_backward_weight_flops(outs, ins, p):
    return 2 * ins[0].size * outs[0][0].size * (1 if ins[2] is None else 4)


def settings():
    """(label, N, C, H, W, O, kh, kw, keyword arguments, of a real network)"""
    yield "1x1 image", 1, 1, 1, 1, 1, 1, 1, {}, False
    yield "3x3", 2, 3, 8, 9, 5, 3, 3, {}, False
    yield "3x3 padded", 2, 5, 7, 6, 17, 3, 3, {"padding": 1}, False
    yield "even window", 1, 4, 9, 9, 33, 2, 4, {"padding": (1, 2)}, False
    yield "stride 2", 3, 6, 11, 10, 7, 3, 3, {"stride": 2, "padding": 1}, False
    yield "stride > window", 2, 3, 11, 10, 16, 2, 2, {"stride": 3}, False
    yield "stride 2, 3", 2, 16, 12, 13, 32, 5, 3, {"stride": (2, 3), "padding": (2, 0)}, False
    yield "dilated", 2, 3, 12, 14, 9, 3, 3, {"dilation": (2, 3), "padding": 2}, False
    yield "groups", 2, 6, 7, 7, 9, 3, 3, {"groups": 3}, False
    yield "depthwise", 2, 20, 9, 9, 20, 3, 3, {"groups": 20, "padding": 1}, False
    yield "depthwise, stride 2", 2, 37, 9, 8, 37, 3, 3, {"groups": 37, "padding": 1, "stride": 2}, False
    yield "depthwise, even image", 1, 48, 10, 12, 48, 3, 3, {"groups": 48, "padding": (1, 0)}, False
    yield "depthwise, 5x5", 2, 21, 7, 6, 21, 5, 5, {"groups": 21, "padding": 2}, False
    yield "depthwise, 5x5, stride 2", 1, 33, 11, 12, 33, 5, 5, {"groups": 33, "padding": 2, "stride": 2}, False
    yield "depthwise, 7x7", 2, 34, 9, 8, 34, 7, 7, {"groups": 34, "padding": 3}, False
    yield "depthwise, 7x7, stride 3", 1, 17, 20, 20, 17, 7, 7, {"groups": 17, "padding": 4, "stride": 3}, False
    yield "depthwise, padded more", 1, 16, 4, 5, 16, 3, 3, {"groups": 16, "padding": (2, 3)}, False
    yield "depthwise, dilated", 1, 24, 9, 9, 24, 3, 3, {"groups": 24, "padding": 2, "dilation": 2}, False
    yield "depthwise, 2x4", 2, 70, 6, 7, 70, 2, 4, {"groups": 70, "padding": (0, 1), "stride": (1, 2)}, False
    yield "depthwise, one pixel", 3, 32, 1, 1, 32, 3, 3, {"groups": 32, "padding": 1}, False
    yield "depthwise, 2 each", 1, 6, 9, 9, 12, 3, 3, {"groups": 6, "stride": 2}, False
    yield "groups of 32", 1, 64, 6, 6, 64, 3, 3, {"groups": 2, "padding": 1}, False
    yield "groups of 2", 2, 32, 9, 7, 32, 3, 3, {"padding": (2, 1), "groups": 16}, False
    yield "groups of 4", 3, 48, 11, 12, 48, 3, 2, {"padding": 1, "dilation": (1, 2), "groups": 12}, False
    yield "groups of 8, stride 2", 2, 32, 13, 21, 32, 5, 5, {"padding": 2, "stride": 2, "groups": 4}, False
    yield "1x1", 2, 35, 6, 5, 70, 1, 1, {}, False
    yield "no images", 0, 3, 8, 8, 4, 3, 3, {}, False
    yield "window = image", 4, 7, 5, 5, 21, 5, 5, {}, False
    yield "winograd, odd", 2, 32, 9, 8, 48, 3, 3, {"padding": 1}, False
    yield "winograd, wide", 2, 144, 11, 10, 160, 3, 3, {"padding": (0, 2)}, False
    yield "tiles, odd", 3, 80, 17, 14, 70, 3, 3, {"padding": (2, 0)}, False
    yield "tiles, images abreast", 18, 64, 6, 7, 100, 3, 3, {"padding": 1}, False
    yield "tiles, stride 2, 3", 3, 65, 23, 25, 112, 5, 4, {"stride": (2, 3), "padding": (2, 3)}, False
    yield "tiles, stride > window", 2, 128, 30, 31, 96, 2, 2, {"stride": 3}, False
    yield "tiles, dilated, groups", 2, 160, 20, 19, 128, 3, 3, {"dilation": (2, 3), "padding": 3, "groups": 2}, False
    yield "1x1, many channels", 3, 260, 6, 5, 144, 1, 1, {}, False
    yield "few pixels, odd", 2, 324, 3, 4, 288, 3, 4, {"stride": (2, 1), "padding": 2, "dilation": (1, 2)}, False
    yield "few pixels, one each", 5, 308, 3, 3, 400, 3, 3, {}, False
    yield "tiles, 1x1, padded", 2, 200, 15, 15, 130, 1, 1, {"padding": 1}, False
    for batch in 1, 32, 128:  # the README's network
        yield f"CNN layer 1, batch {batch}", batch, 1, 28, 28, 32, 3, 3, {}, True
        yield f"CNN layer 2, batch {batch}", batch, 32, 13, 13, 64, 3, 3, {}, True
        yield f"CNN layer 3, batch {batch}", batch, 64, 5, 5, 64, 3, 3, {}, True
    yield "LeNet 1->6, 28x28", 32, 1, 28, 28, 6, 5, 5, {"padding": 2}, True
    yield "LeNet 6->16, 14x14", 32, 6, 14, 14, 16, 5, 5, {}, True
    yield "ResNet 7x7 stride 2", 1, 3, 224, 224, 64, 7, 7, {"stride": 2, "padding": 3}, True
    for c, size, batch in (64, 56, 1), (128, 28, 1), (256, 14, 1), (512, 7, 1), (512, 4, 1), (64, 32, 2), (256, 8, 4):
        yield f"ResNet {c}, {size}x{size}", batch, c, size, size, c, 3, 3, {"padding": 1}, True
    for c, size in (64, 56), (128, 28), (256, 14):
        yield f"ResNet {c}->{2 * c}, stride 2", 1, c, size, size, 2 * c, 3, 3, {"stride": 2, "padding": 1}, True
    yield "ResNet 1x1 stride 2", 2, 128, 28, 28, 256, 1, 1, {"stride": 2}, True
    for c, o, size in (64, 256, 56), (256, 64, 56), (512, 128, 28), (1024, 256, 14):
        yield f"1x1 {c}->{o}, {size}x{size}", 1, c, size, size, o, 1, 1, {}, True
    yield "ResNeXt 32 groups", 1, 128, 28, 28, 128, 3, 3, {"padding": 1, "groups": 32}, True
    yield "dilated 3x3", 1, 64, 28, 28, 64, 3, 3, {"padding": 2, "dilation": 2}, True
    for c, size, stride, window in ((32, 112, 1, 3), (96, 112, 2, 3), (144, 56, 1, 3), (192, 28, 1, 3), (384, 14, 1, 3),
                                    (576, 14, 1, 3), (960, 7, 1, 3), (240, 28, 1, 5)):  # MobileNets
        how = {"groups": c, "padding": window // 2, "stride": stride}
        yield f"depthwise {c}, {size}x{size}, {window}x{window}/{stride}", 1, c, size, size, c, window, window, how, True
    yield "MobileNet 3->32", 1, 3, 224, 224, 32, 3, 3, {"stride": 2, "padding": 1}, True


def arrays(n, c, h, w, o, kh, kw, groups=1, dtype="float32"):
    x = channels_last(normal(n, c, h, w, dtype=dtype))
    weight = normal(kh, kw, c // groups, o, dtype=dtype, seed=1).transpose(3, 2, 0, 1)
    return x, weight


def extremes(*arrays):
    """(label, arrays) with numbers whose parts matrix tiles could not hold. They are for strides: Winograd takes none."""
    for name, value in [("infinite", np.inf), ("NaN", np.nan), ("largest", 3.4e38)]:
        changed = arrays[0].copy(order="K")
        changed[1, 3, 5, 2] = value
        yield name, (changed, *(a * np.float32(0.01) for a in arrays[1:]))
    for scale in (1e-20, 1e-36):
        yield f"factors of {scale}", (arrays[0] * np.float32(scale), *(a * np.float32(1e4) for a in arrays[1:]))


@conv2d.examples
def conv2d_cases():
    for label, n, c, h, w, o, kh, kw, how, real in settings():
        x, weight = arrays(n, c, h, w, o, kh, kw, how.get("groups", 1))
        yield case(label, x, weight, normal(o), activation="relu" if real else None, bench=real, **how)
    x, weight = arrays(2, 5, 8, 7, 6, 3, 3)
    yield case("no bias, relu", x, weight, activation="relu")
    yield case("residual", x, weight, normal(6), residual=channels_last(normal(2, 6, 6, 5)))
    yield case("residual, C order, relu", x, weight, residual=normal(2, 6, 6, 5), activation="relu")
    x, weight = arrays(4, 32, 17, 15, 48, 3, 3)
    yield case("winograd, residual, relu", x, weight, normal(48), residual=channels_last(normal(4, 48, 15, 13)),
               activation="relu")
    x, weight = arrays(3, 96, 14, 15, 80, 3, 3)
    for name, (some, other) in extremes(x, weight):
        yield case(f"tiles, {name}", some, other, stride=2)
    yield case("tiles, relu6", x, weight * np.float32(0.2), activation="relu6", stride=2)
    few = arrays(1, 420, 4, 5, 304, 3, 3)
    yield case("few pixels, residual, relu6", few[0], 0.1 * few[1], residual=channels_last(normal(1, 304, 4, 5)),
               activation="relu6", padding=1)
    yield case("tiles, residual, relu", x, weight, normal(80), residual=channels_last(normal(3, 80, 6, 7)), activation="relu",
               stride=2)
    x, weight = arrays(2, 5, 8, 7, 6, 3, 3)
    for label, n, c, h, w, o, side, how in [
            ("tiles", 2, 5, 9, 8, 37, 3, {}), ("grey", 3, 1, 11, 12, 20, 3, {"padding": 1}), ("1x1", 2, 48, 7, 7, 32, 1, {}),
            ("winograd", 4, 32, 17, 15, 48, 3, {}), ("wide", 2, 144, 14, 14, 160, 3, {"padding": 1}),
            ("depthwise", 2, 48, 14, 14, 48, 3, {"groups": 48, "padding": 1})]:
        x, weight = arrays(n, c, h, w, o, side, side, how.get("groups", 1))
        weight *= 2 / weight[0].size ** 0.5
        yield case(f"relu6, {label}", x, weight, 4 * normal(o), activation="relu6", **how)
    yield case("relu6, residual", x, weight, residual=channels_last(5 * normal(2, 48, 12, 12)), activation="relu6", groups=48)
    x, weight = arrays(2, 5, 8, 7, 6, 3, 3)
    yield case("C order", np.ascontiguousarray(x), np.ascontiguousarray(weight), normal(6), padding=1)
    yield case("every second", normal(2, 5, 16, 14)[:, :, ::2, ::2], weight, normal(12)[::2])
    yield case("float64", *arrays(2, 3, 6, 6, 4, 3, 3, dtype="float64"), padding=1)


@conv2d_max_pool2d.examples
def conv2d_max_pool2d_cases():
    for label, n, c, h, w, o, how in [
            ("2x2", 2, 3, 9, 10, 5, {}), ("padded", 3, 5, 7, 6, 17, {"padding": 1}), ("wide", 1, 4, 9, 9, 133, {"stride": 2}),
            ("groups", 2, 6, 9, 9, 12, {"groups": 2}), ("winograd", 4, 32, 12, 15, 48, {"padding": 1}),
            ("3x3 windows", 2, 3, 12, 12, 7, {"kernel_size": 3}), ("no activation", 2, 3, 8, 8, 20, {"activation": None}),
            ("overlapping", 2, 4, 9, 9, 16, {"kernel_size": (3, 2), "pool_stride": (2, 1)}), ("no images", 0, 3, 8, 8, 4, {})]:
        x, weight = arrays(n, c, h, w, o, 3, 3, how.get("groups", 1))
        yield case(label, x, weight, normal(o), **how)
    yield case("float64", *arrays(2, 3, 6, 6, 4, 3, 3, dtype="float64"), padding=1)
    yield case("NaN", np.full((1, 2, 6, 6), np.nan, "float32"), normal(4, 2, 3, 3))
    for batch in 1, 32:  # the README's network
        yield case(f"CNN layer 1, batch {batch}", *arrays(batch, 1, 28, 28, 32, 3, 3), normal(32), bench=True)
        yield case(f"CNN layer 2, batch {batch}", *arrays(batch, 32, 13, 13, 64, 3, 3), normal(64), bench=True)


def pooled_settings():
    """(label, x, weight, g, taps, keyword arguments, of a real network): gradients of maxima of 2x2 windows."""
    for label, n, c, h, w, o, how, real in [
            ("of maxima", 2, 3, 9, 10, 5, {}, False), ("of maxima, padded", 3, 5, 7, 6, 17, {"padding": 1}, False),
            ("of maxima, wide", 1, 4, 9, 9, 133, {"stride": 2}, False),
            ("of maxima, groups", 2, 6, 9, 9, 12, {"groups": 2}, False),
            ("of maxima, one channel", 3, 1, 11, 14, 33, {"padding": 1}, False),
            ("of maxima, winograd", 4, 32, 12, 15, 48, {"padding": 1}, False),
            ("of maxima, depthwise", 1, 16, 8, 8, 16, {"groups": 16}, False),
            ("of maxima, CNN layer 1", 32, 1, 28, 28, 32, {}, True), ("of maxima, CNN layer 2", 32, 32, 13, 13, 64, {}, True)]:
        x, weight = arrays(n, c, h, w, o, 3, 3, how.get("groups", 1))
        _, shape = geometry(x.shape, weight.shape, **{"stride": 1, "padding": 0, "dilation": 1, "groups": 1, **how})
        shape = (*shape[:2], shape[2] // 2, shape[3] // 2)
        taps = channels_last(integers(5, *shape)).astype("uint8")
        taps[taps == 4] = 255  # cut by the relu
        yield label, x, weight, channels_last(normal(*shape)), taps, how, real


@conv2d_backward_data.examples
def conv2d_backward_data_cases():
    for label, n, c, h, w, o, kh, kw, how, real in settings():
        x, weight = arrays(n, c, h, w, o, kh, kw, how.get("groups", 1))
        _, shape = geometry(x.shape, weight.shape, **{"stride": 1, "padding": 0, "dilation": 1, "groups": 1, **how})
        yield case(label, channels_last(normal(*shape)), weight, x.shape, bench=real, **how)
    for label, x, weight, g, taps, how, real in pooled_settings():
        yield case(label, g, weight, x.shape, taps=taps, bench=real, **how)
    x, weight = arrays(3, 96, 14, 15, 80, 3, 3)
    for name, (g, other) in extremes(channels_last(normal(3, 80, 6, 7)), weight):
        yield case(f"tiles, {name}", g, other, x.shape, stride=2)
    x, weight = arrays(2, 5, 8, 7, 6, 3, 3)
    yield case("C order", normal(2, 6, 8, 7), np.ascontiguousarray(weight), x.shape, padding=1)
    yield case("float64", normal(2, 6, 8, 7, dtype="float64"), weight.astype("float64"), x.shape, padding=1)


@conv2d_backward_weight.examples
def conv2d_backward_weight_cases():
    for label, n, c, h, w, o, kh, kw, how, real in settings():
        x, weight = arrays(n, c, h, w, o, kh, kw, how.get("groups", 1))
        _, shape = geometry(x.shape, weight.shape, **{"stride": 1, "padding": 0, "dilation": 1, "groups": 1, **how})
        yield case(label, channels_last(normal(*shape)), x, weight.shape, bench=real, **how)
    for label, x, weight, g, taps, how, real in pooled_settings():
        yield case(label, g, x, weight.shape, taps=taps, bench=real, **how)
    x, weight = arrays(3, 96, 14, 15, 80, 3, 3)
    for name, (g, other) in extremes(channels_last(normal(3, 80, 6, 7)), x):
        yield case(f"tiles, {name}", g, other, weight.shape, stride=2)
    x, weight = arrays(2, 5, 8, 7, 6, 3, 3)
    yield case("C order", normal(2, 6, 8, 7), np.ascontiguousarray(x), weight.shape, padding=1)
    yield case("float64", normal(2, 6, 8, 7, dtype="float64"), x.astype("float64"), weight.shape, padding=1)
