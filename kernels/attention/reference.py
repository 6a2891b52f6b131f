"""As the formulas stand, in float64, one query head at a time with all its scores."""
import numpy as np

from ..dropout import DropoutParams
from ..dropout.reference import kept


def heads(q, k, *others):
    """For each query head: the indices of it and of its key head, and its matrices of q, of `others`, and of k in float64."""
    for n, h in np.ndindex(*q.shape[:2]):
        group = n, h // (q.shape[1] // k.shape[1])
        yield (n, h), group, *(x.astype(np.float64) for x in (q[n, h], *(o[n, h] for o in others), k[group]))


def scores(q, k, mask, p):
    """scale q k^T + mask, and -inf where a query does not see a key."""
    s = p.scale * (q @ k.T)
    if mask is not None:
        s = np.where(mask, s, -np.inf) if mask.dtype == bool else s + mask.astype(np.float64)
    return np.where(np.tri(*s.shape, dtype=bool, like=s), s, -np.inf) if p.causal else s


def factors(head, q, k, p):
    """What dropout multiplies the weights of a query head by."""
    groups = -(-k.shape[2] // 64)
    first = (head[0] * q.shape[1] + head[1]) * q.shape[2] * groups
    words = kept(first, q.shape[2] * groups, DropoutParams(p.threshold, p.kept_scale, p.key0, p.key1))
    return np.asarray(words.reshape(q.shape[2], 64 * groups)[:, :k.shape[2]], like=q)


def attention(y, lse, q, k, v, mask, p):
    for head, group, q1, k1 in heads(q, k):
        with np.errstate(all="ignore"):
            s = scores(q1, k1, None if mask is None else mask[head], p)
            largest = np.max(s, axis=1, keepdims=True, initial=-np.inf)
            e = np.exp(s - np.where(largest == -np.inf, 0, largest))
            total = np.sum(e, axis=1, keepdims=True)
            dropped = e * factors(head, q, k, p)
            y[head] = (dropped @ v[group].astype(np.float64) / np.where(total == 0, 1, total)).astype(y.dtype)
            lse[head] = (largest + np.log(total))[:, 0].astype(lse.dtype)


def attention_backward(dq, dk, dv, g, q, k, v, y, lse, mask, p):
    dk64, dv64 = (np.zeros(x.shape, np.float64, like=x) for x in (k, v))  # a group's heads are summed
    for head, group, q1, g1, y1, lse1, k1 in heads(q, k, g, y, lse):
        with np.errstate(all="ignore"):
            s = scores(q1, k1, None if mask is None else mask[head], p)
            weights = np.exp(s - np.where(lse1 == -np.inf, np.inf, lse1)[:, None])
            factor = factors(head, q, k, p)
            slopes = factor * (g1 @ v[group].astype(np.float64).T) - np.sum(g1 * y1, axis=1, keepdims=True)
            ds = p.scale * weights * slopes
            dq[head] = (ds @ k1).astype(dq.dtype)
            dk64[group] = dk64[group] + ds.T @ q1
            dv64[group] = dv64[group] + (factor * weights).T @ g1
    dk[...] = dk64.astype(dk.dtype)
    dv[...] = dv64.astype(dv.dtype)
