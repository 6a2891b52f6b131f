"""Images read at places that are computed: affine maps of their coordinates, and interpolation between the pixels."""
from itertools import product

import numpy as np

from ..autograd.tensor import wrap
from .arithmetic import clip
from .creation import asarray
from .embedding import embedding
from .index import where
from .linear import matmul
from .rounding import floor, round
from .shape import expand_dims, permute_dims, reshape


def affine_grid(theta, size, align_corners=None):
    """The coordinates x, y (, z) at which `grid_sample` reads for an affine map: theta times (x', y' (, z'), 1), the result's.

    Coordinates go from -1 to 1, the middles of the outer pixels with align_corners, otherwise their outer borders. Shapes:
    theta (N, 2, 3), size (N, C, H, W) -> (N, H, W, 2), or theta (N, 3, 4), size (N, C, D, H, W) -> (N, D, H, W, 3). Raises
    ValueError for others.
    """
    size = tuple(int(n) for n in size)
    axes = len(size) - 2
    if axes not in (2, 3) or tuple(theta.shape) != (size[0], axes, axes + 1) or min(size) < 1:
        raise ValueError(f"affine_grid: theta {tuple(theta.shape)}, size {size}: (N, 2, 3) and (N, C, H, W), or (N, 3, 4) and "
                         "(N, C, D, H, W), sizes of at least 1 expected")
    lines = [np.linspace(-1, 1, n) * (1 if align_corners else (n - 1) / n) if n > 1 else np.zeros(1) for n in size[2:]]
    places = np.stack([*np.meshgrid(*lines, indexing="ij")[::-1], np.ones(size[2:])], -1).reshape(-1, axes + 1)
    places = asarray(places.tolist(), dtype=theta.dtype, device=theta.device)
    return reshape(matmul(places, theta.mT), (size[0], *size[2:], axes))


def grid_sample(input, grid, mode="bilinear", padding_mode="zeros", align_corners=None):
    """The input at the places x, y (, z) of a grid, with coordinates as affine_grid's.

    mode: 'bilinear', 'nearest' or, for images, 'bicubic'. padding_mode: what lies outside is 0 ('zeros'), the nearest pixel
    ('border') or a mirror image ('reflection'). dL/dinput: g, spread with the weights of interpolation; dL/dgrid: their
    slopes. Shapes: (N, C, H, W), (N, h, w, 2) -> (N, C, h, w), or (N, C, D, H, W), (N, d, h, w, 3) -> (N, C, d, h, w). Raises
    ValueError for others, TypeError for dtypes that differ.
    """
    axes = input.ndim - 2
    if axes not in (2, 3) or grid.ndim != input.ndim or grid.shape[0] != input.shape[0] or grid.shape[-1] != axes or \
            min(input.shape[1:]) < 1:
        raise ValueError(f"grid_sample: input {tuple(input.shape)}, grid {tuple(grid.shape)}: (N, C, H, W) and (N, h, w, 2), "
                         "or (N, C, D, H, W) and (N, d, h, w, 3), not empty, expected")
    if mode not in ("bilinear", "nearest", "bicubic") or padding_mode not in ("zeros", "border", "reflection") or \
            (mode == "bicubic" and axes == 3):
        raise ValueError(f"grid_sample: mode={mode!r}, padding_mode={padding_mode!r}: 'bilinear', 'nearest' or, for images, "
                         "'bicubic', and 'zeros', 'border' or 'reflection' expected")
    if input.dtype != grid.dtype:
        raise TypeError(f"grid_sample: input {input.dtype}, grid {grid.dtype}: one dtype expected")
    n, c, *sizes = input.shape
    pixels = reshape(permute_dims(input, (0, *range(2, axes + 2), 1)), (-1, c))  # channels last: each place reads a row
    images = wrap(np.arange(n, like=input.array).reshape((n,) + (1,) * axes))
    lines = [neighbours(grid[..., axes - 1 - i], size, mode, padding_mode, align_corners) for i, size in enumerate(sizes)]
    total = 0
    for taps in product(*lines):
        row, weight = images, 1
        for (place, share), size in zip(taps, sizes):
            row, weight = row * size + place, weight * share
        total = total + embedding(row, pixels) * expand_dims(weight, -1)
    return permute_dims(total, (0, axes + 1, *range(1, axes + 1)))


def neighbours(x, size, mode, padding_mode, align_corners):
    """(number of a pixel, its weight) for each neighbour along an axis of places x, from -1 to 1; weight 0 outside."""
    x = (x + 1) * ((size - 1) / 2) if align_corners else ((x + 1) * size - 1) / 2
    if mode == "bicubic":  # Keys's cubic with a = -3/4
        first = floor(x).detach()
        t = x - first
        s = 1 - t
        taps = ((-1, -0.75 * t * s * s), (0, (1.25 * t - 2.25) * t * t + 1),
                (1, (1.25 * s - 2.25) * s * s + 1), (2, -0.75 * s * t * t))
        taps = [(moved_inside(first + step, size, padding_mode, align_corners), weight) for step, weight in taps]
    else:
        x = moved_inside(x, size, padding_mode, align_corners)
        first = (round(x) if mode == "nearest" else floor(x)).detach()
        t = x - first
        taps = ((first, t * 0 + 1),) if mode == "nearest" else ((first, 1 - t), (first + 1, t))
    kept = [(place >= 0) & (place <= size - 1) for place, _ in taps]
    return [(where(inside, place, 0).astype("int64"), where(inside, weight, 0)) for inside, (place, weight) in zip(kept, taps)]


def moved_inside(x, size, padding_mode, align_corners):
    """Places, in pixels, with those outside of the image moved to the border, or mirrored at it as often as it takes."""
    if padding_mode == "zeros":
        return x
    if padding_mode == "reflection":
        low, span = (0.0, size - 1) if align_corners else (-0.5, size)
        if span == 0:
            return x * 0
        x = x - low
        x = where(x < 0, -x, x)
        turns = floor(x / span).detach()
        x = x - turns * span
        x = where(turns % 2 == 1, span - x, x) + low
    return where((x > 0) & (x < size - 1), x, clip(x, 0, size - 1).detach())


__all__ = ["affine_grid", "grid_sample"]
