"""Matrix products, and what reduces to them."""
import math

import numpy as np
from numpy import ndarray

from .. import kernels
from ..autograd import op
from ..autograd.tensor import Fields
from ..autograd.waiting import wait
from . import joining
from .activation import relu_backward
from .aliases import aliased
from .elementwise import conj
from .index import normal_axis
from .reduce import sum
from .shape import broadcast_to, expand_dims, moveaxis, permute_dims, reshape


@op
def matmul(x1, x2):
    """Matrix product over the last two axes, leading axes broadcast; a vector is a row at the left, a column at the right.

    d/dx1 = g @ x2^T, d/dx2 = x1^T @ g. Shapes: (..., M, K) @ (..., K, N) -> (..., M, N).
    """
    if type(x1) is not ndarray or type(x2) is not ndarray:
        require_arrays("matmul", x1, x2)
    if x1.ndim >= 2 and x2.ndim >= 2:
        return kernels.matmul(x1, x2)
    if x1.ndim == 0 or x2.ndim == 0:
        raise ValueError(f"matmul: {x1.shape} @ {x2.shape}: one axis or more expected of each (use * for numbers)")
    left = x1[None, :] if x1.ndim == 1 else x1
    right = x2[:, None] if x2.ndim == 1 else x2
    y = kernels.matmul(left, right)
    if x2.ndim == 1:
        y = y[..., 0]
    return y[..., 0] if x1.ndim == x2.ndim == 1 else y[..., 0, :] if x1.ndim == 1 else y


@matmul.vjp(x1="x2", x2="x1")
def matmul_vjp(g, x1_shape, x2_shape, x1, x2, need):
    row, column = len(x1_shape) == 1, len(x2_shape) == 1
    if not (row or column):
        return matmul_nt(g, x2) if need[0] else None, matmul_tn(x1, g) if need[1] else None
    if row and column:
        return g * x2 if need[0] else None, g * x1 if need[1] else None
    g = g[..., None, :] if row else g[..., None]
    dx1 = matmul_nt(g, x2[:, None] if column else x2) if need[0] else None
    dx2 = matmul_tn(x1[None, :] if row else x1, g) if need[1] else None
    return dx1, dx2[..., 0] if column and need[1] else dx2


@matmul.complex_vjp(x1="x2", x2="x1")
def matmul_complex_vjp(g, x1_shape, x2_shape, x1, x2, need):
    return matmul_vjp(g, x1_shape, x2_shape, *conjugates(x1, x2, need), need)


def conjugates(x1, x2, need):
    """Of two factors the conjugates, where the other's gradient needs them."""
    return conj(x1) if need[1] else None, conj(x2) if need[0] else None


@op
def matmul_nt(x1, x2):
    """x1 @ x2^T over the last two axes. d/dx1 = g @ x2, d/dx2 = g^T @ x1. Shapes: (..., M, K), (..., N, K) -> (..., M, N)."""
    return kernels.matmul(x1, x2.mT)


@matmul_nt.vjp(x1="x2", x2="x1")
def matmul_nt_vjp(g, x1, x2, need):
    return matmul(g, x2) if need[0] else None, matmul_tn(g, x1) if need[1] else None


@matmul_nt.complex_vjp(x1="x2", x2="x1")
def matmul_nt_complex_vjp(g, x1, x2, need):
    return matmul_nt_vjp(g, *conjugates(x1, x2, need), need)


@op
def matmul_tn(x1, x2):
    """x1^T @ x2 over the last two axes. d/dx1 = x2 @ g^T, d/dx2 = x1 @ g. Shapes: (..., K, M), (..., K, N) -> (..., M, N)."""
    return kernels.matmul(x1.mT, x2)


@matmul_tn.vjp(x1="x2", x2="x1")
def matmul_tn_vjp(g, x1, x2, need):
    return matmul_nt(x2, g) if need[0] else None, matmul(x1, g) if need[1] else None


@matmul_tn.complex_vjp(x1="x2", x2="x1")
def matmul_tn_complex_vjp(g, x1, x2, need):
    return matmul_tn_vjp(g, *conjugates(x1, x2, need), need)


def dtypes_differ(name, x, weight):
    remedy = f"convert the input, x.astype('{weight.dtype}')"
    if x.dtype.kind == "f":
        remedy += f", or the module, module.to('{x.dtype}')"
    return f"{name}: input is {x.dtype}, weight is {weight.dtype}: one dtype expected: {remedy}"


def require_arrays(name, x, y):
    """Raises TypeError for what is no array."""
    if not (hasattr(x, "ndim") and hasattr(y, "ndim")):
        raise TypeError(f"{name}: a {type(x).__name__} and a {type(y).__name__}: tensors expected")


@op
def linear(x, weight, bias=None, activation=None):
    """activation(x @ weight^T + bias) in one kernel. d/dx = g weight, d/dweight = g^T x, d/dbias = sum of g over rows.

    Shapes: x (..., in), weight (out, in), bias (out,) -> (..., out). activation: None or 'relu'.
    Raises ValueError where shapes do not fit, TypeError where dtypes differ.
    """
    if type(x) is not ndarray or type(weight) is not ndarray:
        require_arrays("linear", x, weight)
    if x.ndim == 0 or weight.ndim != 2 or x.shape[-1] != weight.shape[1]:
        raise ValueError(f"linear: x {x.shape}, weight {weight.shape}: x (..., in) and weight (out, in) expected")
    if x.dtype != weight.dtype:
        raise TypeError(dtypes_differ("linear", x, weight))
    if activation not in (None, "relu"):  # the rule below knows the slope of these from y
        raise ValueError(f"linear: activation={activation!r}: None or 'relu' expected")
    rows = x if x.ndim == 2 else x.reshape(-1, x.shape[-1])
    y = kernels.matmul(rows, weight.T, bias, activation)
    return y if x.ndim == 2 else y.reshape(x.shape[:-1] + (weight.shape[0],))


@linear.vjp(y="activation", x="weight", weight="x")
def linear_vjp(g, y, x, weight, activation, need):
    if activation == "relu":
        g = relu_backward(g, y)
    dx = matmul(g, weight) if need[0] else None
    if not need[1]:
        return dx, None, g.sum(axis=tuple(range(g.ndim - 1))) if need[2] else None
    return dx, *linear_backward_weight(g, x)


def linear_waits(x, weight, bias=None, activation=None):
    """A ReLU becomes the product's activation."""
    if activation or not (isinstance(weight, Fields) and hasattr(x, "ndim")):
        return None
    rows, columns = x.shape, weight.held.shape
    if len(columns) != 2 or rows[-1:] != columns[1:] or (bias is not None and bias.shape != columns[:1]):
        return None  # linear says what is wrong

    def head(x, activation=None):
        return linear.run((x, weight, bias, activation))
    return wait((*rows[:-1], columns[0]), x, (weight, bias), JOIN, head)


JOIN = {"relu": joining.relu}
linear.waits = linear_waits


@op
def linear_backward_weight(dy, x):
    """dweight = dy^T x and dbias = dy summed over rows, of linear. d/d(dy) = x g1^T + g2, d/dx = dy g1, of their gradients.

    Shapes: dy (..., out), x (..., in) -> (out, in), (out,).
    """
    if dy.ndim != 2:
        dy, x = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
    return kernels.matmul(dy.T, x), kernels.sum(dy, 0) if kernels.large(dy) else np.add.reduce(dy, axis=0)


@linear_backward_weight.vjp
def linear_backward_weight_vjp(g, dy, x, need):
    by_weight, by_bias = g
    d_dy = dx = None
    if need[0] and by_weight is not None:
        d_dy = matmul(x, by_weight.mT) if x.ndim == 1 else matmul_nt(x, by_weight)
    if need[0] and by_bias is not None:
        d_dy = broadcast_to(by_bias, dy.shape) if d_dy is None else d_dy + by_bias
    if need[1] and by_weight is not None:
        dx = matmul(dy, by_weight)
    return d_dy, dx


@op(view=True)
def matrix_transpose(x):
    """The last two axes exchanged. d/dx: g's exchanged. Shape: (..., M, N) -> (..., N, M)."""
    if x.ndim < 2:
        raise ValueError(f"matrix_transpose: shape {x.shape}: two axes or more expected")
    return x.mT


@matrix_transpose.vjp(complex=True)
def matrix_transpose_vjp(g):
    return matrix_transpose(g)


@aliased
def vecdot(x1, x2, axis=-1):
    """The sum of products along an axis of both, of x1's conjugates where it is complex. d/dx1 = x2, d/dx2 = x1.

    The dtype is the product's: small integers stay small. Shapes broadcast, without the axis.
    """
    if axis >= 0:
        raise ValueError(f"vecdot: axis {axis}: a negative axis expected, counted from the last of both")
    if x1.ndim == 0 or x2.ndim == 0 or x1.shape[axis] != x2.shape[axis]:
        raise ValueError(f"vecdot: {x1.shape} and {x2.shape}: axis {axis} of equal size in both expected")
    if axis != -1:
        x1, x2 = moveaxis(x1, axis, -1), moveaxis(x2, axis, -1)
    products = (conj(x1) if x1.dtype.kind == "c" else x1) * x2
    return sum(products, axis=-1, dtype=products.dtype if products.dtype.kind in "iu" else None)


@aliased
def tensordot(x1, x2, axes=2):
    """The sum of products over several axes: the last `axes` of x1 with the first of x2, or two sequences of axes.

    d/dx1, d/dx2: tensor products of g with the other. Shape: the axes left of x1, then of x2.
    """
    if isinstance(axes, int):
        left, right = list(range(x1.ndim - axes, x1.ndim)), list(range(axes))
    else:
        left, right = ([normal_axis("tensordot", a, x.ndim) for a in (pair if isinstance(pair, (tuple, list)) else (pair,))]
                       for x, pair in zip((x1, x2), axes))
    if [x1.shape[a] for a in left] != [x2.shape[a] for a in right]:
        raise ValueError(f"tensordot: {x1.shape} over {left}, {x2.shape} over {right}: equal sizes expected")
    rows = [a for a in range(x1.ndim) if a not in left]
    columns = [a for a in range(x2.ndim) if a not in right]
    inner = math.prod(x1.shape[a] for a in left)
    shape = [x1.shape[a] for a in rows] + [x2.shape[a] for a in columns]
    a = reshape(permute_dims(x1, (*rows, *left)), (math.prod(shape[:len(rows)]), inner))
    b = reshape(permute_dims(x2, (*right, *columns)), (inner, math.prod(shape[len(rows):])))
    return reshape(matmul(a, b), tuple(shape))


def outer(x1, x2):
    """All products of an element of one vector with one of another. d/dx1 = g x2, d/dx2 = g^T x1. (M,), (N,) -> (M, N)."""
    if x1.ndim != 1 or x2.ndim != 1:
        raise ValueError(f"outer: {x1.shape} and {x2.shape}: vectors expected")
    return expand_dims(x1, 1) * expand_dims(x2, 0)


def mm(x, mat2):
    """Product of two matrices. Shapes: (M, K) @ (K, N) -> (M, N)."""
    return _product("mm", x, mat2, 2)


def bmm(x, mat2):
    """Product of two batches of matrices. Shapes: (B, M, K) @ (B, K, N) -> (B, M, N)."""
    return _product("bmm", x, mat2, 3)


def dot(x, other):
    """The sum of products of two vectors. Shapes: (N,), (N,) -> ()."""
    return _product("dot", x, other, 1)


def _product(name, x1, x2, ndim):
    if x1.ndim != ndim or x2.ndim != ndim:
        raise ValueError(f"{name}: {x1.shape} and {x2.shape}: {ndim} axes each expected")
    return matmul(x1, x2)
