"""Fractional max pooling (Graham, 2014): windows whose distances, drawn at random, shrink an image by any factor."""
import numpy as np

from ..autograd import op
from ..autograd.tensor import wrap
from .conv_nd import AXES, sizes
from .index import take_along_axis
from .pool import max_pool2d
from .pool_nd import batched, max_pool3d
from .shape import broadcast_to, reshape


def fractional_pooling(n):
    """fractional_max_pool2d or 3d."""
    name = f"fractional_max_pool{n}d"

    def fractional_max_pool(input, kernel_size, output_size=None, output_ratio=None, return_indices=False,
                            _random_samples=None):
        kernel, inside = sizes(name, "kernel_size", kernel_size, n, 1), tuple(input.shape[-n:])
        out = grid_of(name, n, inside, output_size, output_ratio)
        if any(o + k - 1 > size for o, k, size in zip(out, kernel, inside)):
            raise ValueError(f"{name}: input {tuple(input.shape)}, kernel_size={kernel}, output_size={out}: output_size + "
                             "kernel_size - 1 <= the input's size expected along each axis")

        def pool(x):
            samples = drawn(n, x) if _random_samples is None else _random_samples
            return largest(x, kernel, out, samples, return_indices)
        return batched(name, input, n, pool)

    fractional_max_pool.__name__ = fractional_max_pool.__qualname__ = name
    fractional_max_pool.__doc__ = f"""The largest over each of a grid of windows whose places are drawn for each channel.

    output_size: {n} sizes or one for all; or output_ratio, their ratios to the input's, between 0 and 1. return_indices: (y,
    the places of the largest, counted over {AXES[n]}). dL/dx: g at those places. Shapes: (N, C, {AXES[n]}), or without N, to
    output_size. _random_samples: (N, C, {n}) numbers in [0, 1) instead of minidl.random's, for the columns first in images.
    Raises ValueError where the windows do not fit.
    """
    return fractional_max_pool


def grid_of(name, n, inside, output_size, output_ratio):
    """The sizes of the result. Raises ValueError unless one of the options is given, and for a ratio out of range."""
    if (output_size is None) == (output_ratio is None):
        raise ValueError(f"{name}: output_size={output_size}, output_ratio={output_ratio}: one of the two expected")
    if output_size is not None:
        return sizes(name, "output_size", output_size, n, 1)
    ratios = tuple(output_ratio) if isinstance(output_ratio, (tuple, list)) else (output_ratio,) * n
    if len(ratios) != n or not all(0 < r < 1 for r in ratios):
        raise ValueError(f"{name}: output_ratio={output_ratio}: {n} numbers between 0 and 1, or one for all, expected")
    return tuple(int(size * r) for size, r in zip(inside, ratios))


def drawn(n, x):
    """A number in [0, 1) for each axis of each channel."""
    from ..random import rand
    return rand(*x.shape[:2], n, dtype=x.dtype)


def largest(x, kernel, out, samples, return_indices):
    """The largest of images or volumes in the windows that samples place."""
    n, shape = len(kernel), x.shape
    samples = samples.array if hasattr(samples, "array") else samples
    if n == 2:  # the columns' come first
        samples = samples[..., ::-1]
    places = []
    for i in range(n):
        at = window_places(samples[..., i], shape[2 + i], out[i], kernel[i])  # (N, C, windows * kernel)
        lines = reshape(wrap(at), (*shape[:2], *[-1 if j == i else 1 for j in range(n)]))
        x = take_along_axis(x, broadcast_to(lines, (*x.shape[:2 + i], at.shape[-1], *x.shape[3 + i:])), axis=2 + i)
        places.append(lines)
    pool = max_pool2d if n == 2 else max_pool3d
    y = pool(x, kernel, return_indices=return_indices)
    return (y[0], in_input(y[1], *places, shape=shape[2:])) if return_indices else y


def window_places(samples, size, count, kernel):
    """Where the windows lie that a sample in [0, 1) places along an axis: (..., count * kernel), window after window.

    A start is the whole part of (i + sample) alpha, less that of sample alpha, alpha = (size - kernel) / (count - 1); the last
    window ends where the axis does.
    """
    alpha = samples.dtype.type((size - kernel) / (count - 1)) if count > 1 else 0
    i = np.arange(count, like=samples).astype(samples.dtype)
    samples = samples[..., None]
    starts = np.trunc((i + samples) * alpha).astype(np.int64) - np.trunc(samples * alpha).astype(np.int64)
    starts[..., -1] = size - kernel
    return (starts[..., None] + np.arange(kernel, like=starts)).reshape((*starts.shape[:-1], count * kernel))


@op
def in_input(at, *places, shape):
    """Where in its image or volume a place `at` of the copies, counted over their axes, lies; no derivative: integers.

    Shape: at's.
    """
    copies = [p.size // p.shape[0] // p.shape[1] for p in places]
    found, first = 0, at.reshape((*at.shape[:2], -1))
    for axis, (count, size) in enumerate(zip(copies, shape)):
        along = first // int(np.prod(copies[axis + 1:], dtype=int)) % count
        lines = places[axis].reshape((*at.shape[:2], count))
        found = found * size + np.take_along_axis(lines, along, -1)
    return found.reshape(at.shape)


fractional_max_pool2d, fractional_max_pool3d = map(fractional_pooling, (2, 3))

__all__ = ["fractional_max_pool2d", "fractional_max_pool3d"]
