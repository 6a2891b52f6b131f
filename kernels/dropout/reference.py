"""Philox4x32-10 in NumPy, and dropout by its words."""
import numpy as np

MULTIPLY = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
WEYL = (0x9E3779B9, 0xBB67AE85)
LOW, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


def philox(counter, key):
    """Four words of 32 random bits for each counter: four arrays of words (as uint64) and a key of two -> four arrays."""
    c0, c1, c2, c3 = counter
    for number in range(10):
        k0, k1 = (np.uint64((k + number * w) % 2**32) for k, w in zip(key, WEYL))
        first, second = MULTIPLY[0] * c0, MULTIPLY[1] * c2
        c0, c1, c2, c3 = second >> HALF ^ c1 ^ k0, second & LOW, first >> HALF ^ c3 ^ k1, first & LOW
    return c0, c1, c2, c3


def kept(first, groups, p):
    """What the elements of so many groups of 64, from group `first` on, are multiplied by."""
    blocks = np.arange(16 * first, 16 * (first + groups), dtype=np.uint64)
    zero = np.zeros_like(blocks)
    words = philox((blocks & LOW, blocks >> HALF, zero, zero), (p.key0, p.key1))
    words = np.stack(words).reshape(4, groups, 16).transpose(1, 0, 2).reshape(-1)  # 16 first words, 16 second ...
    return np.where(words >= p.threshold, p.scale, 0.0)


def dropout(y, x, p):
    factor = kept(0, -(-y.size // 64), p)[:y.size].astype(y.dtype).reshape(y.shape)
    np.multiply(x, np.asarray(factor, like=x), out=y)
