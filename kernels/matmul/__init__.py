"""Matrix product with a fused bias, residual and activation."""
from typing import NamedTuple

import numpy as np

from .._cases import case, normal
from .._dispatch import kernel

ACTIVATIONS = {None: 0, "relu": 1, "gelu": 2, "gelu_tanh": 3, "silu": 4}
RELU_ONLY = {None: 0, "relu": 1}  # those that convolution and pooling know


class MatmulParams(NamedTuple):
    activation: int


@kernel(tolerance=3e-6)  # sums of up to some thousand products in float32
def matmul(a, b, bias=None, activation=None, residual=None):
    """activation(a @ b + bias + residual).

    a: (..., M, K), b: (..., K, N), leading axes broadcast; bias: (N,) or None; residual: of the result's shape, or None;
    activation: None, 'relu', 'gelu', 'gelu_tanh' or 'silu'. Returns (..., M, N) in the promoted dtype of a and b. Operands
    may be transposed views: none is copied in memory.
    """
    if a.ndim < 2 or b.ndim < 2:
        raise ValueError(f"matmul: {a.shape} @ {b.shape}: two axes or more expected of each")
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(f"matmul: {a.shape} @ {b.shape}: inner sizes {a.shape[-1]} and {b.shape[-2]} differ")
    if bias is not None and bias.shape != b.shape[-1:]:
        raise ValueError(f"matmul: bias {bias.shape}: {b.shape[-1:]} expected")
    if activation not in ACTIVATIONS:
        raise ValueError(f"matmul: activation={activation!r}: one of {', '.join(map(repr, ACTIVATIONS))} expected")
    batch = a.shape[:-2]
    if batch != b.shape[:-2]:
        try:
            batch = np.broadcast_shapes(batch, b.shape[:-2])
        except ValueError:
            raise ValueError(f"matmul: {a.shape} @ {b.shape}: leading axes do not broadcast") from None
        a = np.broadcast_to(a, batch + a.shape[-2:])
        b = np.broadcast_to(b, batch + b.shape[-2:])
    if residual is not None and residual.shape != (*batch, a.shape[-2], b.shape[-1]):
        raise ValueError(f"matmul: residual {residual.shape}: {(*batch, a.shape[-2], b.shape[-1])} expected")
    dtype = a.dtype if a.dtype == b.dtype else np.result_type(a, b)
    return [(batch + (a.shape[-2], b.shape[-1]), dtype)], (a, b, bias, residual), MatmulParams(ACTIVATIONS[activation])


@matmul.cost
def matmul_flops(outs, ins, p):
    return 2 * outs[0].size * ins[0].shape[-1]


@matmul.examples
def matmul_cases():
    for m, k, n in [(1, 1, 1), (3, 5, 7), (6, 16, 16), (17, 33, 65), (13, 300, 31), (100, 1, 100), (2, 700, 1)]:
        yield case(f"{m}x{k}x{n}", normal(m, k), normal(k, n, seed=1))
    for m, k, n in [(0, 3, 4), (3, 0, 4), (3, 4, 0)]:
        yield case(f"empty {m}x{k}x{n}", normal(m, k), normal(k, n))
    a, b = normal(37, 45), normal(45, 29, seed=1)
    yield case("transposed a", np.ascontiguousarray(a.T).T, b)
    yield case("transposed b", a, np.ascontiguousarray(b.T).T)
    yield case("transposed both", np.ascontiguousarray(a.T).T, np.ascontiguousarray(b.T).T)
    yield case("every second", normal(74, 90)[::2, ::2], normal(90, 58)[::2, ::2])
    yield case("reversed", a[::-1, ::-1], b[::-1])
    yield case("bias", a, b, normal(29))
    yield case("bias relu", a, b, normal(29), activation="relu")
    yield case("empty k, bias", normal(3, 0), normal(0, 4), normal(4))
    yield case("batch", normal(5, 6, 7), normal(5, 7, 8))
    yield case("broadcast batch", normal(4, 1, 6, 7), normal(3, 7, 8))
    yield case("batch with one b", normal(3, 2, 6, 7), normal(7, 8), normal(8), residual=normal(3, 2, 6, 8), activation="relu")
    yield case("part of a batch with one b", normal(3, 2, 6, 7)[:, :, ::2], normal(7, 8))
    yield case("many small", normal(40, 3, 4), normal(40, 4, 5))
    yield case("float64", normal(9, 20, dtype="float64"), normal(20, 11, dtype="float64"))
    yield case("float64 bias relu", normal(9, 20, dtype="float64"), normal(20, 11, dtype="float64"),
               normal(11, dtype="float64"), activation="relu")
    yield case("integers", np.arange(12).reshape(3, 4), np.arange(20).reshape(4, 5))
    for m, k, n in [(7, 130, 3), (65, 200, 1), (1, 300, 70), (2, 300, 70), (5, 129, 33), (33, 600, 97), (70, 1100, 50)]:
        x, w = normal(m, k), normal(k, n, seed=1)
        yield case(f"{m}x{k}x{n} by transpose", x, np.ascontiguousarray(w.T).T, normal(n))
        yield case(f"{m}x{k}x{n}, a transposed", np.ascontiguousarray(x.T).T, w)
        yield case(f"{m}x{k}x{n}, float64", x.astype("f8"), np.ascontiguousarray(w.T).T.astype("f8"))
    for m in (1, 2, 4, 7, 8, 20):  # few rows, and those of b too long to go down a column
        x, w, r = normal(m, 299), normal(299, 1101, seed=1), normal(m, 1101, seed=2)
        yield case(f"{m}x299x1101", np.ascontiguousarray(x.T).T, w, residual=r, activation="relu")
        yield case(f"{m}x299x1101, gelu", x, w, normal(1101), residual=r, activation="gelu")
        yield case(f"{m}x299x1101, float64", x.astype("f8"), w.astype("f8"), normal(1101, dtype="float64"))
    x, w, r = normal(37, 145), normal(45, 145, seed=1).T, normal(37, 45, seed=2)
    for name in ACTIVATIONS:
        yield case(f"{name}", a, b, normal(29), activation=name)
        yield case(f"residual, {name}", x, w, normal(45), activation=name, residual=r)
        yield case(f"residual, {name}, dot products", x[:5], w, activation=name, residual=r[:5])
        yield case(f"residual, {name}, float64", x.astype("f8"), w.astype("f8"), activation=name, residual=r.astype("f8"))
    yield case("residual, batch", normal(5, 6, 7), normal(5, 7, 8), residual=normal(5, 6, 8))
    yield from tile_cases()
    yield from network_cases()


def tile_cases():
    """Large enough for matrix tiles, with edges that are not whole tiles; numbers whose parts tiles could not hold."""
    for m, k, n in [(290, 300, 310), (64, 1100, 560), (333, 528, 127)]:
        a, b = normal(m, k), normal(k, n, seed=1)
        a_t, b_t = np.ascontiguousarray(a.T).T, np.ascontiguousarray(b.T).T
        yield case(f"tiles {m}x{k}x{n}", a, b)
        yield case(f"tiles {m}x{k}x{n}, transposed", a_t, b_t, normal(n), activation="relu")
        yield case(f"tiles {m}x{k}x{n}, b transposed", a, b_t, normal(n), activation="gelu", residual=normal(m, n, seed=2))
        yield case(f"tiles {m}x{k}x{n}, a transposed", a_t, b, residual=normal(m, n, seed=2))
        for name, value in [("infinite", np.inf), ("NaN", np.nan), ("largest", 3.4e38)]:
            extreme = a.copy()
            extreme[m // 2, k // 3] = value
            yield case(f"tiles {m}x{k}x{n}, {name}", extreme, b * np.float32(0.01))
    for scale in (1e-20, 1e-36):
        yield case(f"tiles, factors of {scale}", a * np.float32(scale), b * np.float32(1e4))
    yield case("tiles, batch", normal(3, 290, 300), normal(3, 300, 310, seed=1))


def some(*shape, transposed=False):
    """Numbers for large arrays, quickly: one random sequence over and over; transposed: as the view of its transpose."""
    order = (*shape[:-2], shape[-1], shape[-2]) if transposed else shape
    x = np.resize(normal(65521), order)
    return x.swapaxes(-1, -2) if transposed else x


def network_cases():
    """The products of real networks; forward with weight (out, in), so b is transposed, and both gradients of it."""
    for rows, k, n in [(1, 576, 64), (32, 576, 64), (128, 576, 64), (1, 64, 10), (32, 64, 10), (128, 64, 10)]:
        yield case(f"CNN dense {rows}x{k}x{n}", some(rows, k), some(k, n, transposed=True), some(n), bench=True)
        yield case(f"CNN dx {rows}x{n}x{k}", some(rows, n), some(n, k), bench=True)
        yield case(f"CNN dw {n}x{rows}x{k}", some(n, rows, transposed=True), some(rows, k), bench=True)
    for m, k, n in [(1, 576, 64), (32, 576, 64), (128, 576, 64), (576, 128, 64), (128, 64, 576)]:
        yield case(f"{m}x{k}x{n}", some(m, k), some(k, n), bench=True)
    for m, k, n in [(3136, 64, 256), (784, 512, 128), (196, 1024, 256)]:
        yield case(f"ResNet-50 1x1 {m}x{k}x{n}", some(m, k), some(k, n), bench=True)
    for k, n in [(384, 1152), (384, 384), (384, 1536), (1536, 384)]:
        yield case(f"GPT forward 3072x{k}x{n}", some(3072, k), some(k, n, transposed=True), some(n), bench=True)
        yield case(f"GPT dx 3072x{n}x{k}", some(3072, n), some(n, k), bench=True)
        yield case(f"GPT dw {n}x3072x{k}", some(n, 3072, transposed=True), some(3072, k), bench=True)
    yield case("GPT-2 linear 128x768x3072", some(128, 768), some(768, 3072, transposed=True), some(3072), bench=True)
    yield case("GPT-2 linear, gelu_tanh", some(128, 768), some(768, 3072, transposed=True), some(3072), bench=True,
               activation="gelu_tanh")
    yield case("ResNet-50 1x1, residual, relu", some(784, 128), some(128, 512), some(512), activation="relu",
               residual=some(784, 512), bench=True)
    for m in (1, 8, 32):
        yield case(f"Llama dx {m}x4096x4096", some(m, 4096), some(4096, 4096), bench=True)
    for m in (1, 64):
        yield case(f"Llama {m}x4096x4096", some(m, 4096), some(4096, 4096, transposed=True), bench=True)
    yield case("LSTM 64x128x512", some(64, 128), some(128, 512, transposed=True), some(512), bench=True)
    yield case("attention scores 48x256x64x256", some(48, 256, 64), some(48, 64, 256, transposed=True), bench=True)
    yield case("attention values 48x256x256x64", some(48, 256, 256), some(48, 256, 64), bench=True)
    for m in (1, 2, 4, 8, 16):
        yield case(f"{m}x768x768", some(m, 768), some(768, 768), bench=True)
        yield case(f"{m}x768x768 by transpose", some(m, 768), some(768, 768, transposed=True), bench=True)
    yield case("768x768x1", some(768, 768), some(768, 1), bench=True)
    yield case("127x255x63", some(127, 255), some(255, 63), bench=True)
    for size in (128, 256, 512, 1024, 2048):
        yield case(f"square {size}", some(size, size), some(size, size), bench=True)
    for size in (512, 1024):
        yield case(f"square {size}, float64", some(size, size).astype("f8"), some(size, size).astype("f8"), bench=True)
