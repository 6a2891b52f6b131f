"""Connectionist temporal classification (Graves et al., 2006): the loss of a sequence whose labels have no places.

A label sequence is read with blanks before, between and behind its labels. In each step a path stays, goes on by one place, or
skips a blank between two different labels. alpha[t, s] is the logarithm of the probability of all ways to place s in step t,
beta[t, s] of all ways from there to the end, step t in both.
"""
import numpy as np

from ..autograd import grad, op
from ..autograd.modes import state
from ..autograd.tensor import wrap
from .elementwise import exp, logaddexp
from .index import take_along_axis, where
from .loss import check_reduction, reduced
from .shape import concat

MINUS_INFINITY = float("-inf")


def with_blanks(labels, blank):
    """(N, S) labels with blanks around each, (N, 2 S + 1), and which of these places can be reached from two before."""
    places = np.full((len(labels), 2 * labels.shape[1] + 1), blank, np.int64)
    places[:, 1::2] = labels
    skips = np.zeros(places.shape, bool)
    skips[:, 2:] = (places[:, 2:] != blank) & (places[:, 2:] != places[:, :-2])
    return places, skips


def moved(x, n):
    """x with its last axis moved on by n places, or back where n is below 0; -inf comes in."""
    out = np.full_like(x, MINUS_INFINITY)
    if n > 0:
        out[..., n:] = x[..., :-n]
    else:
        out[..., :n] = x[..., -n:]
    return out


def ends(places, target_lengths):
    """Which places a path may end at: the last label and the blank behind it."""
    last, at = 2 * target_lengths[:, None], np.arange(places.shape[1])
    return (at == last) | ((at == last - 1) & (last > 0))


@op
def ctc(x, labels, input_lengths, target_lengths, blank=0, zero_infinity=False):
    """The loss of each sequence, and its gradient by x.

    dL/dx = exp(x) - (the probability, given the labels, to be at each class in each step), as in PyTorch: the first term makes
    it the gradient by the logits whose log_softmax x is, whose own derivative is 0 on it. Gradients of these go through the
    definition. Shapes: x (T, N, C), labels (N, S), lengths (N,) -> (N,), (T, N, C).
    """
    steps, count, _ = x.shape
    places, skips = with_blanks(labels, blank)
    if not steps:
        losses = np.where(target_lengths > 0, np.inf, 0).astype(x.dtype)
        return np.where(np.isinf(losses), 0, losses).astype(x.dtype) if zero_infinity else losses, np.zeros_like(x)
    each = np.take_along_axis(x, places[None], 2).astype(np.float64)  # (T, N, places)
    alpha, beta = np.full_like(each, MINUS_INFINITY), np.full_like(each, MINUS_INFINITY)
    alpha[0, :, :2] = each[0, :, :2]
    for t in range(1, steps):
        two = np.where(skips, moved(alpha[t - 1], 2), MINUS_INFINITY)
        alpha[t] = each[t] + np.logaddexp(np.logaddexp(alpha[t - 1], moved(alpha[t - 1], 1)), two)
    end, last = ends(places, target_lengths), input_lengths - 1
    for t in range(steps - 1, -1, -1):
        later = beta[t + 1] if t + 1 < steps else np.full_like(beta[0], MINUS_INFINITY)
        two = moved(np.where(skips, later, MINUS_INFINITY), -2)
        on = np.logaddexp(np.logaddexp(later, moved(later, -1)), two)
        on = np.where((last == t)[:, None], np.where(end, 0, MINUS_INFINITY), on)
        beta[t] = each[t] + np.where((last < t)[:, None], MINUS_INFINITY, on)
    total = np.logaddexp.reduce(np.where(end, alpha[last, np.arange(count)], MINUS_INFINITY), axis=1)
    losses = -np.where(input_lengths > 0, total, np.where(target_lengths > 0, MINUS_INFINITY, 0))
    with np.errstate(invalid="ignore"):
        share = np.exp(alpha + beta - each + losses[None, :, None])
    at_class = np.zeros(x.shape)
    np.add.at(at_class, (np.arange(steps)[:, None, None], np.arange(count)[:, None], places[None]),
              np.where(alpha + beta > MINUS_INFINITY, share, np.where(np.isfinite(losses), 0, np.nan)[:, None]))
    inside = (np.arange(steps)[:, None] < input_lengths)[..., None]
    if zero_infinity:
        inside, losses = inside & np.isfinite(losses)[:, None], np.where(np.isfinite(losses), losses, 0)
    return losses.astype(x.dtype), np.where(inside, np.exp(x) - at_class, 0).astype(x.dtype)


@ctc.vjp
def ctc_vjp(g, y, x, labels, input_lengths, target_lengths, blank, zero_infinity):
    g = g[0][None, :, None]
    if not state.recording:
        return g * y[1]
    losses = by_definition(x, labels, input_lengths, target_lengths, blank)
    dx, = grad(losses.sum(), [x], create_graph=True)
    inside = wrap((np.arange(x.shape[0])[:, None] < input_lengths)[..., None])
    if zero_infinity:
        inside = inside & (losses < float("inf"))[None, :, None]
    return g * where(inside, exp(x) + dx, 0.0)


def by_definition(x, labels, input_lengths, target_lengths, blank):
    """The losses once more, written with operations."""
    places, skips = with_blanks(labels, blank)
    size = places.shape[1]
    each = take_along_axis(x, wrap(places[None]), 2)
    nothing = wrap(np.full((len(places), size), MINUS_INFINITY, x.dtype))
    alpha = where(wrap(np.arange(size) < 2), each[0], nothing)
    total, end = nothing[:, 0], wrap(ends(places, target_lengths))
    for t in range(x.shape[0]):
        if t:
            one, two = (concat([nothing[:, :min(n, size)], alpha[:, :size - n]], 1)[:, :size] for n in (1, 2))
            alpha = each[t] + logaddexp(logaddexp(alpha, one), where(wrap(skips), two, nothing))
        total = where(wrap(input_lengths - 1 == t), where(end, alpha, nothing).logsumexp(axis=1), total)
    return -total


def lengths(name, value, count):
    """(N,) whole numbers. Raises ValueError for others."""
    found = np.atleast_1d(np.asarray(getattr(value, "array", value)))
    if found.dtype.kind not in "iu" or found.shape != (count,) or (count and found.min() < 0):
        raise ValueError(f"ctc_loss: {name} {found.dtype}{found.shape}: {count} whole numbers of at least 0 expected")
    return found.astype(np.int64)


def ctc_loss(log_probs, targets, input_lengths, target_lengths, blank=0, reduction="mean", zero_infinity=False):
    """-log of the probability of all paths that read as the targets, repeats merged and blanks left out.

    log_probs: (T, N, C), or (T, C) for one sequence: logarithms of the classes' probabilities, from log_softmax. targets:
    (N, S) labels without blanks, or all sequences' one after the other in one vector. input_lengths, target_lengths: (N,).
    reduction 'mean': of the losses over their targets' lengths. zero_infinity: infinite losses, of targets too long for their
    input, count 0, and have no gradient. Returns () or, for 'none', (N,). Raises ValueError for what does not fit.
    """
    name = "ctc_loss"
    check_reduction(name, reduction)
    if log_probs.ndim == 2:
        if targets.ndim == 1:
            targets = targets[None]
        loss = ctc_loss(log_probs[:, None], targets, input_lengths, target_lengths, blank, reduction, zero_infinity)
        return loss[0] if loss.ndim else loss
    if log_probs.ndim != 3:
        raise ValueError(f"{name}: log_probs {log_probs.shape}: (T, N, C) or (T, C) expected")
    steps, count, classes = log_probs.shape
    if not 0 <= blank < classes:
        raise ValueError(f"{name}: blank={blank}: 0 <= blank < {classes} expected")
    read, written = lengths("input_lengths", input_lengths, count), lengths("target_lengths", target_lengths, count)
    labels = np.asarray(getattr(targets, "array", targets))
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{name}: targets are {labels.dtype}: integer labels expected")
    longest = int(written.max(initial=0))
    if labels.ndim == 1 and labels.size == written.sum():
        rows = np.full((count, longest), blank, np.int64)
        rows[np.arange(longest) < written[:, None]] = labels
        labels = rows
    if labels.ndim != 2 or labels.shape[0] != count or labels.shape[1] < longest or read.max(initial=0) > steps:
        raise ValueError(f"{name}: log_probs {log_probs.shape}, targets {labels.shape}, input_lengths {read.tolist()}, "
                         f"target_lengths {written.tolist()}: (T, N, C), (N, S) or one vector, and lengths of at most T and S "
                         "expected")
    labels = np.where(np.arange(longest) < written[:, None], labels[:, :longest], blank)
    if labels.size and not (labels.min() >= 0 and labels.max() < classes):
        raise ValueError(f"{name}: targets from {labels.min()} to {labels.max()}: 0 <= label < {classes} expected")
    losses = ctc(log_probs, labels, read, written, blank, zero_infinity)[0]
    if reduction == "mean":
        losses = losses / wrap(np.maximum(written, 1).astype(losses.dtype))
    return reduced(name, losses, reduction)


__all__ = ["ctc_loss"]
