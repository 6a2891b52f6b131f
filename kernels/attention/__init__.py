"""Scaled dot product attention (Vaswani et al. 2017), streamed over blocks of keys (Dao et al. 2022, FlashAttention)."""
from math import sqrt
from typing import NamedTuple

import numpy as np

from .._cases import case, normal, uniform
from .._dispatch import _allocate, kernel
from ..dropout import dropout_params
from ..elementwise import floating


class AttentionParams(NamedTuple):
    causal: bool
    scale: float
    threshold: int  # of dropout: see DropoutParams
    kept_scale: float
    key0: int
    key1: int


def checked(name, q, k, v, mask, causal, scale, dropout):
    """The mask spread to (N, H, T, S), or None, and the parameters. Raises ValueError where shapes or dtypes do not fit."""
    for key, x in (("q", q), ("k", k), ("v", v)):
        floating(name, key, x)
        if x.ndim != 4 or x.dtype != q.dtype:
            raise ValueError(f"{name}: {key} is {x.dtype}{x.shape}: {q.dtype} (batch, heads, length, size) expected")
    (n, heads, length, size), (_, groups, keys, _) = q.shape, k.shape
    if k.shape[0] != n or k.shape[3] != size or size == 0 or (heads % groups if groups else heads):
        raise ValueError(f"{name}: k {k.shape} with q {q.shape}: ({n}, a divisor of {heads}, S, {size}) with a size of at "
                         "least 1 expected")
    if v.shape[:3] != k.shape[:3]:
        raise ValueError(f"{name}: v {v.shape}: {k.shape[:3]} as k, and a size, expected")
    if mask is not None:
        if mask.dtype not in (bool, q.dtype):
            raise ValueError(f"{name}: mask of {mask.dtype}: bool or {q.dtype} expected")
        wanted = (n, heads, length, keys)
        try:
            mask = np.broadcast_to(mask, wanted)
        except ValueError:
            raise ValueError(f"{name}: mask {mask.shape}: one that broadcasts to {wanted} expected") from None
    return mask, AttentionParams(causal, 1 / sqrt(size) if scale is None else scale, *dropout_params(name, *dropout))


def laid_out(like, shape):
    """Memory for a result: where the heads of `like` are inside its positions (N, T, H, D), so are the result's."""
    strides = getattr(like, "strides", None)
    if strides is None or strides[1] >= strides[2]:
        return (shape, like.dtype)
    n, heads, length, size = shape
    return _allocate(((n, length, heads, size), like.dtype), (like,)).transpose(0, 2, 1, 3)


def side_by_side(arrays):
    """Whether arrays (N, H, T, D) of one shape are neighbouring channels of one array (N, T, their number * H * D)."""
    first = arrays[0]
    if type(first) is not np.ndarray or any(x.shape != first.shape or x.strides != first.strides for x in arrays):
        return False
    _, heads, length, size = first.shape
    item, width = first.itemsize, heads * size * first.itemsize
    start = first.__array_interface__["data"][0]
    return first.strides == (length * len(arrays) * width, size * item, len(arrays) * width, item) and all(
        x.__array_interface__["data"][0] == start + i * width for i, x in enumerate(arrays))


def laid_out_alike(*arrays):
    """Memory for the gradients of arrays: side by side where these are, so that joining them again copies nothing."""
    if not side_by_side(arrays):
        return [laid_out(x, x.shape) for x in arrays]
    n, heads, length, size = arrays[0].shape
    joint = _allocate(((n, length, len(arrays), heads, size), arrays[0].dtype), arrays)
    return [joint[:, :, i].transpose(0, 2, 1, 3) for i in range(len(arrays))]


@kernel(tolerance=4e-6)  # a score's rounding, about 1e-7 of its terms, becomes the relative error of its exponential
def attention(q, k, v, mask=None, causal=False, scale=None, dropout_p=0.0, seed=0):
    """softmax(scale q k^T + mask) v along the keys, and the logarithm of the softmax's denominator.

    q: (N, H, T, D); k: (N, Hk, S, D), v: (N, Hk, S, Dv) with Hk a divisor of H: each key and value head serves H / Hk
    query heads in turn. mask: broadcastable to (N, H, T, S), added if floating, True where a query sees a key if bool.
    causal: query t sees keys 0 to t. scale: 1 / sqrt(D) if None. Returns y (N, H, T, Dv), with heads and positions in
    memory as q has them, and lse (N, H, T). A query that sees no key gives 0 and -inf. dropout_p: each weight of the softmax
    is dropped with this probability or divided by what it leaves, as `dropout` does with the same seed to an array
    (N, H, T, S rounded up to a multiple of 64). Raises ValueError where shapes or dtypes do not match.
    """
    mask, p = checked("attention", q, k, v, mask, causal, scale, (dropout_p, seed))
    return [laid_out(q, q.shape[:3] + v.shape[3:]), (q.shape[:3], q.dtype)], (q, k, v, mask), p


@kernel(tolerance=8e-6, repeats=False)  # as above, and the gradient of a score is a difference
def attention_backward(g, q, k, v, y, lse, mask=None, causal=False, scale=None, dropout_p=0.0, seed=0):
    """The derivatives of `attention` by q, k and v. g, y: (N, H, T, Dv); lse: (N, H, T), as `attention` returned them.

    With P the softmax, F the factors of dropout and dP = F g v^T: dS = P (dP - sum(g y)), dq = scale dS k, dk = scale dS^T q,
    dv = (F P)^T g. Returns dq, dk and dv, shaped and laid out as q, k and v: side by side in memory where these are. Raises
    ValueError where shapes or dtypes do not match.
    """
    mask, p = checked("attention_backward", q, k, v, mask, causal, scale, (dropout_p, seed))
    values = q.shape[:3] + v.shape[3:]
    for key, x, shape in (("g", g, values), ("y", y, values), ("lse", lse, q.shape[:3])):
        if x.shape != shape or x.dtype != q.dtype:
            raise ValueError(f"attention_backward: {key} is {x.dtype}{x.shape}: {q.dtype}{shape} expected")
    return laid_out_alike(q, k, v), (g, q, k, v, y, lse, mask), p


def products(count):
    """A cost of so many products of T x S x size, causal ones half."""
    def flops(outs, ins, p):
        q, k = ins[count == 5:][:2]
        pairs = q.shape[0] * q.shape[1] * q.shape[2] * k.shape[2]
        return count * 2 * pairs * q.shape[3] // (2 if p.causal else 1)
    return flops


attention.cost(products(2))
attention_backward.cost(products(5))


def heads_inside(x):
    """The same values with memory in the order N, T, H, D."""
    return np.ascontiguousarray(x.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3)


def inputs():
    """(label, (q, k, v), keyword arguments, bench): the shapes of both kernels."""
    def qkv(n, heads, groups, length, keys, size, value_size=None, layout=lambda x: x, dtype="float32"):
        return tuple(layout(normal(*shape, dtype=dtype, seed=i)) for i, shape in enumerate(
            [(n, heads, length, size), (n, groups, keys, size), (n, groups, keys, value_size or size)]))

    yield "one query", qkv(1, 4, 2, 1, 300, 64), {}, False  # alone and causal, its dq and dk would be rounding errors
    for shape in [(2, 3, 3, 7, 5, 16), (1, 2, 1, 65, 130, 33), (2, 4, 2, 100, 67, 40), (1, 2, 2, 70, 70, 128),
                  (1, 1, 1, 3, 200, 64, 48), (0, 2, 2, 4, 4, 8), (1, 2, 2, 0, 4, 8), (1, 2, 2, 4, 0, 8)]:
        for causal in (False, True):
            yield f"{shape} causal={causal}", qkv(*shape), {"causal": causal}, False
    yield "heads inside", qkv(2, 4, 2, 70, 70, 32, layout=heads_inside), {"causal": True}, False
    yield "sizes not in line", qkv(1, 2, 2, 9, 20, 8, layout=lambda x: np.repeat(x, 2, 3)[..., ::2]), {}, False
    yield "scale", qkv(1, 2, 2, 9, 20, 8), {"scale": 0.3}, False
    yield "large scores", qkv(1, 2, 2, 70, 140, 16), {"scale": 4.0}, False
    yield "float64", qkv(1, 2, 2, 9, 20, 8, dtype="float64"), {}, False
    yield "float16", qkv(1, 2, 2, 9, 20, 8, dtype="float16"), {}, False
    for shape in [(2, 4, 80, 150), (80, 150), (2, 1, 1, 150), (1, 4, 80, 1), (4, 80, 150)]:
        seen = uniform(*shape) > 0.4
        seen[..., :3, :] = False  # queries that see nothing
        for mask in (seen, normal(*shape, seed=3), np.where(seen, np.float32(0.5), np.float32(-np.inf))):
            for causal in (False, True)[:1 + (len(shape) == 2)]:
                yield f"mask {mask.dtype}{shape} causal={causal}", qkv(2, 4, 2, 80, 150, 24), \
                    {"mask": mask, "causal": causal}, False
    special = qkv(1, 2, 2, 70, 140, 16)
    special[0][0, 0, 5, 3] = np.nan
    special[1][0, 1, 90] = 0
    yield "NaN", special, {}, False
    yield "causal, two queries", qkv(2, 4, 2, 2, 70, 32), {"causal": True}, False
    for shape in [(2, 4, 2, 100, 67, 40), (1, 2, 2, 70, 128, 32), (1, 2, 1, 2, 150, 16)]:
        for p, causal in [(0.3, False), (0.1, True), (1.0, False)]:
            options = {"causal": causal, "dropout_p": p, "seed": 2**40 + 3}
            yield f"{shape} causal={causal} dropout={p}", qkv(*shape), options, False
    for name, shape, causal in [
            ("GPT-2 small", (1, 12, 12, 1024, 1024, 64), True), ("GPT 6x384", (12, 6, 6, 256, 256, 64), True),
            ("Llama block", (1, 32, 8, 256, 256, 128), True), ("size 128", (1, 16, 16, 512, 512, 128), True),
            ("encoder", (4, 8, 8, 512, 512, 64), False), ("one token", (1, 12, 12, 1, 1024, 64), False)]:
        yield name, qkv(*shape, layout=heads_inside if name != "one token" else lambda x: x), {"causal": causal}, True
    options = {"causal": True, "dropout_p": 0.2, "seed": 1}
    yield "GPT 6x384, dropout", qkv(12, 6, 6, 256, 256, 64, layout=heads_inside), options, True


@attention.examples
def attention_cases():
    for label, arrays, options, bench in inputs():
        yield case(label, *arrays, bench=bench, **options)
    for causal, length in ((False, 140), (True, 400)):
        rows = [normal(1, 4, length + 10, 48, seed=0), normal(1, 2, length, 48, seed=1), normal(1, 2, length, 80, seed=2)]
        for label, *factors in [("long", 1, 1, 1), ("tiny", 1e-18, 1e-19, 1e-35), ("huge", 1e20, 1e-20, 1e33)]:
            yield case(f"{label} causal={causal}", *(x * np.float32(f) for x, f in zip(rows, factors)), causal=causal)
        for which, at in [(0, (0, 1, 70, 3)), (1, (0, 1, 90, 5))]:
            arrays = [x.copy() for x in rows]
            arrays[which][at] = np.nan
            yield case(f"NaN in {'qk'[which]} causal={causal}", *arrays, causal=causal)


@attention_backward.examples
def attention_backward_cases():
    for label, arrays, options, bench in inputs():
        y, lse = attention(*arrays, **options, backend="reference" if not bench else None)
        g = normal(*y.shape, dtype=y.dtype, seed=9)
        yield case(label, g, *arrays, y, lse, bench=bench, **options)


__all__ = ["attention", "attention_backward"]
