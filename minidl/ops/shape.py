"""Operations that move elements and change none. Axes may be negative."""
import math

import numpy as np

from .. import kernels
from ..autograd import op
from ..autograd.engine import sum_to
from .aliases import aliased
from .index import getitem, normal_axis, place


@op(view=True)
def reshape(x, shape, copy=None):
    """The elements in C order under another shape; one size may be -1. d/dx = 1. Shape: `shape`.

    copy: True always copies, False raises ValueError where a copy would be needed.
    """
    if copy is None:
        return x.reshape(shape)
    return np.reshape(x, shape, copy=copy)


@reshape.vjp(complex=True)
def reshape_vjp(g, x_shape):
    return reshape(g, x_shape)


@op(view=True)
def permute_dims(x, axes):
    """The axes in another order. d/dx = 1. Shape: x.shape[axes[0]], x.shape[axes[1]], ..."""
    return x.transpose(axes)


@permute_dims.vjp(complex=True)
def permute_dims_vjp(g, axes):
    back = [0] * len(axes)
    for i, a in enumerate(axes):
        back[a] = i
    return permute_dims(g, tuple(back))


@op(view=True)
def broadcast_to(x, shape):
    """x repeated along new or length-one axes, without a copy; read-only. d/dx = 1, summed by the engine. Shape: `shape`."""
    return kernels.broadcast_to(x, shape)


@broadcast_to.vjp(complex=True)
def broadcast_to_vjp(g, x_shape):
    return sum_to(g, x_shape)


def broadcast_arrays(*arrays):
    """A list of the tensors, each broadcast to the shape that all have in common. d/dx = 1, summed."""
    shape = np.broadcast_shapes(*[x.shape for x in arrays])
    return [broadcast_to(x, shape) for x in arrays]


@op(view=True)
def expand_dims(x, axis=0):
    """Axes of length one put in at `axis`, an int or a tuple. d/dx = 1. Shape: x's with ones."""
    return np.expand_dims(x, axis)


@expand_dims.vjp(complex=True)
def expand_dims_vjp(g, x_shape):
    return reshape(g, x_shape)


@op(view=True)
def squeeze(x, axis=None):
    """Axes of length one taken out: those of `axis`, an int or a tuple, or all. d/dx = 1. Shape: x's without them.

    Raises ValueError for an axis that is longer.
    """
    return np.squeeze(x, axis)


@squeeze.vjp(complex=True)
def squeeze_vjp(g, x_shape):
    return reshape(g, x_shape)


def flatten(x, start_dim=0, end_dim=-1):
    """The axes from start_dim to end_dim as one. d/dx = 1. Shape: (..., their product, ...)."""
    if x.ndim == 0:
        return reshape(x, (1,))
    first, last = (normal_axis("flatten", a, x.ndim) for a in (start_dim, end_dim))
    if first > last:
        raise ValueError(f"flatten: start_dim={start_dim}, end_dim={end_dim}: start_dim must not come after end_dim")
    return reshape(x, x.shape[:first] + (math.prod(x.shape[first:last + 1]),) + x.shape[last + 1:])


def ravel(x):
    """All elements in one axis, in C order. d/dx = 1. Shape: (size,)."""
    return reshape(x, (-1,))


def moveaxis(x, source, destination):
    """Axes moved to new places, the others in their order. d/dx = 1."""
    source, destination = ([normal_axis("moveaxis", a, x.ndim) for a in (axes if isinstance(axes, (tuple, list)) else (axes,))]
                           for axes in (source, destination))
    if len(source) != len(destination) or len(set(source)) != len(source) or len(set(destination)) != len(destination):
        raise ValueError(f"moveaxis: source {source}, destination {destination}: as many, none twice, expected")
    order = [a for a in range(x.ndim) if a not in source]
    for to, a in sorted(zip(destination, source)):
        order.insert(to, a)
    return permute_dims(x, tuple(order))


def swapaxes(x, axis1, axis2):
    """Two axes exchanged. d/dx = 1."""
    axes = list(range(x.ndim))
    axes[axis1], axes[axis2] = axes[axis2], axes[axis1]
    return permute_dims(x, tuple(axes))


transpose = swapaxes  # PyTorch's transpose; NumPy's is permute_dims


@op
def concatenate(*arrays, axis=0):
    """The arrays one after the other along an axis. d/darrays: the gradient's parts. Shape: the sum of sizes at axis."""
    return np.concatenate(arrays, axis)


@concatenate.vjp(complex=True)
def concatenate_vjp(g, arrays_shape, axis, need):
    parts, start, lead = [], 0, (slice(None),) * (axis % g.ndim)
    for shape, wanted in zip(arrays_shape, need):
        stop = start + shape[axis]
        parts.append(getitem(g, (*lead, slice(start, stop))) if wanted else None)
        start = stop
    return tuple(parts)


@aliased
def concat(arrays, axis=0):
    """The tensors of a sequence one after the other along an axis; with axis=None, each flattened first.

    d/dx: the gradient's parts. Shapes: alike except at axis; the result has the sum there.
    """
    arrays = list(arrays)
    if not arrays:
        raise ValueError("concat: an empty sequence: one tensor or more expected")
    if axis is None:
        arrays, axis = [reshape(x, (-1,)) for x in arrays], 0
    return concatenate(*arrays, axis=axis)


cat = concat


@aliased
def stack(arrays, axis=0):
    """The tensors of a sequence along a new axis. d/dx: the gradient's parts. Shapes: all alike; a new size at axis."""
    return concat([expand_dims(x, axis) for x in arrays], axis)


@op(view=True)
def split_at(x, bounds, axis):
    """The parts of x between `bounds` along an axis. d/dx = 1. Shapes: x's with the part's size at axis."""
    lead = (slice(None),) * (axis % x.ndim)
    return tuple(x[(*lead, slice(start, stop))] for start, stop in bounds)


@split_at.vjp(complex=True)
def split_at_vjp(g, x_shape, bounds, axis):
    g = g if type(g) is tuple else (g,)
    if all(part is not None for part in g):
        return rejoin(*g, axis=axis)
    lead, total = (slice(None),) * (axis % len(x_shape)), None
    for part, (start, stop) in zip(g, bounds):
        if part is not None:
            placed = place(part, (*lead, slice(start, stop)), x_shape)
            total = placed if total is None else total + placed
    return total


@op
def rejoin(*arrays, axis=0):
    """concatenate of the parts of a split, without a copy where they are neighbours in memory. d/darrays: the parts of g."""
    whole = getattr(arrays[0], "base", None)
    size = sum(x.shape[axis] for x in arrays)
    shape = arrays[0].shape[:axis % arrays[0].ndim] + (size,) + arrays[0].shape[axis % arrays[0].ndim + 1:]
    if type(whole) is np.ndarray and whole.flags.c_contiguous and whole.size == math.prod(shape):
        whole, start, lead = whole.reshape(shape), 0, (slice(None),) * (axis % arrays[0].ndim)
        for x in arrays:
            part = whole[(*lead, slice(start, start + x.shape[axis]))]
            if x.strides != part.strides or x.__array_interface__["data"] != part.__array_interface__["data"]:
                break
            start += x.shape[axis]
        else:
            return whole
    return np.concatenate(arrays, axis)


@rejoin.vjp(complex=True)
def rejoin_vjp(g, arrays_shape, axis, need):
    return concatenate_vjp(g, arrays_shape, axis, need)


@aliased
def split(x, split_size_or_sections, axis=0):
    """Parts along an axis: of one size, the last one smaller if need be, or of a list of sizes. d/dx = 1. A tuple."""
    n, sizes = x.shape[axis], split_size_or_sections
    if isinstance(sizes, (tuple, list)):
        if sum(sizes) != n:
            raise ValueError(f"split: sizes {list(sizes)} sum to {sum(sizes)}: the axis has {n}")
    elif sizes < 1:
        raise ValueError(f"split: size {sizes}: at least 1 expected")
    else:
        sizes = [min(sizes, n - i) for i in range(0, n, sizes)] or [0]
    bounds, start = [], 0
    for size in sizes:
        bounds.append((start, start + size))
        start += size
    return split_at(x, bounds, axis)


@aliased
def chunk(x, chunks, axis=0):
    """At most `chunks` parts of equal size along an axis, the last one smaller if need be. d/dx = 1. A tuple."""
    if chunks < 1:
        raise ValueError(f"chunk: chunks={chunks}: at least 1 expected")
    return split(x, max(1, -(-x.shape[axis] // chunks)), axis)


@aliased
def unstack(x, axis=0):
    """The slices along an axis as a tuple. d/dx = 1. Shapes: x's without the axis."""
    if x.shape[axis] == 0:
        return ()
    return tuple(squeeze(part, axis) for part in split(x, 1, axis))


def tile(x, repetitions):
    """x laid side by side, repetitions[i] times along axis i; shorter shapes get leading ones. d/dx = 1, summed."""
    repetitions = tuple(repetitions)
    n = max(x.ndim, len(repetitions))
    shape = (1,) * (n - x.ndim) + x.shape
    repetitions = (1,) * (n - len(repetitions)) + repetitions
    paired = broadcast_to(reshape(x, tuple(k for size in shape for k in (1, size))),
                          tuple(k for pair in zip(repetitions, shape) for k in pair))
    return reshape(paired, tuple(r * size for r, size in zip(repetitions, shape)))


@aliased
def repeat(x, repeats, axis=None):
    """Each entry along an axis `repeats` times, an int or one per entry; axis=None flattens. d/dx = 1, summed."""
    if axis is None:
        x, axis = reshape(x, (-1,)), 0
    axis = normal_axis("repeat", axis, x.ndim)
    if isinstance(repeats, int):
        before, after = x.shape[:axis + 1], x.shape[axis + 1:]
        wide = broadcast_to(expand_dims(x, axis + 1), (*before, repeats, *after))
        return reshape(wide, (*before[:-1], before[-1] * repeats, *after))
    counts = getattr(repeats, "array", repeats)
    return getitem(x, (slice(None),) * axis + (np.repeat(_positions(x, x.shape[axis]), counts),))


@op(view=True)
def flip(x, axis=None):
    """The order reversed along `axis`, an int or a tuple, or along all. d/dx: flipped back. Shape: kept."""
    return np.flip(x, axis)


@flip.vjp(complex=True)
def flip_vjp(g, axis):
    return flip(g, axis)


@op
def roll(x, shift, axis=None):
    """Elements moved by `shift` along `axis`, those falling off coming in again; None: flattened. d/dx: back. Shape: kept."""
    return np.roll(x, shift, axis)


@roll.vjp(complex=True)
def roll_vjp(g, shift, axis):
    return roll(g, tuple(-s for s in shift) if isinstance(shift, (tuple, list)) else -shift, axis)


def pad(x, pad_width, mode="constant", constant_values=0):
    """x with a border. pad_width: one int, one (before, after), or one such pair per axis.

    mode: 'constant', or a border of x's own values: 'edge', 'reflect', 'symmetric', 'wrap', as in NumPy. d/dx: for a constant
    border the inside of g, else summed over where a value was repeated. Shape: each axis longer by its pair.
    """
    widths = _pairs(pad_width, x.ndim)
    if any(n < 0 for pair in widths for n in pair):
        raise ValueError(f"pad: pad_width={pad_width}: widths of 0 or more expected")
    if mode == "constant":
        return pad_constant(x, widths, constant_values)
    for axis, (pair, n) in enumerate(zip(widths, x.shape)):
        if pair != (0, 0):
            x = getitem(x, (slice(None),) * axis + (np.pad(_positions(x, n), pair, mode),))
    return x


@op
def pad_constant(x, widths, value=0):
    """x inside a border of one value. d/dx: the inside of g. Shape: each axis longer by its pair of `widths`."""
    y = np.empty_like(x, shape=tuple(n + a + b for n, (a, b) in zip(x.shape, widths)))
    y[...] = value
    y[tuple(slice(a, a + n) for n, (a, _) in zip(x.shape, widths))] = x
    return y


@pad_constant.vjp(complex=True)
def pad_constant_vjp(g, x_shape, widths):
    return getitem(g, tuple(slice(a, a + n) for n, (a, _) in zip(x_shape, widths)))


def _positions(x, n):
    return np.arange(n, like=getattr(x, "array", x))


def _pairs(width, ndim):
    if isinstance(width, int):
        return ((width, width),) * ndim
    width = tuple(width)
    if len(width) == 2 and all(isinstance(n, int) for n in width):
        return (width,) * ndim
    if len(width) != ndim:
        raise ValueError(f"pad: pad_width={width}: one pair for each of {ndim} axes expected")
    return tuple(tuple(pair) if isinstance(pair, (tuple, list)) else (pair, pair) for pair in width)
