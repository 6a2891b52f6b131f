"""One table of calls for all operations: the function, what NumPy gives for it, and the arrays.

Each case is checked for its value, its first and second derivatives, and on an array class that refuses conversion.
"""
from typing import Any, NamedTuple

import numpy as np

import minidl as m


class Case(NamedTuple):
    name: str
    function: Any
    expected: Any
    arrays: tuple
    smooth: bool  # are derivatives checked


random = np.random.default_rng(0)


def real(*shape):
    return random.normal(size=shape)


def positive(*shape):
    return random.uniform(0.3, 2.0, shape)


def unit(*shape):
    return random.uniform(-0.8, 0.8, shape)


def whole(*shape):
    return random.integers(1, 20, shape)


def distinct(*shape):
    """No two values closer than a finite difference's step could confuse."""
    return random.permutation(np.arange(float(np.prod(shape)))).reshape(shape) / 3 - 1


CASES = []


def case(name, function, expected, *arrays, smooth=True):
    CASES.append(Case(f"{name}-{len(CASES)}", function, expected, arrays, smooth))


def same(name, *arrays, smooth=True, numpy=None, **kwargs):
    """A function that NumPy has too, under the name `numpy` where it differs."""
    case(name, lambda *x: getattr(m, name)(*x, **kwargs), lambda *x: getattr(np, numpy or name)(*x, **kwargs), *arrays,
         smooth=smooth)


# ---- elementwise ----
for name in ("exp", "expm1", "exp2", "sin", "cos", "sinh", "cosh", "tanh", "negative", "positive", "square", "abs", "sign",
             "floor", "ceil", "trunc", "round"):
    same(name, real(3, 4))
    same(name, real())
    same(name, real(0, 2))
same("asinh", real(3, 4))
for name in ("log", "log1p", "log2", "log10", "sqrt", "reciprocal"):
    same(name, positive(2, 3))
for name in ("asin", "acos", "atan", "atanh", "tan"):
    same(name, unit(5))
same("acosh", 1.2 + positive(4))
for name in ("add", "subtract", "multiply", "maximum", "minimum", "logaddexp", "atan2", "hypot", "copysign"):
    same(name, real(3, 4), real(3, 4))
    same(name, real(3, 1), real(4))
same("divide", real(3, 1), positive(4))
same("pow", positive(3, 1), real(4))
same("remainder", positive(3, 1) * 5, np.array([0.7, -1.3]))
same("floor_divide", positive(3, 1) * 5, np.array([0.7, -1.3]))
same("nextafter", real(3), real(3))
for power in (0, 1, 2, 3, -1, 0.5, 2.5):
    case("pow", lambda x, p=power: x ** p, lambda x, p=power: x ** p, positive(4))
case("rpow", lambda x: 2.0 ** x, lambda x: 2.0 ** x, real(4))
case("clip", lambda x: m.clip(x, -0.5, 0.5), lambda x: np.clip(x, -0.5, 0.5), real(10))
case("clip", lambda x: m.clip(x, max=0.5), lambda x: np.minimum(x, 0.5), real(10))
case("clip", lambda x: m.clip(x, 0.1), lambda x: np.maximum(x, 0.1), real(10))
case("clip", m.clip, np.clip, real(3, 4), real(4) - 1, real(4) + 1)
case("clip crossed", lambda x: m.clip(x, 0.5, -0.5), lambda x: np.clip(x, 0.5, -0.5), real(6))
case("reflected", lambda x: 2 - 3 / x, lambda x: 2 - 3 / x, positive(4))
for name in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "logical_and", "logical_or",
             "logical_xor", "bitwise_and", "bitwise_or", "bitwise_xor"):
    same(name, whole(3, 4) % 3, whole(4) % 3, smooth=False)
same("bitwise_left_shift", whole(4), whole(4) % 5, smooth=False)
same("bitwise_right_shift", whole(4), whole(4) % 5, smooth=False)
same("bitwise_invert", whole(4), smooth=False)
same("logical_not", whole(4) % 2, smooth=False)
for name in ("isnan", "isinf", "isfinite", "signbit"):
    same(name, np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.5]), smooth=False)

for name in ("real", "imag", "conj"):
    same(name, real(3) + 1j * real(3), smooth=False)

# ---- activations ----
def sigmoid(x):
    return 1 / (1 + np.exp(-x))


F = m.nn.functional
case("selu", F.selu, lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)), distinct(9) + 0.1)
case("celu", lambda x: F.celu(x, 0.7), lambda x: np.where(x > 0, x, 0.7 * np.expm1(x / 0.7)), distinct(9) + 0.1)
case("logsigmoid", F.logsigmoid, lambda x: np.log(sigmoid(x)), real(9))
case("mish", F.mish, lambda x: x * np.tanh(np.log1p(np.exp(x))), real(9))
case("softsign", F.softsign, lambda x: x / (1 + np.abs(x)), distinct(9) + 0.1)
case("tanhshrink", F.tanhshrink, lambda x: x - np.tanh(x), 1 + positive(9))
case("glu", F.glu, lambda x: x[:, :2] * sigmoid(x[:, 2:]), real(3, 4))
case("softmin", lambda x: F.softmin(x, -1), lambda x: np.exp(-x) / np.exp(-x).sum(-1, keepdims=True), real(3, 4))
case("hardtanh", lambda x: F.hardtanh(x, -0.4, 0.9), lambda x: np.clip(x, -0.4, 0.9), distinct(12) + 0.1)
case("hardsigmoid", F.hardsigmoid, lambda x: np.clip(x / 6 + 0.5, 0, 1), 2 * distinct(12) - 2.9)
case("hardswish", F.hardswish, lambda x: x * np.clip(x / 6 + 0.5, 0, 1), 2 * distinct(12) - 2.9)
case("hardshrink", F.hardshrink, lambda x: np.where(np.abs(x) > 0.5, x, 0), distinct(12) + 0.1)
case("softshrink", F.softshrink, lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0), distinct(12) + 0.1)
case("threshold", lambda x: F.threshold(x, 0.25, -2), lambda x: np.where(x > 0.25, x, -2), distinct(12) + 0.1)
case("prelu", F.prelu, lambda x, w: np.where(x > 0, x, x * w[:, None]), distinct(2, 3, 4) + 0.1, real(3))

# ---- reductions ----
for name in ("sum", "mean", "prod", "var", "std", "max", "min"):
    for kwargs in ({}, {"axis": 0}, {"axis": -1, "keepdims": True}, {"axis": (0, 2)}, {"axis": (-1, 0), "keepdims": True}):
        same(name, distinct(2, 3, 2) + 0.1, **kwargs)
    same(name, np.array(1.5), smooth=name != "std")
case("sum_squares", lambda x: m.ops.reduce.sum_squares(x, axis=1), lambda x: (x * x).sum(1), real(3, 4))
same("sum", real(0, 3), axis=0)
same("prod", real(0, 3), axis=0)
same("sum", real(0))
case("var correction", lambda x: m.var(x, axis=0, correction=1), lambda x: np.var(x, axis=0, ddof=1), real(4, 2))
case("std correction", lambda x: m.std(x, axis=0, correction=1), lambda x: np.std(x, axis=0, ddof=1), real(4, 2))
case("prod with a zero", lambda x: m.prod(x, axis=1),
     lambda x: np.prod(x, axis=1), np.array([[1.5, 0, 2], [3, -1, 0.5]]))
case("prod with two zeros", m.prod, np.prod, np.array([1.5, 0, 2, 0]))
case("prod over two axes with a zero", lambda x: m.prod(x, axis=(0, 2)), lambda x: np.prod(x, axis=(0, 2)),
     np.where(np.arange(12) == 5, 0, positive(12)).reshape(2, 3, 2))
for name in ("any", "all", "count_nonzero", "argmax", "argmin"):
    for kwargs in ({}, {"axis": 0}, {"axis": -1, "keepdims": True}):
        same(name, np.array([[0.0, 2, 1], [0, 0, 3]]), smooth=False, **kwargs)
same("count_nonzero", np.array([[0, 1], [2, 0]]), smooth=False, axis=(0, 1))


def _logsumexp(x, axis=None, keepdims=False):
    return np.log(np.sum(np.exp(x), axis=axis, keepdims=keepdims))


case("logsumexp", m.logsumexp, _logsumexp, real(2, 3))
case("logsumexp", lambda x: m.logsumexp(x, -1), lambda x: _logsumexp(x, -1), real(2, 3))
case("logsumexp", lambda x: m.logsumexp(x, (0, 2), True), lambda x: _logsumexp(x, (0, 2), True), real(2, 3, 2))
for name in ("cumulative_sum", "cumulative_prod"):
    same(name, positive(5))
    same(name, positive(2, 3), axis=-1)
    same(name, positive(2, 3), axis=0, include_initial=True)
same("cumulative_prod", np.array([[2.0, 0, 3, 0.5], [1.0, 2, 0, 0]]), axis=1)
same("cumulative_prod", np.array([[2.0, 0, 3], [1.0, 2, 4]]), axis=0, include_initial=True)
same("diff", real(5))
same("diff", real(3, 4), axis=0, n=2)
case("diff with ends", lambda x, a: m.diff(x, prepend=a, append=a),
     lambda x, a: np.diff(x, prepend=a, append=a), real(3), real(1))
for order in (1, 2, 3, np.inf, -np.inf):
    case("norm", lambda x, o=order: m.norm(x, o, axis=1),
         lambda x, o=order: np.linalg.norm(x, o, axis=1), distinct(2, 3) + 0.1)
case("norm 0", lambda x: m.norm(x, 0, axis=0),
     lambda x: np.linalg.norm(x, 0, axis=0), np.array([[0.0, 1], [2, 3]]), smooth=False)

# ---- shape ----
case("reshape", lambda x: m.reshape(x, (3, -1)), lambda x: x.reshape(3, -1), real(2, 6))
case("reshape a transpose", lambda x: x.T.reshape(2, 6), lambda x: x.T.reshape(2, 6), real(4, 3))
case("reshape to 0-d", lambda x: m.reshape(x, ()), lambda x: x.reshape(()), real(1, 1))
case("reshape copy", lambda x: m.reshape(x, (4,), copy=True), lambda x: x.reshape(4), real(2, 2))
case("permute_dims", lambda x: m.permute_dims(x, (2, 0, 1)), lambda x: x.transpose(2, 0, 1), real(2, 3, 4))
case("permute_dims negative", lambda x: m.permute_dims(x, (-1, 0, -2)), lambda x: x.transpose(-1, 0, -2), real(2, 3, 4))
case("broadcast_to", lambda x: m.broadcast_to(x, (2, 3, 4)), lambda x: np.broadcast_to(x, (2, 3, 4)), real(3, 1))
case("broadcast_arrays", lambda x, y: m.broadcast_arrays(x, y)[0] * 2,
     lambda x, y: np.broadcast_arrays(x, y)[0] * 2, real(3, 1), real(4))
case("meshgrid", lambda x, y: m.meshgrid(x, y)[0], lambda x, y: np.meshgrid(x, y)[0], real(3), real(2))
case("meshgrid ij", lambda x, y: m.meshgrid(x, y, indexing="ij")[1],
     lambda x, y: np.meshgrid(x, y, indexing="ij")[1], real(3), real(2))
same("expand_dims", real(2, 3), axis=1)
same("expand_dims", real(2, 3), axis=(0, -1))
same("squeeze", real(1, 3, 1))
same("squeeze", real(1, 3, 1), axis=-1)
case("flatten", lambda x: m.flatten(x, 1), lambda x: x.reshape(2, 12), real(2, 3, 4))
case("flatten 0-d", m.flatten, lambda x: x.reshape(1), real())
case("ravel", m.ravel, np.ravel, real(2, 3))
case("moveaxis", lambda x: m.moveaxis(x, 0, -1), lambda x: np.moveaxis(x, 0, -1), real(2, 3, 4))
case("moveaxis", lambda x: m.moveaxis(x, (0, 1), (-1, 0)), lambda x: np.moveaxis(x, (0, 1), (-1, 0)), real(2, 3, 4))
case("swapaxes", lambda x: m.swapaxes(x, 0, -1), lambda x: np.swapaxes(x, 0, -1), real(2, 3, 4))
case("concat", lambda x, y: m.concat([x, y], axis=-1), lambda x, y: np.concatenate([x, y], -1), real(2, 3), real(2, 1))
case("concat flattened", lambda x, y: m.concat([x, y], axis=None),
     lambda x, y: np.concatenate([x, y], None), real(2, 3), real(2))
case("stack", lambda x, y: m.stack([x, y], axis=1), lambda x, y: np.stack([x, y], 1), real(2, 3), real(2, 3))
case("stack negative", lambda x, y: m.stack([x, y], axis=-1), lambda x, y: np.stack([x, y], -1), real(2, 3), real(2, 3))
case("split", lambda x: m.split(x, 2, axis=1), lambda x: tuple(np.split(x, [2, 4], 1)), real(2, 5))
case("split sizes, one used", lambda x: m.split(x, [1, 3])[1], lambda x: x[1:4], real(4, 2))
case("chunk", lambda x: m.chunk(x, 3)[0] * m.chunk(x, 3)[2], lambda x: x[:2] * x[4:], real(6))
case("unstack", lambda x: m.unstack(x, axis=1), lambda x: tuple(x.T), real(2, 3))
case("tile", lambda x: m.tile(x, (2, 1, 3)), lambda x: np.tile(x, (2, 1, 3)), real(2, 3))
case("tile fewer", lambda x: m.tile(x, (2,)), lambda x: np.tile(x, (2,)), real(2, 3))
same("repeat", real(2, 3), repeats=2)
same("repeat", real(2, 3), repeats=2, axis=-1)
case("repeat each", lambda x: m.repeat(x, [1, 0, 2], axis=1), lambda x: np.repeat(x, [1, 0, 2], axis=1), real(2, 3))
same("flip", real(2, 3))
same("flip", real(2, 3), axis=-1)
case("roll", lambda x: m.roll(x, 2), lambda x: np.roll(x, 2), real(2, 3))
case("roll", lambda x: m.roll(x, (1, -1), (0, 1)), lambda x: np.roll(x, (1, -1), (0, 1)), real(2, 3))
case("pad", lambda x: m.pad(x, 1), lambda x: np.pad(x, 1), real(2, 3))
case("pad", lambda x: m.pad(x, ((0, 2), (1, 0)), constant_values=7),
     lambda x: np.pad(x, ((0, 2), (1, 0)), constant_values=7), real(2, 3))
for mode in ("edge", "reflect", "symmetric", "wrap"):
    case(f"pad {mode}", lambda x, k=mode: m.pad(x, (1, 2), k), lambda x, k=mode: np.pad(x, (1, 2), k), real(3, 4))

# ---- reading elements ----
KEYS = [0, -1, slice(1, 3), slice(None, None, -2), None, ..., (slice(None), 1), (..., 0), (1, None, slice(0, 2)), (0, 1), ()]
for key in KEYS:
    case(f"x[{key}]", lambda x, k=key: x[k], lambda x, k=key: x[k], real(4, 3))
case("x[0-d]", lambda x: x[...], lambda x: x[...], real())
case("x[indices]", lambda x, i: x[i], lambda x, i: x[i], real(4, 3), np.array([0, 2, 0, -1]))
case("x[indices, indices]", lambda x, i, j: x[i, j],
     lambda x, i, j: x[i, j], real(4, 3), np.array([[0, 2], [0, 0]]), np.array([1, 1]))
case("x[:, indices]", lambda x, i: x[:, i], lambda x, i: x[:, i], real(4, 3), np.array([0, 2, 0]))
case("x[mask]", lambda x, k: x[k], lambda x, k: x[k], real(4, 3), np.arange(12).reshape(4, 3) % 3 == 0)
case("x[row mask]", lambda x, k: x[k, 1:], lambda x, k: x[k, 1:], real(4, 3), np.array([True, False, True, True]))
case("x[index]", lambda x, i: x[i], lambda x, i: x[i], real(4, 3), np.array(2))
case("take", lambda x, i: m.take(x, i, axis=1), lambda x, i: np.take(x, i, axis=1), real(2, 4), np.array([3, 0, 3]))
case("take", m.take, np.take, real(5), np.array([3, 0, 3]))
case("take_along_axis", lambda x, i: m.take_along_axis(x, i, axis=1),
     lambda x, i: np.take_along_axis(x, i, 1), real(2, 4),
     np.array([[3, 0, 3], [1, 1, 1]]))
case("gather", lambda x, i: m.gather(x, 0, i), lambda x, i: np.take_along_axis(x[:, :2], i, 0), real(3, 4),
     np.array([[0, 2], [1, 1], [0, 0], [2, 2]]))
case("where", m.where, np.where, np.array([True, False, True]), real(2, 3), real(3))
case("where a number", lambda c, x: m.where(c, x, 0.0),
     lambda c, x: np.where(c, x, 0.0), np.array([True, False]), real(2))
case("masked_fill", lambda x, k: m.masked_fill(x, k, 7.0),
     lambda x, k: np.where(k, 7.0, x), real(2, 3), np.array([True, False, True]))
same("nonzero", np.array([[0, 1, 2], [3, 0, 0]]), smooth=False)
for k in (-1, 0, 1):
    same("tril", real(2, 3, 4), k=k)
    same("triu", real(2, 3, 4), k=k)
    same("diagonal", real(3, 4), offset=k)
case("diagonal", lambda x: m.diagonal(x, 1, -2, -1), lambda x: np.diagonal(x, 1, -2, -1), real(2, 3, 4))

# ---- lengths, distances, and losses of them ----
def lengths(x, axis=-1):
    return np.sqrt((x * x).sum(axis, keepdims=True))


def hinge(x):
    return np.maximum(x, 0)


case("normalize", F.normalize, lambda x: x / lengths(x, 1), real(2, 3, 2))
case("pairwise_distance", F.pairwise_distance, lambda x, y: lengths(x - y + 1e-6)[..., 0], real(4, 3), real(3))
case("cosine_similarity", lambda x, y: F.cosine_similarity(x, y, dim=-2),
     lambda x, y: (x * y).sum(-2) / (lengths(x, -2) * lengths(y, -2))[:, 0], real(2, 3, 4), real(1, 3, 1).repeat(4, 2))
case("pdist", F.pdist, lambda x: np.array([lengths(x[i] - x[j])[0] for i in range(4) for j in range(i + 1, 4)]), real(4, 3))
LOG_P, Q, SIDES = np.log(positive(3, 4)), positive(3, 4), np.sign(real(3, 4)).astype(int)
case("kl_div", lambda x, t: F.kl_div(x, t, reduction="batchmean"), lambda x, t: (t * (np.log(t) - x)).sum() / 3, LOG_P, Q)
case("kl_div of logarithms", lambda x, t: F.kl_div(x, t, "sum", True), lambda x, t: (np.exp(t) * (t - x)).sum(), LOG_P,
     real(3, 4))
case("poisson_nll_loss", lambda x, t: F.poisson_nll_loss(x, t, full=True), lambda x, t: np.mean(
    np.exp(x) - t * x + np.where(t > 1, t * np.log(t) - t + np.log(2 * np.pi * t) / 2, 0)), real(3, 4), Q)
case("gaussian_nll_loss", F.gaussian_nll_loss, lambda x, t, v: np.mean(np.log(v) + (x - t)**2 / v) / 2,
     real(3, 4), real(3, 4), positive(3, 1))
case("hinge_embedding_loss", lambda x, t: F.hinge_embedding_loss(x, t, 0.5),
     lambda x, t: np.mean(np.where(t > 0, x, hinge(0.5 - x))), distinct(3, 4), SIDES)
case("margin_ranking_loss", lambda x, y, t: F.margin_ranking_loss(x, y, t, 0.1),
     lambda x, y, t: np.mean(hinge(0.1 - t * (x - y))), distinct(4), real(4), SIDES[0])
case("soft_margin_loss", F.soft_margin_loss, lambda x, t: np.mean(np.log(1 + np.exp(-t * x))), real(3, 4), SIDES)
case("multilabel_soft_margin_loss", F.multilabel_soft_margin_loss,
     lambda x, t: np.mean(np.log(1 + np.exp((1 - 2 * t) * x))), real(3, 4), (SIDES + 1) // 2)
case("multi_margin_loss", lambda x, t, w: F.multi_margin_loss(x, t, p=2, weight=w), lambda x, t, w: np.mean(
    [w[k] * sum(hinge(1 - x[i, k] + x[i, j])**2 for j in range(3) if j != k) / 3 for i, k in enumerate(t)]),
     distinct(2, 3), np.array([1, 0]), positive(3))
case("multilabel_margin_loss", F.multilabel_margin_loss,
     lambda x, t: sum(hinge(1 - x[k] + x[j]) for k in t[:2] for j in (1, 3)) / 4, distinct(4) / 2, np.array([2, 0, -1, 1]))
case("cosine_embedding_loss", lambda x, y, t: F.cosine_embedding_loss(x, y, t, -0.5), lambda x, y, t: np.mean(
    np.abs(np.where(t > 0, 1, -0.5) - (x * y).sum(1) / (lengths(x) * lengths(y))[:, 0])), positive(2, 3), positive(2, 3),
     np.array([1, -1]))
case("triplet_margin_loss", lambda a, p, n: F.triplet_margin_loss(a, p, n, 3.0, swap=True), lambda a, p, n: np.mean(
    hinge(3 + lengths(a - p + 1e-6) - np.minimum(lengths(a - n + 1e-6), lengths(p - n + 1e-6)))),
     real(4, 3), real(4, 3), real(4, 3))
case("softmax of a number", lambda x: F.softmax(x, dim=0), lambda x: np.ones(()), real())
case("sum over the axis of a number", lambda x: m.sum(x, axis=0, keepdims=True) * x, lambda x: x * x, real())

# ---- order ----
for descending in (False, True):
    case("sort", lambda x, d=descending: m.sort(x, axis=0, descending=d),
         lambda x, d=descending: np.sort(x, 0)[::-1 if d else 1], distinct(4, 3))
    case("topk", lambda x, d=descending: m.topk(x, 2, largest=d).values,
         lambda x, d=descending: np.sort(x)[:, :-3:-1] if d else np.sort(x)[:, :2], distinct(3, 4))
same("argsort", distinct(3, 4), axis=0, smooth=False)
same("searchsorted", np.array([1.0, 2, 2, 3]), np.array([[0.0, 2], [2.5, 4]]), smooth=False, side="right")
same("unique_values", np.array([[3, 1, 3], [2, 1, 1]]), smooth=False, numpy="unique")
for name in ("unique_all", "unique_counts", "unique_inverse"):
    same(name, np.array([[3, 1, 3], [2, 1, 1]]), smooth=False)

# ---- products ----
for a, b in (((3, 4), (4, 2)), ((4,), (4,)), ((4,), (4, 2)), ((3, 4), (4,)), ((2, 3, 4), (4, 2)), ((2, 1, 3, 4), (5, 4, 2)),
             ((4,), (2, 4, 3)), ((2, 3, 4), (4,)), ((3, 0), (0, 2)), ((0, 4), (4, 2))):
    same("matmul", real(*a), real(*b))
case("matrix_transpose", m.matrix_transpose, lambda x: x.mT, real(2, 3, 4))
same("vecdot", real(2, 3), real(3))
case("vecdot", lambda x, y: m.vecdot(x, y, axis=-2), lambda x, y: (x * y).sum(-2), real(3, 2), real(3, 2))
case("tensordot", m.tensordot, np.tensordot, real(2, 3, 4), real(3, 4, 2))
case("tensordot", lambda x, y: m.tensordot(x, y, axes=((0, 2), (1, 0))),
     lambda x, y: np.tensordot(x, y, axes=((0, 2), (1, 0))),
     real(2, 3, 4), real(4, 2))
case("tensordot 0", lambda x, y: m.tensordot(x, y, 0), lambda x, y: np.tensordot(x, y, 0), real(2), real(3))
same("outer", real(3), real(2))
case("mm", m.mm, np.matmul, real(3, 4), real(4, 2))
case("bmm", m.bmm, np.matmul, real(2, 3, 4), real(2, 4, 2))
case("dot", m.dot, np.dot, real(3), real(3))
case("linear", m.ops.linear, lambda x, w, b: x @ w.T + b, real(2, 3), real(4, 3), real(4))
case("linear", lambda x, w: m.ops.linear(x, w, None, "relu"),
     lambda x, w: np.maximum(x @ w.T, 0), real(2, 2, 3), real(4, 3))

def mean_loss(logits, labels):
    return np.mean(np.log(np.exp(logits).sum(-1)) - logits[np.arange(len(labels)), labels])


case("linear_cross_entropy", lambda x, w, b, t: m.nn.functional.linear_cross_entropy(x, w, t, linear_bias=b),
     lambda x, w, b, t: mean_loss(x @ w.T + b, t), real(5, 3), real(6, 3), real(6), np.array([0, 3, 5, 3, 1]))
EQUATIONS = (
    ("ij,jk->ik", (2, 3), (3, 4)), ("bij,bjk", (2, 3, 2), (2, 2, 3)), ("ii->i", (3, 3)), ("ii", (3, 3)), ("ij->", (2, 3)),
    ("ij->ji", (2, 3)), ("i,j->ij", (2,), (3,)), ("...ij,...jk->...ik", (2, 2, 3), (3, 2)), ("ij,kl->i", (2, 3), (2, 2)),
    ("bhid,bhjd->bhij", (1, 2, 3, 2), (1, 2, 2, 2)), ("iij,jj->i", (2, 2, 3), (3, 3)), ("ij,ij->ij", (1, 3), (2, 3)),
    ("ij,jk,kl->il", (2, 3), (3, 2), (2, 2)), ("ij,j->i", (2, 3), (1,)), ("i...->...", (2, 3, 2)), ("...,->...", (2, 3), ()),
    ("ij,i->i", (2, 3), (2,)), ("ij,jk->i", (2, 3), (3, 1)), ("ij,j->i", (2, 3), (3,)), ("i,->", (3,), ()))
for equation, *shapes in EQUATIONS:
    case(f"einsum {equation}", lambda *x, e=equation: m.einsum(e, *x), lambda *x, e=equation: np.einsum(e, *x),
         *[real(*s) for s in shapes])
case("astype", lambda x: m.astype(x, m.float64), lambda x: x, real(3))
case("clone", lambda x: x.clone(), lambda x: x, real(3))

# ---- linear algebra ----
def spd(*shape):
    """Symmetric positive definite matrices with eigenvalues that differ."""
    q = np.linalg.qr(real(*shape))[0]
    return (q * (1 + np.arange(shape[-1]))) @ q.mT


def even(x):
    """Symmetric matrices, of arrays and tensors."""
    return (x + x.mT) / 2


SQUARE = (4, 4), (2, 3, 3)
for shape in SQUARE:
    for name in ("inv", "det"):
        case(name, getattr(m.linalg, name), getattr(np.linalg, name), spd(*shape) + 0.3 * real(*shape))
    case("slogdet", m.linalg.slogdet, np.linalg.slogdet, spd(*shape) + 0.3 * real(*shape))
    for n in (-2, 0, 1, 5):
        case("matrix_power", lambda x, n=n: m.linalg.matrix_power(x, n), lambda x, n=n: np.linalg.matrix_power(x, n),
             0.5 * spd(*shape))
    case("cholesky", lambda x: m.linalg.cholesky(even(x)), lambda x: np.linalg.cholesky(even(x)), spd(*shape))
    case("upper cholesky", lambda x: m.linalg.cholesky(even(x), upper=True), lambda x: np.linalg.cholesky(even(x)).mT,
         spd(*shape))
    case("eigh", lambda x: m.linalg.eigh(even(x)), lambda x: np.linalg.eigh(even(x)), spd(*shape))
    case("eigvalsh", lambda x: m.linalg.eigvalsh(even(x)), lambda x: np.linalg.eigvalsh(even(x)), spd(*shape))
    for offset in (-1, 0, 1):
        case("trace", lambda x, k=offset: m.linalg.trace(x, offset=k), lambda x, k=offset: np.trace(x, k, -2, -1),
             real(*shape))
case("solve", m.linalg.solve, np.linalg.solve, spd(2, 3, 3), real(3, 2))
case("solve", m.linalg.solve, lambda x, y: np.linalg.solve(x, y[:, None])[..., 0], spd(2, 3, 3), real(3))
case("det of a singular matrix", m.linalg.det, np.linalg.det, np.diag([1.0, 2, 0]) @ real(3, 3), smooth=False)
for shape in ((4, 3), (3, 5), (2, 3, 3)):
    case("qr", m.linalg.qr, np.linalg.qr, real(*shape))
    case("svd", lambda x: m.linalg.svd(x, full_matrices=False), lambda x: np.linalg.svd(x, full_matrices=False), real(*shape))
    case("svdvals", m.linalg.svdvals, np.linalg.svdvals, real(*shape))
    case("pinv", m.linalg.pinv, np.linalg.pinv, real(*shape))
    case("matrix_rank", m.linalg.matrix_rank, np.linalg.matrix_rank, np.ones(shape), smooth=False)
    for order in ("fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf):
        for keepdims in (False, True):
            case("matrix_norm", lambda x, o=order, k=keepdims: m.linalg.matrix_norm(x, ord=o, keepdims=k),
                 lambda x, o=order, k=keepdims: np.linalg.matrix_norm(x, ord=o, keepdims=k), real(*shape))
case("complete qr", lambda x: m.linalg.qr(x, mode="complete"), lambda x: np.linalg.qr(x, "complete"), real(4, 2), smooth=False)
case("complete qr", lambda x: m.linalg.qr(x, mode="complete"), lambda x: np.linalg.qr(x, "complete"), real(2, 4))
case("full svd", m.linalg.svd, np.linalg.svd, real(3, 2), smooth=False)
case("norm", m.linalg.norm, np.linalg.norm, real(2, 3, 2))
case("norm", lambda x: m.linalg.norm(x, "nuc"), lambda x: np.linalg.norm(x, "nuc"), real(2, 3))
case("norm", lambda x: m.linalg.norm(x, 3, dim=1, keepdim=True), lambda x: np.linalg.norm(x, 3, 1, True), real(2, 3))
case("norm", lambda x: m.linalg.norm(x, 1, axis=(0, 2)), lambda x: np.linalg.norm(x, 1, (0, 2)), real(2, 3, 2))
case("vector_norm", lambda x: m.linalg.vector_norm(x, axis=(0, 2), ord=3),
     lambda x: np.linalg.vector_norm(x, axis=(0, 2), ord=3), real(2, 3, 2))
case("cross", m.linalg.cross, np.linalg.cross, real(2, 3), real(3))
case("cross", lambda x, y: m.linalg.cross(x, y, axis=0), lambda x, y: np.linalg.cross(x, y, axis=0), real(3, 2), real(3, 2))

# ---- Fourier transforms ----
def both_parts(y):
    return y.real, y.imag


def transform(name, options, *arrays):
    """Of one array, or of the complex numbers whose parts two arrays are."""
    case(name, lambda *x: both_parts(getattr(m.fft, name)(x[0] if len(x) == 1 else x[0] + 1j * x[1], **options)),
         lambda *x: both_parts(getattr(np.fft, name)(x[0] if len(x) == 1 else x[0] + 1j * x[1], **options)), *arrays)


for name in ("fft", "ifft", "rfft", "ihfft"):
    for options in ({}, {"n": 4, "axis": 0}, {"n": 7, "norm": "ortho"}, {"norm": "forward"}):
        transform(name, options, real(2, 5))
for name in ("fft", "ifft", "irfft", "hfft"):
    for options in ({}, {"n": 5, "axis": 0}, {"norm": "ortho"}, {"n": 2}, {"n": 1}):
        transform(name, options, real(2, 3), real(2, 3))
for name in ("fftn", "ifftn", "rfftn", "irfftn"):
    for options in ({}, {"axes": (0, 2)}, {"s": (4, 3), "axes": (0, 1), "norm": "forward"}):
        transform(name, options, real(2, 2, 3))
for name in ("fftshift", "ifftshift"):
    for axes in (None, 1, (0, 2)):
        case(name, lambda x, f=name, a=axes: getattr(m.fft, f)(x, axes=a),
             lambda x, f=name, a=axes: getattr(np.fft, f)(x, axes=a), real(2, 3, 4))
