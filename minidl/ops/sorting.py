"""Order: sorting, the largest few, distinct values, positions in a sorted line."""
from collections import namedtuple

import numpy as np

from ..autograd import op
from ..autograd.tensor import wrap
from .aliases import aliased
from .index import getitem, take_along_axis

UniqueAll = namedtuple("UniqueAll", "values indices inverse_indices counts")
UniqueCounts = namedtuple("UniqueCounts", "values counts")
UniqueInverse = namedtuple("UniqueInverse", "values inverse_indices")
TopK = namedtuple("TopK", "values indices")


@op
def argsort(x, axis=-1, descending=False, stable=True):
    """The positions along an axis in the order of their values; no derivative: integers. Shape: kept."""
    return _order(x, axis, descending)


def _order(x, axis, descending):
    """Equal values keep their order, NaN counts as the largest."""
    if not descending:
        return np.argsort(x, axis=axis, kind="stable")
    order = np.flip(np.argsort(np.flip(x, axis), axis=axis, kind="stable"), axis)
    return x.shape[axis] - 1 - order


@op
def sort(x, axis=-1, descending=False, stable=True):
    """The values along an axis in order, NaN as the largest. d/dx: g taken back to where each stood. Shape: kept."""
    if descending:
        return np.flip(np.sort(x, axis=axis, kind="stable"), axis)
    return np.sort(x, axis=axis, kind="stable")


@sort.vjp
def sort_vjp(g, x, axis, descending):
    return take_along_axis(g, argsort(argsort(x, axis, descending), axis), axis)


@aliased
def topk(x, k, axis=-1, largest=True, sorted=True):
    """The k largest (or smallest) values along an axis and their positions, in order: (values, indices).

    d/dx: g where the values stood. Shapes: x's with k at axis. Raises ValueError for more than there are.
    """
    if not 0 <= k <= x.shape[axis]:
        raise ValueError(f"topk: k={k}: between 0 and the axis' {x.shape[axis]} expected")
    order = argsort(x, axis, largest)
    indices = getitem(order, (slice(None),) * (axis % x.ndim) + (slice(0, k),))
    return TopK(take_along_axis(x, indices, axis), indices)


@op
def searchsorted(x1, x2, side="left", sorter=None):
    """Where each of x2 would go into the sorted vector x1; no derivative: integers. Shape: x2's.

    side: 'left' before equal values, 'right' after them. sorter: positions that sort x1.
    """
    return np.searchsorted(x1, x2, side=side, sorter=sorter)


@op
def unique_values(x):
    """The distinct values, sorted, every NaN one of its own; no derivative: how many there are depends on the values.

    Shape: (count,).
    """
    return np.unique(x, equal_nan=False)


def unique_all(x):
    """The distinct values sorted, where each first stands, which one each element is, how often each occurs; no derivative."""
    return UniqueAll(*map(wrap, np.unique_all(_array(x))))


def unique_counts(x):
    """The distinct values sorted, and how often each occurs; no derivative."""
    return UniqueCounts(*map(wrap, np.unique_counts(_array(x))))


def unique_inverse(x):
    """The distinct values sorted, and which one each element is; no derivative."""
    return UniqueInverse(*map(wrap, np.unique_inverse(_array(x))))


def unique(x, return_inverse=False, return_counts=False):
    """The distinct values, sorted; with return_inverse and return_counts a tuple with these too, as in PyTorch."""
    if not (return_inverse or return_counts):
        return unique_values(x)
    found = unique_all(x)
    return (found.values, *([found.inverse_indices] if return_inverse else []), *([found.counts] if return_counts else []))


def _array(x):
    return getattr(x, "array", x)
