"""Linear algebra after the Python array API standard (2024.12): functions of matrices, the last two axes of (..., M, N).

`norm` is PyTorch's and NumPy's; `dim` and `keepdim` are taken for `axis` and `keepdims`. Derivatives, of any order, are those
of minidl/ops/decomposition.py; numbers are real where one is asked for.
"""
import math
from typing import NamedTuple

from . import ops
from .autograd import Tensor
from .ops import matmul, matrix_transpose, outer, tensordot, vecdot
from .ops.aliases import aliased
from .ops.decomposition import (
    det,
    inv,
    lower_cholesky,
    on_diagonal,
    orthogonal_triangular,
    pseudoinverse,
    sign_and_logdet,
    singular_values,
    symmetric_eigen,
)
from .ops.decomposition import solve as solve_matrices
from .ops.dtypes import finfo
from .ops.index import normal_axis

__all__ = [
    "cholesky", "cross", "det", "diagonal", "eigh", "eigvalsh", "inv", "matmul", "matrix_norm", "matrix_power", "matrix_rank",
    "matrix_transpose", "norm", "outer", "pinv", "qr", "slogdet", "solve", "svd", "svdvals", "tensordot", "trace", "vecdot",
    "vector_norm",
]


class EighResult(NamedTuple):
    """What eigh gives."""
    eigenvalues: Tensor
    eigenvectors: Tensor


class QRResult(NamedTuple):
    """What qr gives."""
    Q: Tensor
    R: Tensor


class SlogdetResult(NamedTuple):
    """What slogdet gives."""
    sign: Tensor
    logabsdet: Tensor


class SVDResult(NamedTuple):
    """What svd gives."""
    U: Tensor
    S: Tensor
    Vh: Tensor


def solve(x1, x2):
    """y with x1 y = x2: x2 a vector (M,), or matrices (..., M, K). dL/dx2 = x1^-T g =: h, dL/dx1 = -h y^T.

    Shapes: (..., M, M) and x2's, leading axes broadcast. Raises LinAlgError for a singular x1.
    """
    if x2.ndim == 1:
        return ops.squeeze(solve_matrices(x1, ops.expand_dims(x2, -1)), -1)
    return solve_matrices(x1, x2)


def slogdet(x):
    """(sign, logabsdet) of determinants, without overflow. The derivative of the second: x^-T. Shape: (..., M, M) -> (...)."""
    return SlogdetResult(*sign_and_logdet(x))


def cholesky(x, *, upper=False):
    """Lower triangular L with L L^T = x, or upper triangular U with U^T U = x. Shape: (..., M, M), kept.

    Only that triangle of x is read; the gradient is symmetric. Raises LinAlgError where x is not positive definite.
    """
    return matrix_transpose(lower_cholesky(matrix_transpose(x))) if upper else lower_cholesky(x)


def qr(x, *, mode="reduced"):
    """(Q, R), x = Q R with orthonormal columns and an upper triangle. mode: 'reduced', or 'complete' with a square Q.

    Shapes: (..., M, N) -> (..., M, K), (..., K, N), K the smaller of both, or M. Raises ValueError for another mode.
    """
    if mode not in ("reduced", "complete"):
        raise ValueError(f"qr: mode={mode!r}: 'reduced' or 'complete' expected")
    return QRResult(*orthogonal_triangular(x, mode))


def eigh(x, UPLO="L"):
    """(eigenvalues, rising, and eigenvectors, columns) of symmetric matrices, of which the lower triangle is read, or the
    upper one with UPLO 'U'.

    Shapes: (..., M, M) -> (..., M), (..., M, M). Vectors of equal eigenvalues have no derivative. Raises ValueError for
    another UPLO.
    """
    if UPLO not in ("L", "U"):
        raise ValueError(f"eigh: UPLO={UPLO!r}: 'L' or 'U' expected")
    return EighResult(*symmetric_eigen(x if UPLO == "L" else matrix_transpose(x)))


def eigvalsh(x, UPLO="L"):
    """The eigenvalues, rising: the first part of eigh. dL/dx = v diag(g) v^T. Shape: (..., M, M) -> (..., M)."""
    return eigh(x, UPLO).eigenvalues


def svd(x, *, full_matrices=True):
    """(U, S, Vh), x = U diag(S) Vh, S falling. full_matrices: U and Vh are square.

    Shapes: (..., M, N) -> (..., M, K), (..., K), (..., K, N), K the smaller of both. Vectors of equal singular values have no
    derivative, nor have those that full_matrices adds.
    """
    return SVDResult(*singular_values(x, full_matrices))


def svdvals(x):
    """The singular values, falling. dL/dx = U diag(g) Vh. Shape: (..., M, N) -> (..., K), K the smaller of both."""
    return singular_values(x, False)[1]


def pinv(x, *, rtol=None):
    """The inverse of Moore and Penrose. rtol: singular values up to this, a number or one per matrix, times the largest count
    as 0; None: max(M, N) eps.

    Shape: (..., M, N) -> (..., N, M). The derivative takes the rank as constant.
    """
    return pseudoinverse(x, default_rtol(x) if rtol is None else rtol)


def default_rtol(x):
    """What of the largest singular value is rounding error."""
    return max(x.shape[-2:]) * float(finfo(x.dtype).eps)


def matrix_rank(x, *, rtol=None):
    """How many singular values are above rtol, a number or one per matrix, times the largest; None: max(M, N) eps. No
    derivative: integers.

    Shape: (..., M, N) -> (...).
    """
    s = svdvals(x.detach() if isinstance(x, Tensor) else x)
    largest = ops.max(s, axis=-1) if s.shape[-1] else 0.0
    limit = ops.asarray(largest * (default_rtol(x) if rtol is None else rtol))
    return ops.count_nonzero(s > ops.expand_dims(limit, -1), axis=-1)


def matrix_power(x, n):
    """x multiplied n times with itself; of its inverse for n below 0. Derivatives by the products. Shape: (..., M, M), kept.

    Raises ValueError where the matrices are not square.
    """
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ValueError(f"matrix_power: shape {x.shape}: square matrices (..., M, M) expected")
    if n < 0:
        return matrix_power(inv(x), -n)
    if n == 0:
        return on_diagonal(ops.ones_like(ops.diagonal(x, 0, -2, -1)))
    result = None
    while n:  # by repeated squaring
        if n % 2:
            result = x if result is None else matmul(result, x)
        n //= 2
        if n:
            x = matmul(x, x)
    return result


def trace(x, *, offset=0, dtype=None):
    """The sum of a diagonal. d/dx = 1 on it. Shape: (..., M, N) -> (...)."""
    return ops.sum(diagonal(x, offset=offset), axis=-1, dtype=dtype)


def diagonal(x, *, offset=0):
    """The diagonal `offset` above the main one. d/dx = 1 on it. Shape: (..., M, N) -> (..., its length)."""
    return ops.diagonal(x, offset, -2, -1)


@aliased
def cross(x1, x2, *, axis=-1):
    """The cross product of vectors of 3 along an axis. dL/dx1 = x2 x g, dL/dx2 = g x x1. Shapes broadcast.

    Raises ValueError for another size.
    """
    if x1.shape[axis] != 3 or x2.shape[axis] != 3:
        raise ValueError(f"cross: {x1.shape} and {x2.shape}: size 3 at axis {axis} of both expected")
    a, b = ([ops.take(x, i, axis) for i in (0, 1, 2)] for x in (x1, x2))
    products = [a[i] * b[j] - a[j] * b[i] for i, j in ((1, 2), (2, 0), (0, 1))]
    return ops.stack(products, axis if axis < 0 else axis - max(x1.ndim, x2.ndim))


@aliased
def vector_norm(x, ord=2, axis=None, keepdims=False):
    """(sum |x|**ord)**(1 / ord) over an axis, a tuple of axes, or all. ord: any number, inf and -inf; 0 counts what is not 0.

    d/dx: as minidl.norm. Shape: x's without the axes, or with ones for them.
    """
    return ops.norm(x, ord, tuple(axis) if isinstance(axis, list) else axis, keepdims)


@aliased
def matrix_norm(x, ord="fro", axis=(-2, -1), keepdims=False):
    """A norm of each matrix: 'fro', the root of the sum of squares; 'nuc', the sum of the singular values; 2 and -2, the
    largest and the smallest of them; 1 and -1, the largest and smallest sum of a column's absolute values; inf and -inf, of a
    row's.

    Shape: x's without the two axes, or with ones for them. Raises ValueError for another ord.
    """
    axes = tuple(normal_axis("matrix_norm", a, x.ndim) for a in axis)
    if len(axes) != 2 or axes[0] == axes[1]:
        raise ValueError(f"matrix_norm: axis={axis}: two different axes expected")
    x = ops.moveaxis(x, axes, (-2, -1))
    if ord == "fro":
        y = ops.norm(x, 2, (-2, -1))
    elif ord == "nuc":
        y = ops.sum(svdvals(x), axis=-1)
    elif ord in (2, -2):
        y = (ops.max if ord > 0 else ops.min)(svdvals(x), axis=-1)
    elif ord in (1, -1, math.inf, -math.inf):
        sums = ops.sum(ops.abs(x), axis=-2 if abs(ord) == 1 else -1)
        y = (ops.max if ord > 0 else ops.min)(sums, axis=-1)
    else:
        raise ValueError(f"matrix_norm: ord={ord!r}: 'fro', 'nuc', 1, -1, 2, -2, inf or -inf expected")
    return ops.expand_dims(y, tuple(sorted(axes))) if keepdims else y


@aliased
def norm(x, ord=None, axis=None, keepdims=False):
    """A vector's norm over one axis, a matrix's over two; over all elements as one vector where neither is given.

    ord None: the root of the sum of squares. With an ord and no axis x has one or two axes. Raises ValueError otherwise.
    """
    if axis is None and ord is not None:
        if x.ndim not in (1, 2):
            raise ValueError(f"norm: ord={ord!r} of shape {x.shape} without axis: one or two axes expected")
        axis = tuple(range(x.ndim))
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    if ord is not None and len(axes) == 2:
        return matrix_norm(x, ord, axis=axes, keepdims=keepdims)
    return vector_norm(x, 2 if ord is None else ord, axis=axis, keepdims=keepdims)
