"""The same in Numba: row panels in parallel, the inner loop over columns so that it vectorises."""
import numpy as np
from numba import njit, prange

from ..elementwise import numba_ as activations
from .reference import NAMES


def matmul(y, a, b, bias, residual, p):
    if y.dtype != np.float32 or y.ndim != 2:
        return NotImplemented
    product(y, np.ascontiguousarray(a), np.ascontiguousarray(b), np.zeros(y.shape[1], y.dtype) if bias is None else bias,
            p.activation == 1 and residual is None)
    if residual is not None:
        y += residual
    if p.activation > 1 or (p.activation and residual is not None):
        getattr(activations, NAMES[p.activation])(y, y, ())


@njit(parallel=True, fastmath={"contract", "reassoc", "nsz"}, cache=True)
def product(y, a, b, bias, relu):
    m, k = a.shape
    rows = 4  # rows of a that share each row of b while it is in cache
    for block in prange((m + rows - 1) // rows):
        for i in range(block * rows, min(m, block * rows + rows)):
            for j in range(y.shape[1]):
                y[i, j] = bias[j]
        for l in range(k):
            for i in range(block * rows, min(m, block * rows + rows)):
                x = a[i, l]
                for j in range(y.shape[1]):
                    y[i, j] += x * b[l, j]
        if relu:
            for i in range(block * rows, min(m, block * rows + rows)):
                for j in range(y.shape[1]):
                    y[i, j] = max(y[i, j], np.float32(0))
