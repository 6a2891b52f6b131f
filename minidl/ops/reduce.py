"""Sums and other reductions over axes, as in the array API: `axis` may be negative, a tuple or None for all."""
import math

import numpy as np

from .. import kernels
from ..autograd import op
from ..kernels import large, plain
from .aliases import aliased
from .creation import ones_like
from .elementwise import as_float, exp
from .index import getitem, normal_axis, where
from .shape import broadcast_to, concat, expand_dims, flip, moveaxis, reshape


@op
def sum(x, axis=None, dtype=None, keepdims=False):
    """The sum over `axis`. d/dx = 1. Shape: x's without the axes, or with ones for them under keepdims."""
    if dtype is None and plain(x):
        return kernels.sum(x, axis, keepdims)
    return np.sum(x, axis=axis, dtype=dtype, keepdims=keepdims)


@sum.vjp(complex=True)
def sum_vjp(g, x_shape, axis, keepdims):
    return spread(g, x_shape, axis, keepdims)


@op
def sum_squares(x, axis=None, keepdims=False):
    """The sum of squares over `axis`. d/dx = 2 x. Shape: as for sum."""
    return kernels.sum_squares(x, axis, keepdims) if large(x) else np.sum(np.square(x), axis=axis, keepdims=keepdims)


@sum_squares.vjp
def sum_squares_vjp(g, x, axis, keepdims):
    return spread(2 * g, x.shape, axis, keepdims) * x


@op
def euclidean(x, axis=None, keepdims=False):
    """The square root of the sum of squares over `axis`. d/dx = x / y, and 0 where y is 0. Shape: as for sum."""
    return np.sqrt(kernels.sum_squares(x, axis, keepdims) if large(x) else np.sum(np.square(x), axis=axis, keepdims=keepdims))


@euclidean.vjp
def euclidean_vjp(g, y, x, axis, keepdims):
    return spread(g / where(y == 0, 1.0, y), x.shape, axis, keepdims) * x


@op
def mean(x, axis=None, keepdims=False):
    """The arithmetic mean over `axis`; integers give float32. d/dx = 1 / count. Shape: as for sum."""
    return kernels.mean(x, axis, keepdims) if plain(x) else np.mean(as_float(x), axis=axis, keepdims=keepdims)


@mean.vjp(complex=True)
def mean_vjp(g, x_shape, axis, keepdims):
    return spread(g, x_shape, axis, keepdims, 1 / _count(x_shape, axis))


@op
def prod(x, axis=None, dtype=None, keepdims=False):
    """The product over `axis`. d/dx_i = the product of the others, zeros among them too. Shape: as for sum."""
    return np.prod(x, axis=axis, dtype=dtype, keepdims=keepdims)


@prod.vjp
def prod_vjp(g, y, x, axis, keepdims):
    g = spread(g, x.shape, axis, keepdims)
    if not _has_zero(x):
        return g * spread(y, x.shape, axis, keepdims) / x
    axes = _axes(axis, x.ndim)
    kept = tuple(a for a in range(x.ndim) if a not in axes)
    order = kept + axes
    last = x.permute_dims(order)
    lines = reshape(last, tuple(x.shape[a] for a in kept) + (math.prod(x.shape[a] for a in axes),))
    others = _product_before(lines) * flip(_product_before(flip(lines, -1)), -1)
    back = sorted(range(x.ndim), key=order.__getitem__)
    return g * reshape(others, last.shape).permute_dims(tuple(back))


@op
def var(x, axis=None, correction=0.0, keepdims=False):
    """The variance over `axis`, over count - correction. d/dx = 2 (x - mean) / (count - correction). Shape: as for sum."""
    if large(x):
        return kernels.var(x, axis, correction, keepdims)
    return np.var(as_float(x), axis=axis, ddof=correction, keepdims=keepdims)


@var.vjp
def var_vjp(g, x, axis, correction, keepdims):
    scale = 2 / (_count(x.shape, axis) - correction)
    return spread(g * scale, x.shape, axis, keepdims) * (x - mean(x, axis, True))


@op
def std(x, axis=None, correction=0.0, keepdims=False):
    """The square root of the variance over `axis`. d/dx = (x - mean) / ((count - correction) std). Shape: as for sum."""
    if large(x):
        return np.sqrt(kernels.var(x, axis, correction, keepdims))
    return np.std(as_float(x), axis=axis, ddof=correction, keepdims=keepdims)


@std.vjp
def std_vjp(g, y, x, axis, correction, keepdims):
    scale = g / (y * (_count(x.shape, axis) - correction))
    return spread(scale, x.shape, axis, keepdims) * (x - mean(x, axis, True))


@op
def max(x, axis=None, keepdims=False):
    """The largest value over `axis`; NaN where one is. d/dx: shared equally by those that reach it. Shape: as for sum."""
    return kernels.max(x, axis, keepdims) if large(x) else np.max(x, axis=axis, keepdims=keepdims)


@max.vjp
def max_vjp(g, y, x, axis, keepdims):
    return _shared(g, y, x, axis, keepdims)


@op
def min(x, axis=None, keepdims=False):
    """The smallest value over `axis`; NaN where one is. d/dx: shared equally by those that reach it. Shape: as for sum."""
    return kernels.min(x, axis, keepdims) if large(x) else np.min(x, axis=axis, keepdims=keepdims)


@min.vjp
def min_vjp(g, y, x, axis, keepdims):
    return _shared(g, y, x, axis, keepdims)


@op
def logsumexp(x, axis=None, keepdims=False):
    """log(sum(exp(x))) over `axis` without overflow. d/dx = exp(x - y). Shape: as for sum."""
    if large(x):
        return kernels.logsumexp(x, axis, keepdims)
    x = as_float(x)
    top = np.max(x, axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    with np.errstate(divide="ignore"):  # log(0) where all are -inf
        y = np.log(np.sum(np.exp(x - top), axis=axis, keepdims=True)) + top
    return y if keepdims else np.squeeze(y, _axes(axis, x.ndim))


@logsumexp.vjp
def logsumexp_vjp(g, y, x, axis, keepdims):
    y = spread(y, x.shape, axis, keepdims)
    same = x == y  # infinities among them, whose difference would be NaN
    return spread(g, x.shape, axis, keepdims) * exp(where(same, 0, x) - where(same, 0, y))


@op
def cumulative_sum(x, axis=None, dtype=None, include_initial=False):
    """The sums of the first 1, 2, ... entries along an axis; include_initial puts the empty sum before them.

    d/dx_i: the sum of the gradients from i on. Shape: x's, one longer at axis with include_initial.
    """
    axis = _line("cumulative_sum", x, axis)
    y = np.cumsum(x, axis=axis, dtype=dtype)
    return _with_initial(y, 0, axis) if include_initial else y


@cumulative_sum.vjp
def cumulative_sum_vjp(g, x_shape, axis, include_initial):
    axis = 0 if axis is None else axis
    if include_initial:
        g = _after_first(g, axis)
    return flip(cumulative_sum(flip(g, axis), axis), axis)


@op
def cumulative_prod(x, axis=None, dtype=None, include_initial=False):
    """The products of the first 1, 2, ... entries along an axis; include_initial puts the empty product, 1, before them.

    d/dx_i: the sum over j >= i of g_j y_j / x_i, zeros handled too. Shape: x's, one longer at axis with include_initial.
    """
    axis = _line("cumulative_prod", x, axis)
    y = np.cumprod(x, axis=axis, dtype=dtype)
    return _with_initial(y, 1, axis) if include_initial else y


@cumulative_prod.vjp
def cumulative_prod_vjp(g, y, x, axis, include_initial):
    axis = 0 if axis is None else axis % x.ndim
    if include_initial:
        g, y = _after_first(g, axis), _after_first(y, axis)
    if not _has_zero(x):
        return flip(cumulative_sum(flip(g * y, axis), axis), axis) / x
    # Row j of a square holds x_0 ... x_j and then ones: y_j is its product, and prod's rule stands zeros.
    g, line = moveaxis(g, axis, -1), moveaxis(x, axis, -1)
    n = line.shape[-1]
    inside = np.tril(np.ones((n, n), bool)) if isinstance(line.array, np.ndarray) else \
        np.tril(np.ones((n, n), bool, like=line.array))
    square = where(inside, broadcast_to(expand_dims(line, -2), (*line.shape, n)), 1)
    others = prod_vjp(broadcast_to(reshape(ones_like(g), g.shape), g.shape), prod(square, -1), square, -1, False)
    dx = sum(where(inside, expand_dims(g, -1) * others, 0), -2)
    return moveaxis(dx, -1, axis)


@op
def any(x, axis=None, keepdims=False):
    """Whether any element over `axis` holds (is not 0); no derivative: the result is boolean. Shape: as for sum."""
    return np.any(x, axis=axis, keepdims=keepdims)


@op
def all(x, axis=None, keepdims=False):
    """Whether all elements over `axis` hold (are not 0); no derivative: the result is boolean. Shape: as for sum."""
    return np.all(x, axis=axis, keepdims=keepdims)


@op
def count_nonzero(x, axis=None, keepdims=False):
    """How many elements over `axis` are not 0; no derivative: integers. Shape: as for sum."""
    return np.sum(np.not_equal(x, 0), axis=axis, keepdims=keepdims)


@op
def argmax(x, axis=None, keepdims=False):
    """Where along `axis` the largest value first stands, or in x flattened; no derivative: integers. Shape: as for sum."""
    return kernels.argmax(x, axis, keepdims) if large(x) else np.argmax(x, axis=axis, keepdims=keepdims)


@op
def argmin(x, axis=None, keepdims=False):
    """Where along `axis` the smallest value first stands, or in x flattened; no derivative: integers. Shape: as for sum."""
    return kernels.argmin(x, axis, keepdims) if large(x) else np.argmin(x, axis=axis, keepdims=keepdims)


@aliased
def diff(x, n=1, axis=-1, prepend=None, append=None):
    """The differences of neighbours along an axis, taken n times. d/dx: differences of g. Shape: x's, n less at axis.

    Raises ValueError for an n below 0.
    """
    if n < 0:
        raise ValueError(f"diff: n={n}: at least 0 expected")
    if prepend is not None or append is not None:
        x = concat([part for part in (prepend, x, append) if part is not None], axis)
    lead = (slice(None),) * normal_axis("diff", axis, x.ndim)
    for _ in range(n):
        x = getitem(x, (*lead, slice(1, None))) - getitem(x, (*lead, slice(None, -1)))
    return x


@aliased
def norm(x, ord=2, axis=None, keepdims=False):
    """The vector norm (sum |x|**ord)**(1 / ord) over `axis`; ord may be inf, and 'fro' is 2.

    d/dx = x |x|**(ord - 2) / y**(ord - 1). The gradient of the norm of zeros, which has no derivative there, is 0, as in
    PyTorch. Shape: as for sum.
    """
    from .arithmetic import abs, sign
    if ord == "fro":
        ord = 2
    if ord == math.inf:
        return max(abs(x), axis, keepdims)
    if ord == -math.inf:
        return min(abs(x), axis, keepdims)
    if ord == 0:
        return sum(abs(sign(x)), axis, None, keepdims)  # how many are not 0: the gradient of sign is 0
    if ord == 2:
        return euclidean(x, axis, keepdims)
    if ord == 1:
        return sum(abs(x), axis, None, keepdims)
    return power_norm(x, ord, axis, keepdims)


@op
def power_norm(x, ord, axis=None, keepdims=False):
    """(sum |x|**ord)**(1 / ord) over `axis`. d/dx = sign(x) (|x| / y)**(ord - 1), 0 where x or y is. Shape: as for sum."""
    with np.errstate(divide="ignore"):  # 0 to a power below 0
        return np.sum(np.abs(x) ** ord, axis=axis, keepdims=keepdims) ** (1 / ord)


@power_norm.vjp
def power_norm_vjp(g, y, x, ord, axis, keepdims):
    from .arithmetic import abs, sign
    y = spread(y, x.shape, axis, keepdims)
    smooth = (x != 0) & (y != 0)
    ratio = where(smooth, abs(x) / where(smooth, y, 1.0), 1.0)
    return spread(g, x.shape, axis, keepdims) * where(smooth, sign(x) * ratio ** (ord - 1), 0.0)


@op(view=True)
def spread(x, shape, axis, keepdims, factor=1):
    """factor times a reduction's result, or its gradient, broadcast back to the shape before the reduction; read-only.

    d/dx = factor, summed over the axes. Shape: `shape`.
    """
    if not keepdims and axis is not None:
        axes = _axes(axis, len(shape))
        x = x.reshape(tuple([1 if d in axes else n for d, n in enumerate(shape)]))
    return kernels.broadcast_to(x if factor == 1 else kernels.multiply(x, factor), shape)


@spread.vjp(complex=True)
def spread_vjp(g, axis, keepdims, factor):
    g = sum(g, axis, None, keepdims)
    return g if factor == 1 else g * factor


def _axes(axis, ndim):
    """The axes as a sorted tuple of non-negative numbers."""
    if axis is None or ndim == 0:
        return tuple(range(ndim))
    return tuple(sorted(a % ndim for a in axis)) if isinstance(axis, tuple) else (axis % ndim,)


def _count(shape, axis):
    """How many elements a reduction takes together."""
    return math.prod(shape) if axis is None else math.prod(shape[a] for a in _axes(axis, len(shape)))


def _shared(g, y, x, axis, keepdims):
    """g, shared equally by the elements of x that equal y."""
    reached = (x == spread(y, x.shape, axis, keepdims)).astype(g.dtype)
    return spread(g, x.shape, axis, keepdims) * (reached / sum(reached, axis, None, True))


def _has_zero(x):
    return bool((x == 0).any())


def _product_before(x):
    """For each entry of the last axis the product of those before it."""
    first = ones_like(getitem(x, (..., slice(0, 1))))
    return cumulative_prod(concat([first, getitem(x, (..., slice(0, -1)))], -1), -1)


def _line(name, x, axis):
    if axis is None and x.ndim > 1:
        raise ValueError(f"{name}: shape {x.shape}: axis expected for more than one axis")
    if x.ndim == 0:
        raise ValueError(f"{name}: a 0-d tensor: one axis or more expected")
    return 0 if axis is None else axis


def _with_initial(y, value, axis):
    shape = list(y.shape)
    shape[axis] = 1
    return np.concatenate([np.full_like(y, value, shape=tuple(shape)), y], axis)


def _after_first(x, axis):
    return getitem(x, (slice(None),) * (axis % x.ndim) + (slice(1, None),))
