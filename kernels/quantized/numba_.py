"""Rows in parallel; the bits of numbers by formulas for one element, which Numba compiles to NumPy ufuncs."""
import numpy as np
from numba import njit, prange, vectorize

from ..matmul.numba_ import product


def to_bf16(y, x, p):
    nearest(x.view(np.uint32), y)


def from_bf16(y, u, p):
    widened(u, y.view(np.uint32))


def matmul_int8(y, a, b, p):
    integers(y, np.ascontiguousarray(a), np.ascontiguousarray(b))


def matmul_bf16(y, a, b, bias, p):
    left, right = (widened(np.ascontiguousarray(u)).view(np.float32) for u in (a, b))
    product(y, left, right, np.zeros(y.shape[1], y.dtype) if bias is None else np.ascontiguousarray(bias), False)


@vectorize(["uint16(uint32)"], cache=True)
def nearest(bits):
    if bits & 0x7FFFFFFF > 0x7F800000:  # NaN
        return bits >> 16 | 0x40
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16


@vectorize(["uint32(uint16)"], cache=True)
def widened(u):
    return np.uint32(u) << np.uint32(16)


@njit(parallel=True, cache=True)
def integers(y, a, b):
    for i in prange(a.shape[0]):
        y[i] = 0
        for l in range(a.shape[1]):
            x = np.int32(a[i, l])
            for j in range(b.shape[1]):
                y[i, j] += x * np.int32(b[l, j])
