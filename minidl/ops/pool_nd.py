"""Pooling of sequences and volumes, adaptive and power-mean pooling, and unpooling: all by the pooling of images.

A sequence is an image of height 1. A volume is pooled image by image, and then along its depth: the largest of the largest,
the mean of the means. Sizes are whole numbers, or one for each axis; an input may come without its batch axis N.
"""
import math

import numpy as np

from ..autograd import op
from .activation import relu
from .arithmetic import abs, sign
from .conv_nd import AXES, sizes
from .index import take, take_along_axis
from .linear import matmul
from .pool import avg_pool2d, max_pool2d
from .shape import expand_dims, permute_dims, reshape, squeeze


def each(function, y):
    """function of a result, or of both parts of (result, places)."""
    return tuple(map(function, y)) if isinstance(y, tuple) else function(y)


def batched(name, x, n, pool):
    """pool(x), where x may lack its first axis. Raises ValueError for another number of axes."""
    if x.ndim == n + 1:
        return each(lambda part: squeeze(part, 0), pool(expand_dims(x, 0)))
    if x.ndim != n + 2:
        raise ValueError(f"{name}: input {tuple(x.shape)}: (N, C, {AXES[n]}) or (C, {AXES[n]}) expected")
    return pool(x)


def over_sequence(x, pool):
    """pool, of images, on a sequence (N, C, L)."""
    return each(lambda part: squeeze(part, 2), pool(expand_dims(x, 2)))


def over_volume(x, pool, pool_depth):
    """pool over each image of (N, C, D, H, W), then pool_depth over what remains, seen as images (N, C, D, oh ow).

    Both may give (result, places), row * width + column; then so does this one, the places in the volume.
    """
    n, c, d, h, w = x.shape
    y = pool(reshape(permute_dims(x, (0, 2, 1, 3, 4)), (n * d, c, h, w)))
    oh, ow = y[0].shape[2:] if isinstance(y, tuple) else y.shape[2:]

    def as_lines(part):
        return reshape(permute_dims(reshape(part, (n, d, c, oh, ow)), (0, 2, 1, 3, 4)), (n, c, d, oh * ow))
    y, at = y if isinstance(y, tuple) else (y, None)
    y = pool_depth(as_lines(y))
    if at is not None:
        y, lines = y
        in_image = take_along_axis(reshape(as_lines(at), (n, c, -1)), reshape(lines, (n, c, -1)), axis=-1)
        y = y, lines // (oh * ow) * (h * w) + reshape(in_image, lines.shape)
    return each(lambda part: reshape(part, (n, c, part.shape[2], oh, ow)), y)


# ---------------------------------------------------------------- maximum and mean ----

NO_WINDOW = 1, 1, 0, 1  # size, stride, padding, dilation along an axis that is not pooled


def maximum_pooling(n):
    """max_pool1d or max_pool3d."""
    name = f"max_pool{n}d"

    def max_pool(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
        windows = windows_of(name, n, kernel_size, stride, padding, dilation)

        def over(rows, columns):
            return lambda x: max_pool2d(x, *zip(rows, columns), ceil_mode, return_indices)

        def pool(x):
            if n == 1:
                return over_sequence(x, over(NO_WINDOW, windows[0]))
            return over_volume(x, over(windows[1], windows[2]), over(windows[0], NO_WINDOW))
        return batched(name, input, n, pool)

    max_pool.__name__ = max_pool.__qualname__ = name
    max_pool.__doc__ = f"""The largest value of each window. dL/dx: g at the place of the largest, the first of equal ones.

    Shapes: (N, C, {AXES[n]}) -> the same axes, or without N. The rest as in max_pool2d; return_indices: (y, the places of the
    largest, counted over {AXES[n]}). Raises ValueError where no window fits.
    """
    return max_pool


def windows_of(name, n, kernel_size, stride, padding, dilation=1):
    """(size, stride, padding, dilation) for each axis."""
    k = sizes(name, "kernel_size", kernel_size, n, 1)
    s = k if stride is None or stride == () else sizes(name, "stride", stride, n, 1)
    return list(zip(k, s, sizes(name, "padding", padding, n, 0), sizes(name, "dilation", dilation, n, 1)))


max_pool1d, max_pool3d = maximum_pooling(1), maximum_pooling(3)


def avg_pool1d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """The mean of each window. dL/dx: g spread evenly over its window.

    Shapes: (N, C, L) -> (N, C, ol), or without N. The rest as in avg_pool2d. Raises ValueError where no window fits.
    """
    window, = windows_of("avg_pool1d", 1, kernel_size, stride, padding)

    def pool(x):
        return avg_pool2d(x, *zip(NO_WINDOW[:3], window[:3]), ceil_mode, count_include_pad)
    return batched("avg_pool1d", input, 1, lambda x: over_sequence(x, pool))


def avg_pool3d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
    """The mean of each window. dL/dx: g spread evenly over its window.

    Shapes: (N, C, D, H, W) -> (N, C, od, oh, ow), or without N. The rest as in avg_pool2d. Raises ValueError where no window
    fits.
    """
    windows = windows_of("avg_pool3d", 3, kernel_size, stride, padding)

    def over(rows, columns, divisor):
        return lambda x: avg_pool2d(x, *zip(rows[:3], columns[:3]), ceil_mode, count_include_pad, divisor)
    images = over(windows[1], windows[2], divisor_override and 1)  # 1: sums
    depth = over(windows[0], NO_WINDOW, divisor_override)
    return batched("avg_pool3d", input, 3, lambda x: over_volume(x, images, depth))


# ---------------------------------------------------------------- adaptive: as many windows as asked for ----

def adaptive_sizes(name, output_size, n):
    """n sizes, None where the input's is kept. Raises ValueError for others."""
    found = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * n
    if len(found) != n or not all(v is None or (isinstance(v, (int, np.integer)) and v >= 1) for v in found):
        raise ValueError(f"{name}: output_size={output_size!r}: sizes of at least 1, {n} or one for all, expected")
    return found


def adaptive(name, n, pool_images):
    """Pooling over a grid of `output_size` windows in n dimensions, from pool_images(x, (oh, ow), *options)."""
    def pool(input, output_size, *options):
        found = adaptive_sizes(name, output_size, n)

        def over(rows, columns):
            return lambda x: pool_images(x, (rows, columns), *options)

        def run(x):
            if n == 1:
                return over_sequence(x, over(None, found[0]))
            return over(*found)(x) if n == 2 else over_volume(x, over(*found[1:]), over(found[0], None))
        return batched(name, input, n, run)
    return pool


def adaptive_average(n):
    """adaptive_avg_pool1d, 2d or 3d."""
    pool = adaptive(f"adaptive_avg_pool{n}d", n, grid_means)

    def adaptive_avg_pool(input, output_size):
        return pool(input, output_size)
    adaptive_avg_pool.__name__ = adaptive_avg_pool.__qualname__ = f"adaptive_avg_pool{n}d"
    adaptive_avg_pool.__doc__ = f"""Means over a grid of windows, as equal as whole sizes allow, that cover the input.

    output_size: {n} sizes, or one for all; None keeps the input's. Shapes: (N, C, {AXES[n]}), or without N, to output_size.
    dL/dx: g spread evenly over its window. Raises ValueError below 1.
    """
    return adaptive_avg_pool


def adaptive_maximum(n):
    """adaptive_max_pool1d, 2d or 3d."""
    pool = adaptive(f"adaptive_max_pool{n}d", n, grid_maxima)

    def adaptive_max_pool(input, output_size, return_indices=False):
        return pool(input, output_size, return_indices)
    adaptive_max_pool.__name__ = adaptive_max_pool.__qualname__ = f"adaptive_max_pool{n}d"
    adaptive_max_pool.__doc__ = f"""The largest over each of a grid of windows, as equal as whole sizes allow.

    output_size: {n} sizes, or one for all; None keeps the input's. Shapes: (N, C, {AXES[n]}), or without N, to output_size.
    return_indices: (y, the places of the largest). dL/dx: g at those places. Raises ValueError below 1.
    """
    return adaptive_max_pool


def window_bounds(size, count):
    """[start, stop) of each of `count` windows that cover `size` places."""
    return [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


def grid_means(x, grid):
    """Means of images over a grid of windows."""
    h, w = x.shape[2:]
    oh, ow = (n if n is not None else size for n, size in zip(grid, (h, w)))
    if h % oh == 0 and w % ow == 0:
        return avg_pool2d(x, (h // oh, w // ow))
    like = getattr(x, "array", x)
    return matmul(matmul(averages(like, h, oh), x), averages(like, w, ow).mT)


@op
def averages(x, size, count):
    """The (count, size) matrix whose row i averages window i of `count` windows that cover `size` places.

    No derivative: x only gives the dtype and the kind of array, so that the matrix is a constant.
    """
    matrix = np.zeros((count, size), x.dtype, like=x)
    for i, (start, stop) in enumerate(window_bounds(size, count)):
        matrix[i, start:stop] = 1 / (stop - start)
    return matrix


def grid_maxima(x, grid, return_indices):
    """The largest of images over a grid of windows; where these differ in size, over copies that repeat their last places."""
    h, w = x.shape[2:]
    oh, ow = (n if n is not None else size for n, size in zip(grid, (h, w)))
    if h % oh == 0 and w % ow == 0:
        return max_pool2d(x, (h // oh, w // ow), return_indices=return_indices)
    rows, columns = (np.asarray(places_of_windows(*axis), like=getattr(x, "array", x)) for axis in ((h, oh), (w, ow)))
    tall, wide = len(rows) // oh, len(columns) // ow
    y, at = max_pool2d(take(take(x, rows, 2), columns, 3), (tall, wide), return_indices=True)
    return (y, in_image(at, rows, columns, w)) if return_indices else y


def places_of_windows(size, count):
    """The places of window after window, each as long as the longest."""
    bounds = window_bounds(size, count)
    longest = max(stop - start for start, stop in bounds)
    return [min(start + i, stop - 1) for start, stop in bounds for i in range(longest)]


@op
def in_image(at, rows, columns, width):
    """row * width + column in the image of a place in its copy, at; no derivative: integers. Shape: at's."""
    return rows[at // len(columns)] * width + columns[at % len(columns)]


ADAPTIVE_MEANS = {n: adaptive_average(n) for n in (1, 2, 3)}
adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d = ADAPTIVE_MEANS.values()
adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d = map(adaptive_maximum, (1, 2, 3))


# ---------------------------------------------------------------- power means ----

def power_pooling(n, average):
    """lp_pool1d, 2d or 3d."""
    name = f"lp_pool{n}d"

    def lp_pool(input, norm_type, kernel_size, stride=None, ceil_mode=False):
        count = math.prod(sizes(name, "kernel_size", kernel_size, n, 1))
        mean = average(input ** norm_type, kernel_size, stride, 0, ceil_mode)
        return (sign(mean) * relu(abs(mean)) * count) ** (1.0 / norm_type)
    lp_pool.__name__ = lp_pool.__qualname__ = name
    lp_pool.__doc__ = f"""(The sum of x ** norm_type over each window) ** (1 / norm_type). dL/dx by the chain rule.

    Shapes: (N, C, {AXES[n]}) -> the same axes, or without N. stride None: kernel_size. Raises ValueError where no window fits.
    """
    return lp_pool


lp_pool1d, lp_pool2d, lp_pool3d = (power_pooling(n, f) for n, f in enumerate((avg_pool1d, avg_pool2d, avg_pool3d), 1))


# ---------------------------------------------------------------- unpooling ----

def unpooling(n):
    """max_unpool1d, 2d or 3d."""
    name = f"max_unpool{n}d"

    def max_unpool(input, indices, kernel_size, stride=None, padding=0, output_size=None):
        windows = windows_of(name, n, kernel_size, stride, padding)
        if indices.shape != input.shape or input.ndim not in (n + 1, n + 2):
            raise ValueError(f"{name}: input {tuple(input.shape)}, indices {tuple(indices.shape)}: the same "
                             f"(N, C, {AXES[n]}), or without N, expected")
        usual = tuple((size - 1) * s - 2 * p + k for size, (k, s, p, _) in zip(input.shape[-n:], windows))
        out = usual if output_size is None else tuple(output_size)[-n:]
        if len(out) != n or any(not abs(a - b) < s for a, b, (_, s, _, _) in zip(out, usual, windows)):
            raise ValueError(f"{name}: output_size={output_size}: {n} sizes that differ from {usual} by less than the stride "
                             "expected")
        lead = tuple(input.shape[:-n])
        y = put_at(reshape(input, (*lead, -1)), reshape(indices, (*lead, -1)), math.prod(out))
        return reshape(y, (*lead, *out))

    max_unpool.__name__ = max_unpool.__qualname__ = name
    max_unpool.__doc__ = f"""Zeros with the values of input at `indices`, the places that max_pool{n}d gave. dL/dx: g there.

    Shapes: input and indices (N, C, {AXES[n]}), or without N -> output_size, or what the windows cover. Raises ValueError for
    shapes that do not fit, IndexError for a place outside.
    """
    return max_unpool


@op
def put_at(x, places, size):
    """Zeros, `size` in each line, with x at its places; of several values for one place the last stays. dL/dx: g read there.

    Shapes: (..., L) and (..., L) -> (..., size).
    """
    y = np.zeros((*x.shape[:-1], size), x.dtype, like=x)
    np.put_along_axis(y, places, x, -1)
    return y


@put_at.vjp
def put_at_vjp(g, places):
    return take_along_axis(g, places, axis=-1)


max_unpool1d, max_unpool2d, max_unpool3d = map(unpooling, (1, 2, 3))

__all__ = ["adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d",
           "adaptive_max_pool3d", "avg_pool1d", "avg_pool3d", "lp_pool1d", "lp_pool2d", "lp_pool3d", "max_pool1d",
           "max_pool3d", "max_unpool1d", "max_unpool2d", "max_unpool3d"]
