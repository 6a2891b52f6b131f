"""Scaled dot product attention (Vaswani et al., 2017).

With S = scale q k^T + mask, P = softmax(S) along the keys and y = P v. A query that sees no key has P = 0.
"""
from math import prod, sqrt

import numpy as np

from .. import kernels
from ..autograd import op
from ..autograd.tensor import wrap
from .activation import softmax
from .index import where
from .reduce import all as all_of
from .shape import broadcast_to, repeat

MINUS_INFINITY = float("-inf")


@op
def attention(q, k, v, mask=None, causal=False, scale=None, dropout_p=0.0, seed=0):
    """y = F P v and lse, the logarithm of the softmax's denominator; P is never in memory as a whole.

    dL/dq, dk, dv = attention_backward; dlse/dS = P. Shapes: q (N, H, T, D), k (N, Hk, S, D), v (N, Hk, S, Dv) with Hk a
    divisor of H, mask broadcastable to (N, H, T, S): added, or if bool True where a query sees a key; causal: query t sees
    keys 0 to t -> (N, H, T, Dv), (N, H, T). F: the factors of dropout with this probability and seed.
    """
    return kernels.attention(q, k, v, mask, causal, scale, **dropping(dropout_p, seed))


@attention.vjp
def attention_vjp(g, y, q, k, v, mask, causal, scale, dropout_p, seed, need):
    dy, dlse = g
    if dlse is None and not need[3]:
        dq, dk, dv = attention_backward(dy, q, k, v, y[0], y[1], mask, causal, scale, dropout_p, seed)
        return dq if need[0] else None, dk if need[1] else None, dv if need[2] else None
    # the gradient of a mask is as large as P, and lse is for those who ask: by the definition
    weights = attention_weights(q, k, mask, causal, scale)
    kept = kept_weights(weights, dropout_p, seed)
    scale, groups, k, v = by_definition(q, k, v, scale)
    slopes = 0 if dlse is None else dlse[..., None]
    if dy is not None:
        slopes = slopes + kept * (dy @ v.mT) - (dy * y[0]).sum(axis=-1, keepdims=True)
    ds = weights * slopes
    return (scale * (ds @ k) if need[0] else None, summed(scale * (ds.mT @ q), groups) if need[1] else None,
            summed((kept * weights).mT @ dy, groups) if need[2] and dy is not None else None, ds if need[3] else None)


@op
def attention_backward(dy, q, k, v, y, lse, mask=None, causal=False, scale=None, dropout_p=0.0, seed=0):
    """dq = scale dS k, dk = scale dS^T q, dv = (F P)^T dy, with dS = P (dP - sum of P dP along the keys) and dP = F dy v^T.

    For the gradients A, B and C of the three and M = scale (A k^T + q B^T), Q(x) = P (x - sum of P x): d/d(dP) = Q(M),
    d/dP = M (dP - sum of P dP) - dP sum of P M + F dy C^T, d/dS = Q(d/dP), and from there to dy, q, k, v and the mask.
    y and lse are those of q, k, v and the mask: their share is in the derivatives by these. Shapes: as for attention.
    """
    return kernels.attention_backward(dy, q, k, v, y, lse, mask, causal, scale, **dropping(dropout_p, seed))


@attention_backward.vjp
def attention_backward_vjp(g, dy, q, k, v, mask, causal, scale, dropout_p, seed):
    weights = attention_weights(q, k, mask, causal, scale)
    kept = kept_weights(weights, dropout_p, seed)
    scale, groups, k, v = by_definition(q, k, v, scale)
    a, b, c = (None if x is None else spread(x, q.shape[1]) for x in g)
    centered = kept * (dy @ v.mT)
    by_dp = by_dy = 0
    by_weights = 0 if c is None else kept * (dy @ c.mT)
    if c is not None:
        by_dy = (kept * weights) @ c
    if a is not None or b is not None:
        m = scale * (0 if a is None else a @ k.mT) + scale * (0 if b is None else q @ b.mT)
        mean = (weights * m).sum(axis=-1, keepdims=True)
        by_dp = weights * (m - mean)
        by_weights = by_weights + m * (centered - (weights * centered).sum(axis=-1, keepdims=True)) - mean * centered
        by_dp = kept * by_dp
        by_dy = by_dy + by_dp @ v
    centered = weights * (centered - (weights * centered).sum(axis=-1, keepdims=True))  # dS
    by_scores = weights * (by_weights - (weights * by_weights).sum(axis=-1, keepdims=True))
    by_q, by_k = by_scores @ k, by_scores.mT @ q
    if b is not None:
        by_q = by_q + centered @ b
    if a is not None:
        by_k = by_k + centered.mT @ a
    by_v = None if a is None and b is None else summed(by_dp.mT @ dy, groups)
    return by_dy, scale * by_q, summed(scale * by_k, groups), by_v, None, None, by_scores


def heads_apart(x, heads):
    """A view of the heads' channels side by side. Shape: (N, T, heads D) -> (N, heads, T, D)."""
    return x.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)


def heads_joined(x):
    """The other way. Shape: (N, heads, T, D) -> (N, T, heads D)."""
    return x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], x.shape[1] * x.shape[3])


@op
def rotate(x, angles):
    """Rotary positions (Su et al., 2021): the pairs (x[i], x[i + D / 2]) turned by angles[..., i].

    dL/dx = g turned back; the angles are constants. Shapes: x (..., T, H, D), angles (T, 1, D / 2).
    """
    half = x.shape[-1] // 2
    a, b, cos, sin = x[..., :half], x[..., half:], np.cos(angles), np.sin(angles)
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


@rotate.vjp
def rotate_vjp(g, angles):
    return rotate(g, -angles)


def attended(q, k, v, mask=None, causal=False, scale=None, dropout_p=0.0):
    """y of `attention`, with weights that are dropped with a probability by a seed of minidl.random.default_generator."""
    if not dropout_p:
        return attention(q, k, v, mask, causal, scale)[0]
    from ..random import default_generator
    return attention(q, k, v, mask, causal, scale, dropout_p, default_generator.numpy.bit_generator.random_raw())[0]


def dropping(dropout_p, seed):
    """Options of the kernels that are there only where they are needed: calls without options are quicker."""
    return {"dropout_p": dropout_p, "seed": seed} if dropout_p else {}


def kept_weights(weights, dropout_p, seed):
    """What dropout multiplies the softmax's weights (N, H, T, S) by, as the kernels do."""
    if not dropout_p:
        return 1
    ones = np.ones((*weights.shape[:3], -(-weights.shape[3] // 64) * 64), weights.dtype, like=weights.array)
    return wrap(kernels.dropout(ones, dropout_p, seed)[..., :weights.shape[3]])


def by_definition(q, k, v, scale):
    """The scale that None stands for, the number of key heads, and a key and value head for each query head."""
    return 1 / sqrt(q.shape[-1]) if scale is None else scale, k.shape[1], spread(k, q.shape[1]), spread(v, q.shape[1])


def spread(x, heads):
    """Each key head once for each query head that it serves."""
    return x if x.shape[1] == heads else repeat(x, heads // x.shape[1], axis=1)


def summed(x, groups):
    """The transpose of `spread`: sums over the query heads of a key head."""
    return x if x.shape[1] == groups else x.reshape(x.shape[0], groups, -1, *x.shape[2:]).sum(axis=2)


@op
def causal_mask(scores):
    """True for keys 0 to t of query t; no derivative: the result is boolean. Shapes: (..., T, S) -> (T, S)."""
    return np.tri(*scores.shape[-2:], dtype=bool, like=scores)


def attention_weights(q, k, mask=None, causal=False, scale=None):
    """P, (N, H, T, S), by the definition. d/dq and d/dk by the operations it is made of. Arguments as for attention."""
    scores = (q @ spread(k, q.shape[1]).mT) * (1 / sqrt(q.shape[-1]) if scale is None else scale)
    if causal:
        scores = where(causal_mask(scores), scores, MINUS_INFINITY)
    if mask is None:
        return softmax(scores, axis=-1)
    scores = where(mask, scores, MINUS_INFINITY) if mask.dtype == bool else scores + mask
    blind = all_of(scores == MINUS_INFINITY, axis=-1, keepdims=True)
    return where(blind, 0, softmax(where(blind, 0, scores), axis=-1))


def broadcast_batches(name, *arrays):
    """The arrays with all axes but the last two broadcast against each other."""
    try:
        batch = np.broadcast_shapes(*(x.shape[:-2] for x in arrays))
    except ValueError:
        raise ValueError(f"{name}: query, key and value {', '.join(str(x.shape) for x in arrays)}: the same batch and heads "
                         "expected (enable_gqa=True allows fewer heads of keys and values)") from None
    return [broadcast_to(x, (*batch, *x.shape[-2:])) for x in arrays]


def scaled_dot_product_attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None,
                                 enable_gqa=False):
    """softmax(scale query key^T + attn_mask) value along the keys; scale is 1 / sqrt(E) if None. Derivatives of any order.

    query (..., H, T, E), key (..., H, S, E), value (..., H, S, Ev), or without the heads' axis -> (..., H, T, Ev); the
    leading axes broadcast, or, with enable_gqa, the keys' and values' H may be a divisor of the query's. attn_mask,
    broadcastable to (..., H, T, S): added if floating; if bool, True where a query sees a key. is_causal: query t sees keys
    0 to t. A query that sees no key gives 0.
    dropout_p: weights are dropped with this probability. They are never in memory as a whole. Raises ValueError
    where shapes or dtypes do not match, or for a mask with is_causal.
    """
    name = "scaled_dot_product_attention"
    if attn_mask is not None and is_causal:
        raise ValueError(f"{name}: attn_mask {attn_mask.shape} and is_causal=True: one of them expected")
    if not enable_gqa and not query.shape[:-2] == key.shape[:-2] == value.shape[:-2]:
        query, key, value = broadcast_batches(name, query, key, value)
    for option, x in (("query", query), ("key", key), ("value", value)):
        if x.ndim < 2 or x.ndim != query.ndim:
            raise ValueError(f"{name}: {option} {x.shape}: as many axes as query {query.shape}, 2 or more, expected")
        batch = slice(None, -3 if enable_gqa else -2)
        if x.shape[batch] != query.shape[batch]:
            raise ValueError(f"{name}: {option} {x.shape} with query {query.shape}: the same batch and heads expected "
                             "(enable_gqa=True allows fewer heads of keys and values)")
    shape = query.shape[:-1] + value.shape[-1:]
    lead = query.shape[:-3]
    if attn_mask is not None and len(lead) > 1:
        full = (*query.shape[:-1], key.shape[-2])
        attn_mask = broadcast_to(attn_mask, full).reshape(prod(lead), *full[-3:])
    q, k, v = (x if x.ndim == 4 else x.reshape(prod(lead), *((1, *x.shape)[-3:])) for x in (query, key, value))
    y = attended(q, k, v, attn_mask, is_causal, scale, dropout_p)
    return y if y.ndim == len(shape) else y.reshape(shape)


__all__ = ["scaled_dot_product_attention"]
