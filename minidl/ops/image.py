"""What images (and sequences and volumes) are made of besides convolution and pooling: borders, other sizes, patches.

Where an image's channels lie together in memory they do in the result as well.
"""
import math

import numpy as np

from ..autograd import op
from .conv_nd import AXES, add_border, sizes
from .index import getitem, take
from .linear import matmul
from .pool_nd import ADAPTIVE_MEANS
from .shape import broadcast_to, pad_constant, permute_dims, reshape

# ---------------------------------------------------------------- borders ----


def pad_sides(input, pad, mode="constant", value=None):
    """input with a border, as PyTorch's functional.pad: pad is (left, right, top, bottom, ...), the last axis first.

    A negative width cuts off. mode: 'constant' (of `value`), 'reflect', 'replicate' or 'circular'. d/dx: the inside of g, and
    where values were repeated their sum. Raises ValueError for widths that do not fit.
    """
    pad = tuple(pad)
    if len(pad) % 2 or len(pad) // 2 > input.ndim or not all(isinstance(p, (int, np.integer)) for p in pad):
        raise ValueError(f"pad: pad={pad} for input {tuple(input.shape)}: two whole numbers for each last axis expected")
    ends = [(pad[i], pad[i + 1]) for i in range(len(pad) - 2, -1, -2)]
    if mode != "constant" and (mode not in ("reflect", "replicate", "circular") or not 0 < input.ndim - len(ends) < 3):
        raise ValueError(f"pad: mode={mode!r}, pad={pad} for input {tuple(input.shape)}: 'constant', or 'reflect', "
                         "'replicate' or 'circular' with a pair for each axis after (N, C) expected")
    lead = input.ndim - len(ends)
    if mode == "replicate" and min(pad, default=0) < 0:  # what is cut off one side may be repeated on the other
        for axis, ((a, b), size) in enumerate(zip(ends, input.shape[lead:]), lead):
            if size + a + b < 1:
                raise ValueError(f"pad: pad={pad} for input {tuple(input.shape)}: not all cut off expected")
            places = np.clip(np.arange(-a, size + b), 0, size - 1)
            input = take(input, np.asarray(places.tolist(), like=getattr(input, "array", input)), axis)
        return input
    cut = [slice(max(0, -a), size - max(0, -b)) for (a, b), size in zip(ends, input.shape[lead:])]
    if any(s.stop < s.start for s in cut):
        raise ValueError(f"pad: pad={pad} for input {tuple(input.shape)}: not more cut off than there is expected")
    if min(pad, default=0) < 0:
        input = getitem(input, (slice(None),) * lead + tuple(cut))
    ends = tuple((max(0, a), max(0, b)) for a, b in ends)
    if mode == "constant":
        return pad_constant(input, ((0, 0),) * lead + ends, 0 if value is None else value)
    return add_border("pad", input, ends, mode)


# ---------------------------------------------------------------- other sizes ----

LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def interpolate(input, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None,
                antialias=False):
    """input at another size, as PyTorch's. Linear in it: dL/dx is the transposed map of g.

    size or scale_factor: one for all axes or one for each. mode: 'nearest', 'nearest-exact', 'linear' / 'bilinear' /
    'trilinear' (by the number of axes), 'bicubic' or 'area'. align_corners: the outer values keep their places. antialias, for
    'bilinear' and 'bicubic': a smaller image has averages of all pixels.
    Shapes: (N, C, L), (N, C, H, W) or (N, C, D, H, W). Raises ValueError for options that do not go together.
    """
    n = input.ndim - 2
    modes = ("nearest", "nearest-exact", "area", LINEAR.get(n), *(("bicubic",) if n == 2 else ()))
    if n not in AXES or mode not in modes:
        raise ValueError(f"interpolate: mode={mode!r} for input {tuple(input.shape)}: (N, C, ...) and one of "
                         f"{', '.join(map(repr, modes))} expected")
    if (antialias and mode not in ("bilinear", "bicubic")) or (
            align_corners is not None and mode in ("nearest", "nearest-exact", "area")):
        raise ValueError(f"interpolate: mode={mode!r}, align_corners={align_corners}, antialias={antialias}: align_corners "
                         "for linear and cubic modes only, antialias for 'bilinear' and 'bicubic' only, expected")
    if (size is None) == (scale_factor is None):
        raise ValueError(f"interpolate: size={size}, scale_factor={scale_factor}: one of them expected")
    if size is not None:
        out, factors = sizes("interpolate", "size", size, n, 1), (None,) * n
    else:
        factors = tuple(scale_factor) if isinstance(scale_factor, (tuple, list)) else (scale_factor,) * n
        if len(factors) != n or not all(f > 0 for f in factors):
            raise ValueError(f"interpolate: scale_factor={scale_factor}: a number above 0, or {n} of them, expected")
        out = tuple(math.floor(length * f) for length, f in zip(input.shape[2:], factors))
        if min(out) < 1:
            raise ValueError(f"interpolate: input {tuple(input.shape)}, scale_factor={scale_factor}: sizes of at least 1 "
                             "expected")
        if recompute_scale_factor:
            factors = (None,) * n
    if mode == "area":
        return ADAPTIVE_MEANS[n](input, out)
    x = permute_dims(input, (0, *range(2, n + 2), 1))  # channels last
    for axis, (to, factor) in enumerate(zip(out, factors), 1):
        x = resize(x, axis, to, factor, mode, bool(align_corners), antialias)
    return permute_dims(x, (0, n + 1, *range(1, n + 1)))


def resize(x, axis, to, factor, mode, align_corners, antialias=False):
    """x with `to` places along an axis."""
    length = x.shape[axis]
    if to == length and factor in (None, 1):
        return x
    step = 1 / factor if factor else length / to
    before, after = x.shape[:axis], x.shape[axis + 1:]
    if mode == "nearest" and to % length == 0 and step == length / to:
        copies = broadcast_to(reshape(x, (*before, length, 1, *after)), (*before, length, to // length, *after))
        return reshape(copies, (*before, to, *after))
    if mode.startswith("nearest"):
        start = np.arange(to, dtype=np.float32) + np.float32(0.5 if mode == "nearest-exact" else 0)
        places = np.minimum(np.floor(start * np.float32(step)).astype(np.int64), length - 1)
        return take(x, np.asarray(places.tolist(), like=getattr(x, "array", x)), axis)
    matrix = averages if antialias else interpolation
    weights = matrix(getattr(x, "array", x), length, to, step, mode == "bicubic", align_corners)
    y = matmul(weights, reshape(x, (math.prod(before), length, math.prod(after))))
    return reshape(y, (*before, to, *after))


@op
def averages(x, length, to, step, cubic, align_corners):
    """The (to, length) matrix of averages around each place: a triangle of two pixels' width, or Keys's cubic with a = -1/2 of
    four, wider by as much as the image becomes smaller.

    No derivative: x only gives the dtype and the kind of array, so that the matrix is a constant.
    """
    if align_corners:
        step = (length - 1) / (to - 1) if to > 1 else 0
    t = np.abs(np.arange(length) + 0.5 - (np.arange(to)[:, None] + 0.5) * step) / max(step, 1)
    if cubic:
        matrix = np.where(t < 1, (1.5 * t - 2.5) * t * t + 1, np.where(t < 2, ((2.5 - 0.5 * t) * t - 4) * t + 2, 0))
    else:
        matrix = np.maximum(1 - t, 0)
    return np.asarray((matrix / matrix.sum(1, keepdims=True)).tolist(), x.dtype, like=x)


@op
def interpolation(x, length, to, step, cubic, align_corners):
    """The (to, length) matrix that interpolates between neighbours: linearly, or by Keys's cubic with a = -3/4.

    No derivative: x only gives the dtype and the kind of array, so that the matrix is a constant.
    """
    at = np.arange(to) * ((length - 1) / (to - 1) if to > 1 else 0) if align_corners else (np.arange(to) + 0.5) * step - 0.5
    if not cubic:
        at = np.maximum(at, 0)
    first = np.floor(at)
    t = at - first
    if cubic:
        near, far = (1.25 * t - 2.25) * t * t + 1, -0.75 * t * (1 - t) ** 2
        s = 1 - t
        taps = ((-1, far), (0, near), (1, (1.25 * s - 2.25) * s * s + 1), (2, -0.75 * s * t ** 2))
    else:
        taps = (0, 1 - t), (1, t)
    matrix = np.zeros((to, length), x.dtype, like=x)
    for offset, weights in taps:
        for i, weight in enumerate(weights.tolist()):
            matrix[i, min(max(int(first[i]) + offset, 0), length - 1)] += weight
    return matrix


def upscaled(name, x, factor):
    if x.ndim < 3 or not isinstance(factor, (int, np.integer)) or factor < 1:
        raise ValueError(f"{name}: input {tuple(x.shape)}, factor {factor}: (..., C, H, W), a whole number above 0 expected")
    *lead, c, h, w = x.shape
    return lead, c, h, w, reshape(x, (math.prod(lead), c, h, w))


def pixel_shuffle(input, upscale_factor):
    """Channels as pixels: (..., C r r, H, W) -> (..., C, H r, W r). dL/dx = pixel_unshuffle(g). ValueError otherwise."""
    r = upscale_factor
    lead, c, h, w, x = upscaled("pixel_shuffle", input, r)
    if c % (r * r):
        raise ValueError(f"pixel_shuffle: input {tuple(input.shape)}: a multiple of {r * r} channels expected")
    x = reshape(permute_dims(x, (0, 2, 3, 1)), (x.shape[0], h, w, c // (r * r), r, r))
    x = reshape(permute_dims(x, (0, 1, 4, 2, 5, 3)), (x.shape[0], h * r, w * r, c // (r * r)))
    return reshape(permute_dims(x, (0, 3, 1, 2)), (*lead, c // (r * r), h * r, w * r))


def pixel_unshuffle(input, downscale_factor):
    """Pixels as channels: (..., C, H r, W r) -> (..., C r r, H, W). dL/dx = pixel_shuffle(g). Raises ValueError otherwise."""
    r = downscale_factor
    lead, c, h, w, x = upscaled("pixel_unshuffle", input, r)
    if h % r or w % r:
        raise ValueError(f"pixel_unshuffle: input {tuple(input.shape)}: sizes that are multiples of {r} expected")
    x = reshape(permute_dims(x, (0, 2, 3, 1)), (x.shape[0], h // r, r, w // r, r, c))
    x = reshape(permute_dims(x, (0, 1, 3, 5, 2, 4)), (x.shape[0], h // r, w // r, c * r * r))
    return reshape(permute_dims(x, (0, 3, 1, 2)), (*lead, c * r * r, h // r, w // r))


def channel_shuffle(input, groups):
    """The channels of (N, C, ...) in the order first of each group, second of each, ... d/dx: the order turned back."""
    if input.ndim < 2 or groups < 1 or input.shape[1] % groups:
        raise ValueError(f"channel_shuffle: input {tuple(input.shape)}, groups={groups}: a divisor of axis 1 expected")
    n, c, *rest = input.shape
    x = permute_dims(input, (0, *range(2, input.ndim), 1))
    last = x.ndim - 1
    x = permute_dims(reshape(x, (*x.shape[:-1], groups, c // groups)), (*range(last), last + 1, last))
    return permute_dims(reshape(x, (n, *rest, c)), (0, last, *range(1, last)))


# ---------------------------------------------------------------- patches ----

def patches(name, kernel_size, dilation, padding, stride, image):
    """(size, dilation, padding, stride, windows) for both axes of an image. Raises ValueError where none fits."""
    axes = list(zip(sizes(name, "kernel_size", kernel_size, 2, 1), sizes(name, "dilation", dilation, 2, 1),
                    sizes(name, "padding", padding, 2, 0), sizes(name, "stride", stride, 2, 1)))
    counts = [(size + 2 * p - d * (k - 1) - 1) // s + 1 for size, (k, d, p, s) in zip(image, axes)]
    if min(counts) < 1:
        raise ValueError(f"{name}: kernel_size={kernel_size}, dilation={dilation}, padding={padding} on an image of "
                         f"{image[0]}x{image[1]}: a window that fits expected")
    return tuple((*axis, count) for axis, count in zip(axes, counts))


def unfold(input, kernel_size, dilation=1, padding=0, stride=1):
    """The patches under a window that moves over images, one column each. dL/dx = fold(g).

    Shapes: (N, C, H, W) -> (N, C kh kw, windows), or without N. Raises ValueError where no window fits.
    """
    if input.ndim == 3:
        return unfold(input[None], kernel_size, dilation, padding, stride)[0]
    if input.ndim != 4:
        raise ValueError(f"unfold: input {tuple(input.shape)}: (N, C, H, W) or (C, H, W) expected")
    return to_columns(input, patches("unfold", kernel_size, dilation, padding, stride, input.shape[2:]))


def fold(input, output_size, kernel_size, dilation=1, padding=0, stride=1):
    """The sum of patches, each added where unfold would have read it. dL/dx = unfold(g).

    Shapes: (N, C kh kw, windows) -> (N, C, *output_size), or without N. Raises ValueError for shapes that do not fit.
    """
    if input.ndim == 2:
        return fold(input[None], output_size, kernel_size, dilation, padding, stride)[0]
    image = sizes("fold", "output_size", output_size, 2, 1)
    axes = patches("fold", kernel_size, dilation, padding, stride, image)
    taps, windows = axes[0][0] * axes[1][0], axes[0][4] * axes[1][4]
    if input.ndim != 3 or input.shape[1] % taps or input.shape[2] != windows:
        raise ValueError(f"fold: input {tuple(input.shape)}: (N, a multiple of {taps}, {windows}) expected")
    return from_columns(input, axes, image)


def tap_places(axes):
    """(tap of rows, of columns, where the padded image has them for all windows) for each tap of a window."""
    (kh, dh, _, sh, oh), (kw, dw, _, sw, ow) = axes
    for a in range(kh):
        for b in range(kw):
            yield a, b, (..., slice(a * dh, a * dh + (oh - 1) * sh + 1, sh), slice(b * dw, b * dw + (ow - 1) * sw + 1, sw))


@op
def to_columns(x, axes):
    """unfold of (N, C, H, W) with `axes` as patches gives them. dL/dx = from_columns(g)."""
    n, c = x.shape[:2]
    (kh, _, ph, _, oh), (kw, _, pw, _, ow) = axes
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw))) if ph or pw else x
    y = np.empty((n, c, kh, kw, oh, ow), x.dtype, like=x)
    for a, b, places in tap_places(axes):
        y[:, :, a, b] = x[places]
    return y.reshape(n, c * kh * kw, oh * ow)


@to_columns.vjp
def to_columns_vjp(g, x_shape, axes):
    return from_columns(g, axes, x_shape[2:])


@op
def from_columns(x, axes, image):
    """fold of (N, C kh kw, windows) to images of a size, with `axes` as patches gives them. dL/dx = to_columns(g)."""
    (kh, _, ph, _, oh), (kw, _, pw, _, ow) = axes
    n, c = x.shape[0], x.shape[1] // (kh * kw)
    taps = x.reshape(n, c, kh, kw, oh, ow)
    y = np.zeros((n, c, image[0] + 2 * ph, image[1] + 2 * pw), x.dtype, like=x)
    for a, b, places in tap_places(axes):
        y[places] += taps[:, :, a, b]
    return y[:, :, ph:ph + image[0], pw:pw + image[1]]


@from_columns.vjp
def from_columns_vjp(g, axes):
    return to_columns(g, axes)


__all__ = ["channel_shuffle", "fold", "interpolate", "pixel_shuffle", "pixel_unshuffle", "unfold"]
