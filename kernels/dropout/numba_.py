"""The same in Numba, in groups of 64 elements, which may run in parallel."""
import numpy as np
from numba import njit, prange, uint64

PARALLEL = 100_000  # elements from which waking the threads pays


def dropout(y, x, p):
    (parallel if x.size >= PARALLEL else serial)(y.reshape(-1), x.reshape(-1), np.uint64(p.threshold), x.dtype.type(p.scale),
                                                 np.uint64(p.key0), np.uint64(p.key1))


@njit(inline="always")
def philox(block, k0, k1):
    low, half = uint64(0xFFFFFFFF), uint64(32)
    c0, c1, c2, c3 = block & low, block >> half, uint64(0), uint64(0)
    for _ in range(10):
        first, second = uint64(0xD2511F53) * c0, uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = (second >> half) ^ c1 ^ k0, second & low, (first >> half) ^ c3 ^ k1, first & low
        k0, k1 = (k0 + uint64(0x9E3779B9)) & low, (k1 + uint64(0xBB67AE85)) & low
    return c0, c1, c2, c3


def groups(y, x, threshold, scale, k0, k1):
    n = x.size
    for group in prange((n + 63) // 64):
        for j in range(16):
            words = philox(uint64(16 * group + j), k0, k1)
            for w in range(4):
                i = 64 * group + 16 * w + j
                if i < n:
                    y[i] = x[i] * (scale if words[w] >= threshold else scale * 0)


serial = njit(groups, error_model="numpy", cache=True)
parallel = njit(groups, error_model="numpy", cache=True, parallel=True)
