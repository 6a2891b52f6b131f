"""bfloat16 is the upper half of a float32; products are summed in int64 and float64."""
import numpy as np


def to_bf16(y, x, p):
    bits = np.ascontiguousarray(x).view(np.uint32).astype(np.uint64).reshape(x.shape)
    nearest = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    y[...] = np.where(np.isnan(x), bits >> 16 | 0x40, nearest).astype(np.uint16)


def from_bf16(y, u, p):
    y[...] = (u.astype(np.uint32, order="C") << 16).astype(np.uint32).view(np.float32)


def matmul_int8(y, a, b, p):
    y[...] = np.matmul(a.astype(np.int64), b.astype(np.int64)).astype(np.int32)


def matmul_bf16(y, a, b, bias, p):
    left, right = np.empty(a.shape, np.float32), np.empty(b.shape, np.float32)
    from_bf16(left, a, p)
    from_bf16(right, b, p)
    with np.errstate(invalid="ignore"):
        c = np.matmul(left.astype(np.float64), right.astype(np.float64))
    y[...] = c if bias is None else c + bias
