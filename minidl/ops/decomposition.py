"""Inverses, determinants and decompositions of matrices (..., M, N), by LAPACK through NumPy; loaded by minidl.linalg.

Rules: Giles, "Collected matrix derivative results" (2008); Murray (2016) for Cholesky's, Townsend (2016) for the singular
value decomposition's, Roberts and Roberts (2020) for QR's, Golub and Pereyra (1973) for the pseudoinverse's.
"""
import numpy as np

from ..autograd import op
from .creation import zeros_like
from .index import getitem, place_diagonal, tril, where
from .linear import matmul, matmul_nt, matmul_tn, matrix_transpose
from .reduce import sum
from .shape import concat, expand_dims


@op
def inv(x):
    """The inverse of each matrix. dL/dx = -y^T g y^T. Shape: (..., M, M), kept. Raises LinAlgError for a singular one."""
    return np.linalg.inv(x)


@inv.vjp
def inv_vjp(g, y):
    return -matmul_nt(matmul_tn(y, g), y)


@op
def solve(x1, x2):
    """y with x1 y = x2, x2 matrices. dL/dx2 = x1^-T g =: h, dL/dx1 = -h y^T. Shapes: (..., M, M), (..., M, K) -> (..., M, K).

    Raises LinAlgError for a singular x1.
    """
    return np.linalg.solve(x1, x2)


@solve.vjp
def solve_vjp(g, y, x1, need):
    h = solve(matrix_transpose(x1), g)
    return -matmul_nt(h, y) if need[0] else None, h


@op
def det(x):
    """The determinant of each matrix. dL/dx = g times the cofactors, of singular matrices too. Shape: (..., M, M) -> (...)."""
    return np.linalg.det(x)


@det.vjp
def det_vjp(g, x):
    return expand_dims(g, (-2, -1)) * cofactors(x)


@op
def cofactors(x):
    """The matrix of cofactors of each matrix, det(x) x^-T where it has an inverse. Shape: (..., M, M), kept.

    dL/dx = (<g, y> y - y g^T y) / det(x), for matrices that have an inverse.
    """
    u, s, v = np.linalg.svd(x)
    n = s.shape[-1]
    others = np.prod(np.where(np.eye(n, dtype=bool, like=s), s.dtype.type(1), s[..., None, :]), axis=-1)
    signs = np.linalg.det(u) * np.linalg.det(v)
    return np.matmul(u * (others * np.round(signs)[..., None])[..., None, :], v)


@cofactors.vjp
def cofactors_vjp(g, y, x):
    along = sum(g * y, axis=(-2, -1), keepdims=True) * y
    return (along - matmul(matmul_nt(y, g), y)) / expand_dims(det(x), (-2, -1))


@op
def sign_and_logdet(x):
    """The sign and the logarithm of the size of each determinant. dL/dx = g x^-T, g the second's gradient.

    Shape: (..., M, M) -> (...), (...).
    """
    return tuple(np.linalg.slogdet(x))


@sign_and_logdet.vjp
def sign_and_logdet_vjp(g, x):
    return zeros_like(x) if g[1] is None else expand_dims(g[1], (-2, -1)) * matrix_transpose(inv(x))


@op
def lower_cholesky(x):
    """Lower triangular y, y y^T = x, of x's lower triangle. dL/dx = y^-T P y^-1, made symmetric. Shape: (..., M, M), kept.

    P: the lower triangle of y^T g with half its diagonal. Raises LinAlgError where x is not positive definite.
    """
    return np.linalg.cholesky(x)


@lower_cholesky.vjp
def lower_cholesky_vjp(g, y):
    p = half_diagonal(matmul_tn(y, tril(g)))
    right = matrix_transpose(solve(matrix_transpose(y), matrix_transpose(p)))  # P y^-1, by the transpose
    return symmetric(solve(matrix_transpose(y), right))


def half_diagonal(x):
    """The lower triangle with half the diagonal."""
    return 0.5 * (tril(x) + tril(x, -1))


def symmetric(x):
    """The mean of x and its transpose."""
    return 0.5 * (x + matrix_transpose(x))


@op
def orthogonal_triangular(x, mode="reduced"):
    """q with orthonormal columns and upper triangular r, q r = x. Shapes: (..., M, N) -> (..., M, K), (..., K, N), K the
    smaller of both, or M with mode 'complete'.

    With S the lower triangle of r gr^T - gq^T q, made symmetric: dL/dx = (gq + q S) r^-T. For M < N the same for the first M
    columns, gq there with x2 gr2^T of the other columns, whose gradient is q gr2. Raises LinAlgError for 'complete', M > N.
    """
    return tuple(np.linalg.qr(x, mode))


@orthogonal_triangular.vjp
def orthogonal_triangular_vjp(g, y, x, mode):
    (gq, gr), (q, r), m, n = g, y, *x.shape[-2:]
    if mode == "complete" and m > n:
        raise RuntimeError("qr: mode='complete' of more rows than columns has no derivative: 'reduced' expected")
    gq, gr = zeros_like(q) if gq is None else gq, zeros_like(r) if gr is None else gr
    if m >= n:
        return by_tall(gq, gr, q, r)
    left, right = (..., slice(0, m)), (..., slice(m, None))
    by_left = by_tall(gq + matmul_nt(getitem(x, right), getitem(gr, right)), getitem(gr, left), q, getitem(r, left))
    return concat([by_left, matmul(q, getitem(gr, right))], -1)


def by_tall(gq, gr, q, r):
    """dL/dx of a decomposition with a square r."""
    s = matmul_nt(r, gr) - matmul_tn(gq, q)
    h = gq + matmul(q, tril(s) + matrix_transpose(tril(s, -1)))
    return matrix_transpose(solve(r, matrix_transpose(h)))


def inverse_differences(w):
    """F[i, j] = 1 / (w[j] - w[i]), and 0 on the diagonal. Shape: (..., K) -> (..., K, K)."""
    d = expand_dims(w, -2) - expand_dims(w, -1)
    same = np.eye(w.shape[-1], dtype=bool, like=w.array)
    return where(same, 0.0, 1 / where(same, 1.0, d))


@op
def symmetric_eigen(x):
    """Eigenvalues w, rising, and eigenvectors v, columns, of symmetric matrices, of which the lower triangle is read.

    dL/dx = v (diag(gw) + F * (v^T gv)) v^T, made symmetric, F[i, j] = 1 / (w[j] - w[i]): equal eigenvalues leave the vectors
    without a derivative. Shape: (..., M, M) -> (..., M), (..., M, M).
    """
    return tuple(np.linalg.eigh(x))


@symmetric_eigen.vjp
def symmetric_eigen_vjp(g, y):
    (gw, gv), (w, v) = g, y
    inside = 0.0 if gw is None else on_diagonal(gw)
    if gv is not None:
        inside = inside + inverse_differences(w) * matmul_tn(v, gv)
    return symmetric(matmul_nt(matmul(v, inside), v))


def on_diagonal(w):
    """Matrices with w on the diagonal, 0 elsewhere. Shape: (..., K) -> (..., K, K)."""
    return place_diagonal(w, (*w.shape, w.shape[-1]), 0, -2, -1)


@op
def singular_values(x, full_matrices=True):
    """u, s, v with x = u diag(s) v, s falling, columns of u and rows of v orthonormal.

    dL/dx = u (A s + s B + diag(gs)) v + (1 - u u^T) gu / s v + u / s gv (1 - v^T v), A = F * (u^T gu - gu^T u), B = F *
    (v gv^T - gv v^T), F[i, j] = 1 / (s[j]**2 - s[i]**2): equal singular values leave u and v without a derivative.
    Shape: (..., M, N) -> (..., M, K), (..., K), (..., K, N), K the smaller of both; with full_matrices u and v are square, and
    have a derivative only where x is. Raises RuntimeError at backward otherwise.
    """
    return tuple(np.linalg.svd(x, full_matrices))


@singular_values.vjp
def singular_values_vjp(g, y, x_shape, full_matrices):
    (gu, gs, gv), (u, s, v), (m, n) = g, y, x_shape[-2:]
    if full_matrices and m != n and not (gu is None and gv is None):
        raise RuntimeError("svd: full_matrices=True of matrices that are not square: u and v have no derivative: "
                           "full_matrices=False expected")
    k = min(m, n)
    u, v = getitem(u, (..., slice(0, k))), getitem(v, (..., slice(0, k), slice(None)))
    inside = 0.0 if gs is None else on_diagonal(gs)
    rows, columns = expand_dims(s, -1), expand_dims(s, -2)
    beyond = None
    if gu is not None:
        inner = matmul_tn(u, gu)
        inside = inside + inverse_differences(s * s) * (inner - matrix_transpose(inner)) * columns
        if m > k:
            beyond = matmul((gu - matmul(u, inner)) / columns, v)
    if gv is not None:
        inner = matmul_nt(v, gv)
        inside = inside + inverse_differences(s * s) * (inner - matrix_transpose(inner)) * rows
        if n > k:
            beyond = matmul(u, (gv - matmul_tn(inner, v)) / rows)
    dx = matmul(matmul(u, inside), v)
    return dx if beyond is None else dx + beyond


@op
def pseudoinverse(x, rtol):
    """The inverse of Moore and Penrose; singular values up to rtol times the largest count as 0. Shape: (..., N, M).

    dL/dx = -y^T g y^T + (1 - x y) g^T y y^T + y^T y g^T (1 - y x), where the rank stays.
    """
    return np.linalg.pinv(x, rtol)


@pseudoinverse.vjp
def pseudoinverse_vjp(g, y, x):
    t, gt = matrix_transpose(y), matrix_transpose(g)
    first, second = matmul_nt(matmul(gt, y), y), matmul(matmul(t, y), gt)
    return (-matmul(matmul(t, g), t) + first - matmul(x, matmul(y, first)) + second - matmul(matmul(second, y), x))
