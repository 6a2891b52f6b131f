"""Products of small numbers: 8-bit integers with exact sums, and bfloat16 with sums in float32.

NumPy has no bfloat16: here it is its bits in uint16, the upper half of a float32.
"""
from typing import NamedTuple

import numpy as np

from .._cases import case, integers, normal
from .._dispatch import kernel


class QuantizedParams(NamedTuple):
    pass


def two_matrices(name, a, b, a_dtypes, b_dtype):
    """Raises TypeError or ValueError unless a is (M, K) of one of a_dtypes and b (K, N) of b_dtype."""
    if a.dtype not in a_dtypes or b.dtype != b_dtype:
        raise TypeError(f"{name}: {a.dtype} @ {b.dtype}: {' or '.join(map(str, a_dtypes))} @ {b_dtype} expected")
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ValueError(f"{name}: {a.shape} @ {b.shape}: (M, K) @ (K, N) expected")


@kernel
def matmul_int8(a, b):
    """a @ b, exact: int8 or uint8 (M, K) times int8 (K, N), any strides. Returns (M, N) int32, modulo 2 ** 32."""
    two_matrices("matmul_int8", a, b, (np.dtype("int8"), np.dtype("uint8")), np.dtype("int8"))
    return [((a.shape[0], b.shape[1]), np.dtype("int32"))], (a, b), QuantizedParams()


@kernel(tolerance=4e-6)  # sums of some thousand products in float32
def matmul_bf16(a, b, bias=None):
    """a @ b + bias with bfloat16 bits: uint16 (M, K) times uint16 (K, N), any strides, bias (N,) float32. Returns float32.

    A product of two bfloat16 is exact in float32, and so the error is of the sums alone.
    """
    two_matrices("matmul_bf16", a, b, (np.dtype("uint16"),), np.dtype("uint16"))
    if bias is not None and (bias.shape != b.shape[1:] or bias.dtype != np.float32):
        raise ValueError(f"matmul_bf16: bias {bias.dtype}{bias.shape}: float32{b.shape[1:]} expected")
    return [((a.shape[0], b.shape[1]), np.dtype("float32"))], (a, b, bias), QuantizedParams()


@kernel
def to_bf16(x):
    """The bfloat16 nearest to each float32, halves to the even one, as bits in uint16; a NaN stays one and is quiet."""
    if x.dtype != np.float32:
        raise TypeError(f"to_bf16: {x.dtype}: float32 expected")
    return [(x.shape, np.dtype("uint16"))], (x,), QuantizedParams()


@kernel
def from_bf16(u):
    """The float32 of the same value as each bfloat16, given as bits in uint16."""
    if u.dtype != np.uint16:
        raise TypeError(f"from_bf16: {u.dtype}: uint16, the bits of bfloat16, expected")
    return [(u.shape, np.dtype("float32"))], (u,), QuantizedParams()


def product_flops(outs, ins, p):
    return 2 * outs[0].size * ins[0].shape[1]


matmul_int8.cost(product_flops)
matmul_bf16.cost(product_flops)

SIZES = [(1, 1, 1), (3, 5, 7), (6, 16, 64), (17, 33, 65), (13, 303, 31), (100, 1, 100), (2, 702, 1), (97, 64, 130),
         (0, 3, 4), (3, 0, 4), (3, 4, 0)]


def large():
    """(label, shape of a, shape of b, whether b is the view of its transpose) of the products that are measured."""
    for m, k, n in [(32, 576, 64), (1, 768, 3072), (784, 512, 128), (512, 512, 512), (128, 768, 3072)]:
        yield f"{m}x{k}x{n}", (m, k), (k, n), False
        yield f"{m}x{k}x{n} by transpose", (m, k), (n, k), True


def for_tiles():
    """Shapes of more than one block of rows, columns and k, none of them whole."""
    return [(33, 2100, 97), (130, 777, 48), (20, 64, 600), (9, 3000, 40), (48, 2048, 31)]


def transposed(x):
    """The same matrix, its columns in one line."""
    return np.ascontiguousarray(x.T).T


def int8(*shape, seed=0):
    return (integers(256, *shape, seed=seed) - 128).astype("int8")


def bf16(*shape, seed=0):
    return (normal(*shape, seed=seed).view("uint32") >> 16).astype("uint16")


@matmul_int8.examples
def matmul_int8_cases():
    for m, k, n in SIZES:
        yield case(f"{m}x{k}x{n}", int8(m, k), int8(k, n, seed=1))
        yield case(f"uint8 {m}x{k}x{n}", integers(256, m, k, dtype="uint8"), int8(k, n, seed=1))
    for value in (-128, 127):
        yield case(f"all {value}", np.full((7, 1001), value, "int8"), np.full((1001, 70), value, "int8"))
        yield case(f"255 and {value}", np.full((7, 1001), 255, "uint8"), np.full((1001, 70), value, "int8"))
    a, b = int8(37, 44), int8(44, 29, seed=1)
    yield case("transposed a", np.ascontiguousarray(a.T).T, b)
    yield case("transposed b", a, np.ascontiguousarray(b.T).T)
    yield case("transposed b of odd rows", int8(9, 45), int8(70, 45).T)
    yield case("every second", int8(74, 90)[::2, ::2], int8(90, 58)[::2, ::2])
    yield case("reversed", a[::-1, ::-1], b[::-1, ::-1])
    yield case("one row for all", np.broadcast_to(a[0], a.shape), b)
    for m, k, n in for_tiles():
        a, u, b = int8(m, k), integers(256, m, k, dtype="uint8"), int8(k, n, seed=1)
        yield case(f"tiles {m}x{k}x{n}", a, b)
        yield case(f"tiles {m}x{k}x{n}, b transposed", u, transposed(b))
        yield case(f"tiles {m}x{k}x{n}, a transposed", transposed(a), b)
    yield case("tiles, every second", int8(74, 190)[::2, ::2], int8(190, 158)[::2, ::2])
    for label, left, right, turned in large():
        w = int8(*right, seed=1)
        yield case(label, int8(*left), w.T if turned else w, bench=True)


@matmul_bf16.examples
def matmul_bf16_cases():
    for m, k, n in SIZES:
        yield case(f"{m}x{k}x{n}", bf16(m, k), bf16(k, n, seed=1))
        yield case(f"{m}x{k}x{n}, bias", bf16(m, k), bf16(k, n, seed=1), normal(n))
    a, b = bf16(37, 44), bf16(44, 29, seed=1)
    yield case("transposed a", np.ascontiguousarray(a.T).T, b)
    yield case("transposed b", a, np.ascontiguousarray(b.T).T)
    yield case("transposed b of odd rows", bf16(9, 45), bf16(70, 45).T)
    yield case("every second", bf16(74, 90)[::2, ::2], bf16(90, 58)[::2, ::2], normal(58)[::2])
    yield case("reversed", a[::-1, ::-1], b[::-1, ::-1])
    for m, k, n in [(1, 46, 70), (2, 45, 133), (1, 64, 65), (2, 1, 3)]:  # few rows
        a, b = bf16(m, k), bf16(k, n, seed=1)
        yield case(f"{m}x{k}x{n}, b transposed", a, transposed(b), normal(n))
        yield case(f"every second of {m}x{k}x{n}", bf16(m, 2 * k)[:, ::2], b, normal(2 * n)[::2])
    a, b = bf16(37, 44), bf16(44, 29, seed=1)
    special = a.copy()
    special[[1, 5, 9, 30], [0, 7, 43, 20]] = 0x7F80, 0xFF80, 0x7FC0, 0x7F80  # infinities and a NaN
    yield case("inf and nan", special, b)
    for m, k, n in for_tiles():
        a, b = bf16(m, k), bf16(k, n, seed=1)
        yield case(f"tiles {m}x{k}x{n}", a, b, normal(n))
        yield case(f"tiles {m}x{k}x{n}, b transposed", a, transposed(b))
        yield case(f"tiles {m}x{k}x{n}, a transposed", transposed(a), b, normal(n))
    yield case("tiles, every second", bf16(74, 190)[::2, ::2], bf16(190, 158)[::2, ::2], normal(158)[::2])
    for label, left, right, turned in large():
        w = bf16(*right, seed=1)
        yield case(label, bf16(*left), w.T if turned else w, bench=True)


EDGES = np.array([0, 0x80000000, 0x3F808000, 0x3F818000, 0x3F808001, 0x7F7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000,
                  0x7F800001, 0xFFFFFFFF, 1, 0x00008000, 0x00018000, 0x007FFFFF], "uint32").view("float32")


@to_bf16.examples
def to_bf16_cases():
    yield case("edges", EDGES)
    yield case("empty", normal(0, 3))
    yield case("0-d", np.array(1.005, "float32"))
    yield case("odd", normal(3, 1001))
    yield case("every second", normal(30, 10)[:, ::2])
    yield case("1024x1024", normal(1024, 1024), bench=True)


@from_bf16.examples
def from_bf16_cases():
    yield case("every one", np.arange(1 << 16, dtype="uint16"))
    yield case("empty", bf16(0, 3))
    yield case("0-d", np.array(0x3F80, "uint16"))
    yield case("every second", bf16(30, 10)[:, ::2])
    yield case("1024x1024", bf16(1024, 1024), bench=True)


__all__ = ["from_bf16", "matmul_bf16", "matmul_int8", "to_bf16"]
