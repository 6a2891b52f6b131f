"""The definitions in float64."""
import numpy as np

from . import labels_in_range


def cross_entropy(loss, lse, logits, target, weight, p):
    labels_in_range("cross_entropy", target, logits.shape[1], p.ignore_index)
    if not loss.size:
        return
    x = logits.astype(np.float64)
    with np.errstate(all="ignore"):
        largest = np.max(x, axis=1, keepdims=True)
        log_sum = np.log(np.sum(np.exp(x - largest), axis=1, keepdims=True))
        log_p = x - largest - log_sum
        keep, index, w = labels_and_weights(x, target, weight, p)
        value = -(1 - p.label_smoothing) * w[index] * np.take_along_axis(log_p, index[:, None], axis=1)[:, 0]
        if p.label_smoothing:
            value = value - p.label_smoothing / x.shape[1] * np.sum(w * log_p, axis=1)
        loss[...] = np.where(keep, value, 0).astype(loss.dtype)
        lse[...] = (largest + log_sum)[:, 0].astype(lse.dtype)


def cross_entropy_backward(dlogits, g, logits, lse, target, weight, p):
    labels_in_range("cross_entropy_backward", target, logits.shape[1], p.ignore_index)
    if not dlogits.size:
        return
    x = logits.astype(np.float64)
    keep, index, w = labels_and_weights(x, target, weight, p)
    with np.errstate(all="ignore"):
        softmax = np.exp(x - lse[:, None])
        hit = np.arange(x.shape[1], like=x) == index[:, None]
        slope = (1 - p.label_smoothing) * w[index][:, None] * (softmax - hit)
        slope = slope + p.label_smoothing / x.shape[1] * (np.sum(w) * softmax - w)
        dlogits[...] = np.where(keep[:, None], g[:, None] * slope, 0).astype(dlogits.dtype)


def labels_and_weights(x, target, weight, p):
    """Which rows count, a label that may be used as an index for each, and the classes' weights."""
    keep = target != p.ignore_index
    return keep, np.where(keep, target, 0).astype(np.int64), np.ones_like(x[0]) if weight is None else weight.astype(x.dtype)
