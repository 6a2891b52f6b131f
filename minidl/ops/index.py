"""Reading, choosing and replacing elements."""
import numpy as np

from .. import kernels
from ..autograd import Tensor, op
from ..autograd.tensor import state, write_in_place
from ..kernels import large
from .aliases import aliased


@op
def where(condition, x1, x2):
    """x1 where the condition holds, x2 elsewhere. d/dx1 = condition, d/dx2 = not condition. Shapes broadcast."""
    return kernels.where(condition, x1, x2) if large(condition, x1, x2) else np.where(condition, x1, x2)


@where.vjp(complex=True)
def where_vjp(g, condition, need):
    return None, where(condition, g, 0) if need[1] else None, where(condition, 0, g) if need[2] else None


def masked_fill(x, mask, value):
    """x with `value`, a number or a tensor, where the mask holds, in x's dtype. d/dx = not mask. Shapes broadcast."""
    y = where(mask, value, x)
    return y if y.dtype == x.dtype else y.astype(x.dtype)


def getitem(x, key):
    """x[key] by NumPy's rules: ints, slices, None and ... give a view; arrays of ints or booleans give a copy.

    d/dx: the gradient added up at the positions read. Raises IndexError out of bounds.
    """
    if type(key) is int or type(key) is slice:
        return view(x, key)
    key = _plain(key)
    return view(x, key) if _is_basic(key) else index(x, key)


def setitem(x, key, value):
    """x[key] = value in place, by NumPy's rules, cast to x's dtype. Raises RuntimeError where the tape forbids it."""
    key = _plain(key)
    if isinstance(value, Tensor) and value._cell is x._cell and _is_basic(key) and same_memory(x.array[key], value.array):
        return  # the second half of x[key] += y: the view was changed, and x knows
    if state.recording and (x._requires_grad or (isinstance(value, Tensor) and value._requires_grad)):
        write_in_place(x, replace, key, value)
    else:
        x.array[key] = value.array if isinstance(value, Tensor) else value
        x._mark_changed()


def same_memory(x, y):
    """Whether two arrays are the same elements in the same places."""
    return type(x) is np.ndarray and x.shape == y.shape and x.strides == y.strides and x.dtype == y.dtype and \
        x.__array_interface__["data"] == y.__array_interface__["data"]


@op(view=True)
def view(x, key):
    """x[key] for ints, slices, None and `...`: shares memory. d/dx = 1 at the elements read. Shape: NumPy's rules."""
    return x[key]


@view.vjp(complex=True)
def view_vjp(g, x_shape, key):
    return place(g, key, x_shape)


@op
def index(x, key):
    """x[key] with arrays of ints or booleans among the key: a copy. d/dx: counts each read. Shape: NumPy's rules."""
    return x[key]


@index.vjp(complex=True)
def index_vjp(g, x_shape, key):
    return place(g, key, x_shape)


@op
def place(x, key, shape):
    """Zeros of `shape` to which x is added at [key]; repeated positions add up. d/dx = 1, read at key. Shape: `shape`."""
    y = np.zeros(shape, x.dtype, like=x)
    if _is_basic(key) or _is_mask(key):
        y[key] = x
    else:
        np.add.at(y, key, x)
    return y


@place.vjp(complex=True)
def place_vjp(g, key):
    return getitem(g, key)


@op
def replace(x, key, value):
    """A copy of x with `value` at [key]. d/dx = 0 there and 1 elsewhere, d/dvalue: read at key. Shape: x's."""
    y = x.copy()
    y[key] = value
    return y


@replace.vjp
def replace_vjp(g, key, value_shape, need):
    dx = replace(g, key, 0) if need[0] else None
    dvalue = None
    if need[2]:
        dvalue = getitem(g, key)
        if len(value_shape) > dvalue.ndim:  # NumPy drops a value's leading ones
            dvalue = dvalue.reshape((1,) * (len(value_shape) - dvalue.ndim) + dvalue.shape)
    return dx, None, dvalue


@op
def assign(x, value):
    """`value` broadcast to x's shape, in x's dtype: what x.copy_(value) writes. d/dx = 0, d/dvalue = 1. Shape: x's."""
    y = np.empty_like(x)
    y[...] = value
    return y


@assign.vjp
def assign_vjp(g, need):
    from .creation import zeros_like
    return zeros_like(g) if need[0] else None, g if need[1] else None


@aliased
def take(x, indices, axis=None):
    """The entries of x at `indices` along an axis; without axis, of x flattened. d/dx: counts each entry taken.

    Shape: x's with `axis` replaced by the shape of `indices`.
    """
    if axis is None:
        return getitem(x.reshape(-1), indices)
    return getitem(x, (slice(None),) * normal_axis("take", axis, x.ndim) + (indices,))


@op
def take_along_axis(x, indices, axis=-1):
    """x[..., indices[..., j], ...]: for each position along `axis` the index says which entry of the same line.

    d/dx: counts each entry taken. Shapes: x and indices broadcast except along axis; result as indices.
    """
    return np.take_along_axis(x, indices, axis)


@take_along_axis.vjp
def take_along_axis_vjp(g, x_shape, indices, axis):
    return place_along_axis(g, indices, axis, x_shape)


@op
def place_along_axis(x, indices, axis, shape):
    """Zeros of `shape` to which x is added at `indices` along an axis. d/dx = 1, read there. Shape: `shape`."""
    y = np.zeros(shape, x.dtype, like=x)
    axis = axis % len(shape)
    key = [0 if n == 1 else np.arange(n, like=x).reshape((n,) + (1,) * (len(shape) - 1 - i)) for i, n in enumerate(shape)]
    key[axis] = indices
    np.add.at(y, tuple(key), x)
    return y


@place_along_axis.vjp
def place_along_axis_vjp(g, indices, axis):
    return take_along_axis(g, indices, axis)


@aliased
def gather(x, axis, index):
    """y[i][j][k] = x[index[i][j][k]][j][k] for axis 0, and so on, as in PyTorch. d/dx: counts each entry taken.

    Shapes: index has x's number of axes, none longer than x's but `axis`; result as index.
    """
    axis = normal_axis("gather", axis, x.ndim)
    if index.ndim != x.ndim or any(m > n for i, (m, n) in enumerate(zip(index.shape, x.shape)) if i != axis):
        raise ValueError(f"gather: x {x.shape}, index {index.shape}: as many axes, none longer but axis {axis} expected")
    lines = getitem(x, tuple(slice(None) if i == axis else slice(n) for i, n in enumerate(index.shape)))
    return take_along_axis(lines, index, axis)


@op
def nonzero(x):
    """One index array per axis with the positions of the elements that are not 0; no derivative: integers."""
    if x.ndim == 0:
        raise ValueError("nonzero: a 0-d tensor: one axis or more expected")
    return tuple(np.nonzero(x))


@op
def tril(x, k=0):
    """The entries on and below the k-th diagonal of each matrix, 0 above. d/dx: the same of g. Shape: (..., M, N), kept."""
    return np.tril(_matrix("tril", x), k)


@tril.vjp
def tril_vjp(g, k):
    return tril(g, k)


@op
def triu(x, k=0):
    """The entries on and above the k-th diagonal of each matrix, 0 below. d/dx: the same of g. Shape: (..., M, N), kept."""
    return np.triu(_matrix("triu", x), k)


@triu.vjp
def triu_vjp(g, k):
    return triu(g, k)


@op
def diagonal(x, offset=0, axis1=0, axis2=1):
    """The diagonal of each matrix over two axes. d/dx = 1 on it. Shape: the other axes, then the diagonal's length."""
    return np.diagonal(x, offset, axis1, axis2).copy()


@diagonal.vjp(complex=True)
def diagonal_vjp(g, x_shape, offset, axis1, axis2):
    return place_diagonal(g, x_shape, offset, axis1, axis2)


@op
def place_diagonal(x, shape, offset, axis1, axis2):
    """Zeros of `shape` with x on the diagonal of each matrix over two axes. d/dx = 1, read there. Shape: `shape`."""
    y = np.zeros(shape, x.dtype, like=x)
    matrices = np.moveaxis(y, (axis1, axis2), (-2, -1))
    i = np.arange(x.shape[-1], like=x)
    matrices[..., i + max(-offset, 0), i + max(offset, 0)] = x
    return y


@place_diagonal.vjp(complex=True)
def place_diagonal_vjp(g, offset, axis1, axis2):
    return diagonal(g, offset, axis1, axis2)


def _plain(key):
    """A key with arrays in place of tensors."""
    if isinstance(key, Tensor):
        key = key.array
        return key if key.ndim or key.dtype.kind == "b" else key.item()
    if type(key) is tuple:
        return tuple(_plain(k) for k in key)
    return np.asarray(_listed(key), dtype=None if key else np.int64) if type(key) is list else key


def _listed(key):
    return [_listed(k) if type(k) is list else k.item() if isinstance(k, Tensor) else k for k in key]


def _is_basic(key):
    return all(k is None or k is Ellipsis or (isinstance(k, (slice, int, np.integer)) and not isinstance(k, bool))
               for k in (key if type(key) is tuple else (key,)))


def _is_mask(key):
    """A single boolean array: it reads no position twice."""
    return getattr(getattr(key, "dtype", None), "kind", "") == "b"


def _matrix(name, x):
    if x.ndim < 2:
        raise ValueError(f"{name}: shape {x.shape}: two axes or more expected")
    return x


def normal_axis(name, axis, ndim):
    """A non-negative axis. Raises IndexError for one that is not there."""
    if not -ndim <= axis < ndim:
        raise IndexError(f"{name}: axis {axis}: between {-ndim} and {ndim - 1} expected for {ndim} axes")
    return axis % ndim
