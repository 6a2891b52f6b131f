"""Changes in place through views: the tape of the tensor that owns the memory learns of them.

After y[0] *= 2 on the tape, y is what it was, but for the places of y[0], which are the new values of that view. So y gets a
node of its own that passes the gradient of these places on to the view and the rest of it to what y was before.
"""
import numpy as np
from numpy.lib.array_utils import byte_bounds
from numpy.lib.stride_tricks import as_strided

from .node import Node
from .tensor import wrap


def of_leaf(view):
    """Whether a view on the tape is one of a leaf, by way of views alone."""
    owner, node = view._cell.owner(), view._node
    if owner is not None and owner._node is None and owner._requires_grad:
        return True
    while isinstance(node, Node):
        if not getattr(node.rule, "view", False):
            return False
        node = node.edges[0].source
    return node._cell is view._cell  # else one of the operations made a copy


def owner_of(view):
    """The tensor whose memory the view shows and the edge to it as it is now, if it is there and its tape is to learn of a
    change; else None."""
    view._edge()  # raises for a view that is stale itself
    owner = view._cell.owner()
    if owner is None or owner is view or owner._node is None or owner._tracked != owner._cell.recorded:
        return None  # the last: a tensor that has become stale by a change before stays so
    return owner, owner._edge()


def written_through(owner, before, view):
    """Puts the change of a view, which has been made and recorded, into the tape of the owner of its memory.

    before: the edge to the owner before the change.
    """
    places = places_in(owner.array, view.array)
    outside = np.ones(owner.array.size, owner.dtype)
    outside[places.ravel()] = 0
    outside = outside.reshape(owner.shape)

    def rule(node, gradients):
        g = gradients[0]
        return g * wrap(outside), g.reshape(-1)[wrap(places)]

    node = Node("written through a view", rule, [before, view._edge()])
    owner._node, owner._index, owner._tracked = node, 0, owner._cell.recorded


def places_in(array, part):
    """For each element of a part of an array's memory, its number in the array, counted in the order of the array's axes."""
    size = array.itemsize
    low, high = byte_bounds(array)
    numbers = np.empty((high - low) // size, np.int64)

    def laid_out(x):
        start = (x.__array_interface__["data"][0] - low) // size
        return as_strided(numbers[start:], x.shape, [stride // size * 8 for stride in x.strides])

    laid_out(array)[...] = np.arange(array.size).reshape(array.shape)
    return laid_out(part).copy()
