"""Tables of vectors, read by row number, and one-hot vectors."""
import numpy as np

from .. import kernels
from ..autograd import no_grad, op
from ..autograd.tensor import wrap
from .creation import zeros
from .index import take, where
from .shape import expand_dims, reshape


@op
def embedding(x, weight, padding_idx=None, scale_grad_by_freq=False):
    """The rows of weight whose numbers x holds. dL/dweight[r] = sum of g where x is r; 0 for r = padding_idx.

    padding_idx: a row that training leaves as it is, counted from the end where negative. scale_grad_by_freq: the gradient of
    a row is divided by how often x holds it, a mean instead of a sum. Shapes: x integers of any shape,
    weight (rows, n) -> (*x.shape, n). Raises ValueError for a number that is no row's, with its position.
    """
    check_padding("embedding", padding_idx, weight.shape[0])
    return kernels.embedding(weight, x)


@embedding.vjp
def embedding_vjp(g, x, weight_shape, padding_idx, scale_grad_by_freq):
    return None, embedding_backward(g, x, weight_shape[0], padding_idx, scale_grad_by_freq)


@op
def embedding_backward(dy, index, num_rows, padding_idx=None, mean=False):
    """Row r is the sum or mean of dy where index is r, 0 for r = padding_idx. d/d(dy) = g read at index, 0 at padding_idx.

    Shapes: dy (*index.shape, n) -> (num_rows, n).
    """
    dweight = kernels.embedding_backward(dy, index, num_rows)
    if mean:
        dweight *= shares(index, num_rows).astype(dweight.dtype)[:, None]
    if padding_idx is not None:
        dweight[padding_idx] = 0
    return dweight


@embedding_backward.vjp
def embedding_backward_vjp(g, index, num_rows, padding_idx, mean):
    if mean:
        g = g * wrap(shares(index.array, num_rows).astype(g.dtype)[:, None])
    read = embedding(index, g)
    if padding_idx is not None:
        read = where(expand_dims(index == padding_idx % num_rows, -1), 0.0, read)
    return read


def check_padding(name, padding_idx, rows):
    """Raises ValueError unless padding_idx is None or numbers one of so many rows."""
    if padding_idx is not None and not -rows <= padding_idx < rows:
        raise ValueError(f"{name}: padding_idx={padding_idx!r}: a row, {-rows} <= padding_idx < {rows}, or None expected")


def shares(index, rows):
    """1 / how often each row's number occurs in index, 1 where it does not."""
    return 1 / np.maximum(np.bincount(index.reshape(-1), minlength=rows), 1)


def limit_norms(weight, x, max_norm, norm_type=2.0):
    """Scales the rows of weight whose numbers x holds, in place and off the tape, to a norm of max_norm where it is larger."""
    with no_grad():
        used = np.unique(getattr(x, "array", x))
        rows = weight.array[used]
        norms = np.linalg.norm(rows, norm_type, axis=1, keepdims=True)
        weight.array[used] = np.where(norms > max_norm, rows * (max_norm / (norms + 1e-7)), rows)
        weight._mark_changed()


def embedding_bag(input, weight, offsets=None, max_norm=None, norm_type=2, scale_grad_by_freq=False, mode="mean",
                  sparse=False, per_sample_weights=None, include_last_offset=False, padding_idx=None):
    """The sum, mean or largest value of rows of weight, bag by bag: of each row of input (B, N), or, where input is (N,), of
    the parts of it that start at `offsets` (B,); with include_last_offset, the last of them is the end. Shape: (B, n).

    per_sample_weights: a factor for each number, with mode='sum'. padding_idx: numbers that are left out. The other options:
    as `embedding`'s; sparse is accepted for PyTorch's sake. An empty bag gives 0. Raises ValueError where shapes or options
    do not fit.
    """
    if mode not in ("sum", "mean", "max"):
        raise ValueError(f"embedding_bag: mode={mode!r}: 'sum', 'mean' or 'max' expected")
    if input.ndim not in (1, 2) or (input.ndim == 1) != (offsets is not None):
        raise ValueError(f"embedding_bag: input {input.shape}, offsets {getattr(offsets, 'shape', offsets)}: (B, N) without "
                         "offsets, or (N,) with offsets, expected")
    if per_sample_weights is not None and (mode != "sum" or per_sample_weights.shape != input.shape):
        raise ValueError(f"embedding_bag: per_sample_weights {per_sample_weights.shape} with mode={mode!r} and input "
                         f"{input.shape}: mode='sum' and input's shape expected")
    index = np.asarray(getattr(input, "array", input))
    if offsets is None:
        bags, ends = len(index), np.arange(len(index) + 1) * index.shape[1]
    else:
        ends = np.asarray(getattr(offsets, "array", offsets)).astype(np.int64)
        if not include_last_offset:
            ends = np.append(ends, index.size)
        bags = len(ends) - 1
        if bags < 0 or (bags and (ends[0] != 0 or (np.diff(ends) < 0).any() or ends[-1] > index.size)):
            raise ValueError(f"embedding_bag: offsets {ends[:8].tolist()} of {index.size} numbers: rising from 0 expected")
    index, of = index.reshape(-1)[:ends[-1] if bags else 0], np.repeat(np.arange(bags), np.diff(ends))
    factors = None if per_sample_weights is None else reshape(per_sample_weights, (-1,))[:len(index)]
    if padding_idx is not None:
        check_padding("embedding_bag", padding_idx, weight.shape[0])
        kept = np.flatnonzero(index != padding_idx % weight.shape[0])
        index, of, factors = index[kept], of[kept], None if factors is None else take(factors, wrap(kept))
    if max_norm is not None:
        limit_norms(weight, index, max_norm, norm_type)
    rows = embedding(wrap(index), weight, None, scale_grad_by_freq)
    if mode == "max":
        return largest_of_bags(rows, of, bags)
    rows = rows if factors is None else rows * expand_dims(factors, 1)
    return embedding_backward(rows, wrap(of), bags, None, mode == "mean")


def largest_of_bags(rows, of, bags):
    """The largest of the rows of each bag, channel by channel, 0 for an empty one. Shape: (N, n) -> (bags, n)."""
    counts = np.bincount(of, minlength=bags)
    if not len(of):
        return zeros((bags, rows.shape[1]), dtype=rows.dtype)
    place = np.cumsum(counts) - counts
    at = place[:, None] + np.minimum(np.arange(counts.max()), np.maximum(counts - 1, 0)[:, None])  # a last one fills up
    largest = take(rows, wrap(np.minimum(at, len(of) - 1).reshape(-1)), axis=0).reshape(bags, -1, rows.shape[1]).max(axis=1)
    return where(wrap((counts > 0)[:, None]), largest, 0.0)


@op
def one_hot(tensor, num_classes=-1):
    """1 at the position that each integer names, 0 elsewhere, as int64; no derivative: integers.

    num_classes -1: one more than the largest. Shape: tensor.shape -> (*tensor.shape, num_classes). Raises TypeError unless
    these are integers, ValueError where one is out of range.
    """
    if tensor.dtype.kind not in "iu":
        raise TypeError(f"one_hot: tensor is {tensor.dtype}: integers expected")
    if num_classes == -1:
        if tensor.size == 0:
            raise ValueError(f"one_hot: tensor {tensor.shape} is empty: num_classes expected")
        num_classes = int(np.max(tensor)) + 1
    if tensor.size and not (int(np.min(tensor)) >= 0 and int(np.max(tensor)) < num_classes):
        raise ValueError(f"one_hot: tensor holds {int(np.min(tensor))} to {int(np.max(tensor))}: numbers from 0 to below "
                         f"num_classes={num_classes} expected")
    classes = np.arange(num_classes, like=tensor)
    return np.equal(tensor[..., None], classes).astype(np.int64)
