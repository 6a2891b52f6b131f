"""Dropout (Srivastava et al., 2014) and alpha dropout (Klambauer et al., 2017)."""
import numpy as np

from .. import kernels
from ..autograd import op
from ..autograd.tensor import wrap


@op
def drop(x, p, seed, order=None):
    """x / (1 - p) where an element is kept, else 0, by the random bits of `seed`; d/dx: the same of g.

    order: the axes in the order in which the elements are numbered, None for C order. Shape: any, kept.
    """
    if order is None:
        return kernels.dropout(x, p, seed)
    return kernels.dropout(x.transpose(order), p, seed).transpose([order.index(i) for i in range(x.ndim)])


@drop.vjp
def drop_vjp(g, p, seed, order):
    return drop(g, p, seed, order)


def memory_order(x):
    """The axes of an array in the order of its memory, None for C order: dropout then walks and keeps the array's layout."""
    if type(x) is not np.ndarray or x.flags.c_contiguous:
        return None
    order = sorted(range(x.ndim), key=lambda i: -abs(x.strides[i]))
    return order if x.transpose(order).flags.c_contiguous else None


def dropout(input, p=0.5, training=True, axes=None):
    """In training, each value is 0 with probability p, else divided by 1 - p, so that the mean stays; otherwise input itself.

    axes: whole slices are dropped, one draw for each position along these axes: (0, 1) drops channels.
    The seed is drawn from minidl.random.default_generator. d/dx = 1 / (1 - p) where kept. Shape: any, kept.
    Raises ValueError unless 0 <= p <= 1.
    """
    from ..random import default_generator
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p={p!r}: a probability, 0 <= p <= 1, expected")
    if not training or p == 0:
        return input
    seed = default_generator.numpy.bit_generator.random_raw()
    array = getattr(input, "array", input)
    if axes is None:
        return drop(input, p, seed, memory_order(array))
    shape = tuple(n if i in axes else 1 for i, n in enumerate(input.shape))
    return input * wrap(np.asarray(kernels.dropout(np.ones(shape, input.dtype), p, seed), like=array))


SELU_LOW = -1.7580993408473766  # what SELU tends to at minus infinity


def alpha_dropout(input, p=0.5, training=True, axes=None):
    """In training, each value is SELU's lower limit with probability p, and then all are scaled and shifted so that mean 0 and
    variance 1 stay (Klambauer et al., "Self-normalizing neural networks", 2017); otherwise input itself.

    axes, and ValueError: as `dropout`; zeros for p = 1. d/dx = the scale where kept. Shape: any, kept.
    """
    if p == 1 and training:
        return input * 0.0
    if not training or p == 0:
        return input
    kept = dropout(input - SELU_LOW, p, True, axes)  # times 1 - p: x - low where kept, else 0
    scale = (1 + SELU_LOW**2 * p) ** -0.5 * (1 - p) ** -0.5
    return kept * ((1 - p) * scale) + (1 - p) * scale * SELU_LOW


__all__ = ["alpha_dropout", "dropout"]
