"""Convolution of sequences and volumes, and transposed convolution, all by the kernels of two-dimensional convolution.

A sequence is an image of height 1. A volume is an image for each depth of the result, with the depth taps side by side as
channels: `unfold_depth` lays them out, and its derivative `fold_depth` adds them up again. A transposed convolution is the
derivative of a convolution by its input, and its own derivatives are convolutions.

Weights lie in memory as kh, kw, kd, channels, O, so that seeing them in two dimensions costs nothing.
"""
import numpy as np

from ..autograd import op
from .conv import conv2d, conv2d_backward_data
from .linear import dtypes_differ, require_arrays
from .shape import expand_dims, pad, pad_constant, permute_dims, reshape, squeeze

BORDERS = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}  # padding_mode: pad's mode
AXES = {1: "L", 2: "H, W", 3: "D, H, W"}


def sizes(name, option, value, n, least):
    """A tuple of n whole numbers from one of them or n, each at least `least`. Raises ValueError for others."""
    found = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    found = found * n if len(found) == 1 else found
    if len(found) != n or not all(isinstance(v, (int, np.integer)) and v >= least for v in found):
        raise ValueError(f"{name}: {option}={value!r}: a whole number of at least {least}, or {n} of them, expected")
    return found


def resolve_padding(name, padding, kernel_size, stride, dilation):
    """(before, after) for each axis, from whole numbers, 'valid' or 'same'; the odd one of 'same' goes to the end.

    Raises ValueError for another text, and for 'same' with a stride above 1.
    """
    n = len(kernel_size)
    if not isinstance(padding, str):
        return tuple((p, p) for p in sizes(name, "padding", padding, n, 0))
    if padding not in ("valid", "same"):
        raise ValueError(f"{name}: padding={padding!r}: whole numbers, 'valid' or 'same' expected")
    if padding == "valid":
        return ((0, 0),) * n
    if any(s != 1 for s in stride):
        raise ValueError(f"{name}: padding='same' with stride={stride}: stride 1 expected")
    totals = [d * (k - 1) for k, d in zip(kernel_size, dilation)]
    return tuple((t // 2, t - t // 2) for t in totals)


def add_border(name, x, ends, mode):
    """x with a border, (before, after) for each of its last axes, of one of PyTorch's kinds. Raises ValueError where the
    border would be larger than what it repeats."""
    for size, pair in zip(x.shape[-len(ends):], ends):
        if mode in ("reflect", "circular") and max(pair) > size - (mode == "reflect"):
            raise ValueError(f"{name}: input {x.shape} with a border of {pair} by {mode!r}: a larger input expected")
    n = len(ends)
    if x.ndim == n + 1:
        return pad(x, ((0, 0), *ends), BORDERS[mode])
    y = pad(permute_dims(x, (0, *range(2, n + 2), 1)), ((0, 0), *ends, (0, 0)), BORDERS[mode])  # channels stay last in memory
    return permute_dims(y, (0, n + 1, *range(1, n + 1)))


def check_shapes(name, input, weight, n):
    """Raises TypeError or ValueError unless input is (N, C, n sizes), or without N, and weight has n sizes too."""
    require_arrays(name, input, weight)
    if weight.ndim != n + 2 or input.ndim not in (n + 1, n + 2):
        raise ValueError(f"{name}: input {tuple(input.shape)}, weight {tuple(weight.shape)}: (N, C, {AXES[n]}) or "
                         f"(C, {AXES[n]}), and a weight of {n + 2} axes expected")
    if input.dtype != weight.dtype:
        raise TypeError(dtypes_differ(name, input, weight))


# ---------------------------------------------------------------- depth as channels ----

def depth_taps(size, depth, windows, stride, padding, dilation):
    """(tap, the windows that have it inside the volume, the depths they find there), the last two as slices."""
    for tap in range(size):
        start = tap * dilation - padding
        first = max(0, -(start // stride))
        last = min(windows, (depth - 1 - start) // stride + 1)
        if first < last:
            yield tap, slice(first, last), slice(start + first * stride, start + (last - 1) * stride + 1, stride)


def window_count(size, depth, stride, padding, dilation):
    """How many windows of `size` taps lie along `depth`."""
    return (depth + 2 * padding - dilation * (size - 1) - 1) // stride + 1


def by_group(x, groups):
    """(N, C, D, H, W) seen as N, D, H, W, G, C/G."""
    n, c, d, h, w = x.shape
    return np.transpose(x, (0, 2, 3, 4, 1)).reshape(n, d, h, w, groups, c // groups)


@op
def unfold_depth(x, size, stride, padding, dilation, groups):
    """An image for each window along the depth, its taps side by side as channels. dL/dx = fold_depth(g).

    Shapes: (N, C, D, H, W) -> (N windows, size C, H, W), the channels in the order group, tap, channel of the group.
    """
    n, c, d, h, w = x.shape
    windows = window_count(size, d, stride, padding, dilation)
    source = by_group(x, groups)
    if size == 1 and stride == 1 and not padding:
        images = source
    else:
        inside = not padding
        make = np.empty if inside else np.zeros
        images = make((n, windows, h, w, groups, size, c // groups), x.dtype, like=x)
        for tap, outs, depths in depth_taps(size, d, windows, stride, padding, dilation):
            images[:, outs, :, :, :, tap] = source[:, depths]
    return np.transpose(images.reshape(n * windows, h, w, size * c), (0, 3, 1, 2))


@unfold_depth.vjp
def unfold_depth_vjp(g, x_shape, size, stride, padding, dilation, groups):
    return fold_depth(g, x_shape[2], size, stride, padding, dilation, groups)


@op
def fold_depth(x, depth, size, stride, padding, dilation, groups):
    """What unfold_depth laid out, added up. dL/dx = unfold_depth(g).

    Shapes: (N windows, size C, H, W) -> (N, C, depth, H, W).
    """
    windows = window_count(size, depth, stride, padding, dilation)
    m, c, h, w = x.shape
    n, c = m // windows, c // size
    taps = np.transpose(x, (0, 2, 3, 1)).reshape(n, windows, h, w, groups, size, c // groups)
    y = np.zeros((n, depth, h, w, groups, c // groups), x.dtype, like=x)
    for tap, outs, depths in depth_taps(size, depth, windows, stride, padding, dilation):
        y[:, depths] += taps[:, outs, :, :, :, tap]
    return np.transpose(y.reshape(n, depth, h, w, c), (0, 4, 1, 2, 3))


@fold_depth.vjp
def fold_depth_vjp(g, size, stride, padding, dilation, groups):
    return unfold_depth(g, size, stride, padding, dilation, groups)


def volumes(images, n):
    """(N D, C, H, W) seen as (N, C, D, H, W)."""
    m, c, h, w = images.shape
    return permute_dims(reshape(images, (n, m // n if n else 0, c, h, w)), (0, 2, 1, 3, 4))


def flat_weight(weight):
    """A weight (O, C, kd, kh, kw) seen in two dimensions, (O, kd C, kh, kw)."""
    o, c, kd, kh, kw = weight.shape
    return reshape(permute_dims(weight, (0, 2, 1, 3, 4)), (o, kd * c, kh, kw))


# ---------------------------------------------------------------- convolution ----

def convolution(n):
    """conv1d or conv3d."""
    name = f"conv{n}d"

    def conv(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, activation=None):
        check_shapes(name, input, weight, n)
        if input.ndim == n + 1:
            return conv(input[None], weight, bias, stride, padding, dilation, groups, activation)[0]
        stride, dilation = sizes(name, "stride", stride, n, 1), sizes(name, "dilation", dilation, n, 1)
        ends = resolve_padding(name, padding, weight.shape[2:], stride, dilation)
        if any(a != b for a, b in ends):
            input = pad_constant(input, ((0, 0), (0, 0), *((0, b - a) for a, b in ends)))
        padding = tuple(a for a, _ in ends)
        check_fit(name, input, weight, stride, padding, dilation, groups)
        if n == 1:
            stride, padding, dilation = (1, *stride), (0, *padding), (1, *dilation)
            image, window = expand_dims(input, 2), expand_dims(weight, 2)
            return squeeze(conv2d(image, window, bias, stride, padding, dilation, groups, activation), 2)
        images = unfold_depth(input, weight.shape[2], stride[0], padding[0], dilation[0], groups)
        y = conv2d(images, flat_weight(weight), bias, stride[1:], padding[1:], dilation[1:], groups, activation)
        return volumes(y, input.shape[0])

    letters = AXES[n]
    conv.__name__ = conv.__qualname__ = name
    conv.__doc__ = f"""activation(input * weight + bias): cross-correlation in {n} dimension{"s" if n > 1 else ""}.

    Shapes: input (N, C, {letters}) or (C, {letters}), weight (O, C/groups, {n} sizes), bias (O,) -> (N, O, ...).
    stride, padding, dilation: whole numbers, or one for each axis; padding also 'valid' or 'same'. activation: as conv2d's.
    Raises ValueError for shapes that do not fit, TypeError for dtypes that differ.
    """
    return conv


def check_fit(name, input, weight, stride, padding, dilation, groups):
    """Raises ValueError where groups do not divide the channels or no window fits."""
    shapes = f"{name}: input {tuple(input.shape)}, weight {tuple(weight.shape)}"
    if groups < 1 or weight.shape[0] % groups or input.shape[1] != weight.shape[1] * groups:
        raise ValueError(f"{shapes}, groups={groups}: (N, C, ...) and (O, C/groups, ...) expected, O a multiple of groups")
    for size, k, p, d in zip(input.shape[2:], weight.shape[2:], padding, dilation):
        if k < 1 or size + 2 * p < d * (k - 1) + 1:
            raise ValueError(f"{shapes}, padding={padding}, dilation={dilation}: a window that fits expected")


conv1d, conv3d = convolution(1), convolution(3)


# ---------------------------------------------------------------- transposed convolution ----

def transposed_convolution(n):
    """conv_transpose1d, conv_transpose2d or conv_transpose3d."""
    name = f"conv_transpose{n}d"

    def conv(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
        check_shapes(name, input, weight, n)
        if input.ndim == n + 1:
            return conv(input[None], weight, bias, stride, padding, output_padding, groups, dilation)[0]
        stride, dilation = sizes(name, "stride", stride, n, 1), sizes(name, "dilation", dilation, n, 1)
        padding, extra = sizes(name, "padding", padding, n, 0), sizes(name, "output_padding", output_padding, n, 0)
        shapes = f"{name}: input {tuple(input.shape)}, weight {tuple(weight.shape)}"
        if groups < 1 or weight.shape[0] % groups or input.shape[1] != weight.shape[0]:
            raise ValueError(f"{shapes}, groups={groups}: (N, C, ...), (C, O/groups, ...), C a multiple of groups expected")
        if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation)):
            raise ValueError(f"{name}: output_padding={output_padding!r}: less than stride={stride} or dilation={dilation} "
                             "expected")
        out = tuple((size - 1) * s - 2 * p + d * (k - 1) + e + 1 for size, s, p, d, k, e in
                    zip(input.shape[2:], stride, padding, dilation, weight.shape[2:], extra))
        if min(out) < 1:
            raise ValueError(f"{shapes}, padding={padding}: a result of size {out}: at least 1 expected")
        window = stride, padding, dilation
        if any(e >= s for e, s in zip(extra, stride)):  # no convolution has this gradient: all that is added up, cut to size
            y = conv(input, weight, None, stride, 0, 0, groups, dilation)
            y = pad_constant(y, ((0, 0), (0, 0), *((0, max(0, e - p)) for e, p in zip(extra, padding))))
            y = y[(..., *(slice(p, p + size) for p, size in zip(padding, out)))]
        elif n == 1:
            window = (1, *stride), (0, *padding), (1, *dilation)
            y = transposed_images(expand_dims(input, 2), expand_dims(weight, 2), (1, *out), window, groups)
            y = squeeze(y, 2)
        elif n == 2:
            y = transposed_images(input, weight, out, window, groups)
        else:
            m, c, d, h, w = input.shape
            images = reshape(permute_dims(input, (0, 2, 1, 3, 4)), (m * d, c, h, w))
            y = transposed_images(images, flat_weight(weight), out[1:], [axes[1:] for axes in window], groups)
            y = fold_depth(y, out[0], weight.shape[2], stride[0], padding[0], dilation[0], groups)
        return y if bias is None else y + reshape(bias, (-1,) + (1,) * n)

    letters = AXES[n]
    conv.__name__ = conv.__qualname__ = name
    conv.__doc__ = f"""The derivative of conv{n}d by its input, as a layer: every value of input adds a multiple of the weight.

    Shapes: input (N, C, {letters}) or (C, {letters}), weight (C, O/groups, {n} sizes), bias (O,) -> (N, O, ...), in each axis
    (size - 1) stride - 2 padding + dilation (k - 1) + output_padding + 1. stride, padding, output_padding, dilation: whole
    numbers, or one for each axis. Raises ValueError for shapes that do not fit, TypeError for dtypes that differ.
    """
    return conv


def transposed_images(images, weight, out, window, groups):
    return conv2d_backward_data(images, weight, (images.shape[0], weight.shape[1] * groups, *out), *window, groups)


conv_transpose1d, conv_transpose2d, conv_transpose3d = map(transposed_convolution, (1, 2, 3))

__all__ = ["conv1d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"]
