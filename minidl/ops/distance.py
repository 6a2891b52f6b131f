"""Lengths, distances and angles of vectors."""
import numpy as np

from ..autograd.tensor import wrap
from .aliases import aliased
from .arithmetic import clip
from .index import take
from .reduce import norm
from .shape import broadcast_arrays, expand_dims


@aliased
def normalize(input, p=2.0, axis=1, eps=1e-12):
    """input / max(norm of order p, eps) along an axis. Shape: kept."""
    return input / clip(norm(input, p, axis, True), eps, None)


@aliased
def pairwise_distance(x1, x2, p=2.0, eps=1e-6, keepdims=False):
    """The norm of order p of x1 - x2 + eps over the last axis. Shapes broadcast: (..., D) -> (...), (..., 1) with keepdims."""
    return norm(x1 - x2 + eps, p, -1, keepdims)


@aliased
def cosine_similarity(x1, x2, axis=1, eps=1e-8):
    """x1 . x2 / (max(|x1|, eps) max(|x2|, eps)) along an axis. Shapes broadcast; the result lacks the axis."""
    x1, x2 = broadcast_arrays(x1, x2)
    return (x1 / length(x1, axis, eps) * (x2 / length(x2, axis, eps))).sum(axis=axis)


def length(x, axis, eps):
    """The 2-norm along an axis, at least eps; where it is less, the gradient is the norm's."""
    y = norm(x, 2, axis, True)
    return y + (clip(y, eps, None) - y).detach()


def pdist(input, p=2.0):
    """The distances of order p between all pairs of rows: 0 and 1, 0 and 2, ..., 1 and 2, ... (N, D) -> (N (N - 1) / 2,).

    Raises ValueError for another number of axes and a p below 0.
    """
    if input.ndim != 2 or p < 0:
        raise ValueError(f"pdist: input {input.shape}, p={p}: (N, D) and at least 0 expected")
    first, second = (wrap(np.asarray(i.tolist(), np.int64, like=input.array)) for i in np.triu_indices(input.shape[0], 1))
    return norm(take(input, first, 0) - take(input, second, 0), p, -1)


def cdist(x1, x2, p=2.0):
    """The distances of order p of every row of x1 to every row of x2. Shapes: (..., N, D), (..., M, D) -> (..., N, M)."""
    return norm(expand_dims(x1, -2) - expand_dims(x2, -3), p, -1)


__all__ = ["cdist", "cosine_similarity", "normalize", "pairwise_distance", "pdist"]
