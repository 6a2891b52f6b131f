"""One query at a time with its row of scores: heads and queries in parallel, of the gradient the heads of keys."""
import math

import numpy as np
from numba import njit, prange

FAST = {"contract", "reassoc", "nsz"}


def attention(y, lse, q, k, v, mask, p):
    if q.dtype != np.float32 or p.kept_scale != 1:
        return NotImplemented
    out = np.empty(y.shape, y.dtype)
    forward(out, lse, *dense(q, k, v), added(mask, q, k), p.causal, np.float32(p.scale))
    y[...] = out


def attention_backward(dq, dk, dv, g, q, k, v, y, lse, mask, p):
    if q.dtype != np.float32 or p.kept_scale != 1:
        return NotImplemented
    gradients = [np.zeros(x.shape, x.dtype) for x in (q, k, v)]
    backward(*gradients, *dense(g, q, k, v, y, lse), added(mask, q, k), p.causal, np.float32(p.scale))
    dq[...], dk[...], dv[...] = gradients


def dense(*arrays):
    return [np.ascontiguousarray(a) for a in arrays]


def added(mask, q, k):
    """What a mask adds to the scores, as (N, H, T, S), of which only what the mask itself holds is in memory."""
    if mask is None:
        mask = np.float32(0)
    elif mask.dtype == bool:
        own = mask[tuple(slice(None if stride else 1) for stride in mask.strides)]
        mask = np.where(own, np.float32(0), np.float32(-np.inf))
    return np.broadcast_to(mask, (*q.shape[:3], k.shape[2]))


@njit(inline="always")
def dot(a, b):
    total = np.float32(0)
    for d in range(len(a)):
        total += a[d] * b[d]
    return total


@njit(inline="always")
def add(y, factor, x):
    for d in range(len(x)):
        y[d] += factor * x[d]


@njit(parallel=True, fastmath=FAST, cache=True)
def forward(y, lse, q, k, v, mask, causal, scale):
    count, heads, length, _ = q.shape
    group = heads // max(1, k.shape[1])  # query heads that share a head of keys
    for task in prange(count * heads * length):
        n, h, t = task // (heads * length), task // length % heads, task % length
        keys = min(k.shape[2], t + 1) if causal else k.shape[2]
        weights, largest = np.empty(keys, np.float32), np.float32(-np.inf)
        for s in range(keys):
            weights[s] = scale * dot(q[n, h, t], k[n, h // group, s]) + mask[n, h, t, s]
            largest = max(largest, weights[s])
        shift, total = np.float32(0) if largest == -np.inf else largest, np.float32(0)
        for s in range(keys):
            weights[s] = math.exp(weights[s] - shift)
            total += weights[s]
        y[n, h, t] = 0
        for s in range(keys):
            add(y[n, h, t], weights[s] / total if total != 0 else np.float32(0), v[n, h // group, s])
        lse[n, h, t] = largest + math.log(total) if total != 0 else -np.inf


@njit(parallel=True, fastmath=FAST, cache=True)
def backward(dq, dk, dv, g, q, k, v, y, lse, mask, causal, scale):
    count, heads, length, _ = q.shape
    groups = k.shape[1]
    for task in prange(count * groups):
        n, j = task // groups, task % groups
        for h in range(j * (heads // groups), (j + 1) * (heads // groups)):
            for t in range(length):
                shift = np.float32(np.inf) if lse[n, h, t] == -np.inf else lse[n, h, t]
                mean = dot(g[n, h, t], y[n, h, t])
                for s in range(min(k.shape[2], t + 1) if causal else k.shape[2]):
                    weight = math.exp(scale * dot(q[n, h, t], k[n, j, s]) + mask[n, h, t, s] - shift)
                    slope = scale * weight * (dot(g[n, h, t], v[n, j, s]) - mean)
                    add(dq[n, h, t], slope, k[n, j, s])
                    add(dk[n, j, s], slope, q[n, h, t])
                    add(dv[n, j, s], weight, g[n, h, t])
