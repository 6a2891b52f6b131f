"""Batches of sequences of different lengths: padded to one length, or packed without padding."""
from typing import NamedTuple

import numpy as np

from ...autograd import Tensor
from ...autograd.tensor import wrap
from ...ops import concat, full, stack, where

__all__ = ["PackedSequence", "invert_permutation", "pack_padded_sequence", "pack_sequence", "pad_packed_sequence",
           "pad_sequence", "unpack_sequence", "unpad_sequence"]


class PackedSequence(NamedTuple):
    """The elements of a batch of sequences, step after step, the longest sequence first.

    data: (sum of the lengths, ·). batch_sizes: how many sequences have each step. sorted_indices: the original numbers of the
    sequences in the order of their lengths, and unsorted_indices the way back; None where they came sorted.
    """
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None = None
    unsorted_indices: Tensor | None = None

    def to(self, *args, **kwargs):
        """The data in another dtype or on another device."""
        return self._replace(data=self.data.to(*args, **kwargs))

    def float(self):
        return self.to("float32")

    def double(self):
        return self.to("float64")

    def half(self):
        return self.to("float16")

    def int(self):
        return self.to("int32")

    def long(self):
        return self.to("int64")

    def cpu(self):
        return self.to("cpu")


def positions(batch_sizes):
    """For each (step, sequence), flat, its row in the data (0 where it has none); and the flat place of each row."""
    steps, batch = len(batch_sizes), int(batch_sizes[0])
    within = np.arange(batch) < batch_sizes[:, None]
    place = np.flatnonzero(within)
    rows = np.zeros(steps * batch, np.int64)
    rows[place] = np.arange(len(place))
    return rows, place


def invert_permutation(permutation):
    """The permutation that undoes one; None of None."""
    return None if permutation is None else wrap(np.argsort(permutation.numpy()))


def pack_padded_sequence(input, lengths, batch_first=False, enforce_sorted=True):
    """Packs padded sequences: input (T, N, ·), or (N, T, ·) with batch_first; lengths: N numbers, or a tensor of them.

    enforce_sorted: the lengths do not increase; else the sequences are sorted, and sorted back by what undoes this.
    Raises RuntimeError where the lengths do not fit.
    """
    lengths = np.asarray(lengths.numpy() if isinstance(lengths, Tensor) else lengths, np.int64)
    order = None
    if not enforce_sorted:
        order = np.argsort(-lengths, kind="stable")
        lengths = lengths[order]
        input = input[order] if batch_first else input[:, order]
    if batch_first:
        input = input.permute(1, 0, *range(2, input.ndim))
    steps, batch = input.shape[:2]
    if lengths.shape != (batch,):
        raise RuntimeError(f"Expected `len(lengths)` to be equal to batch_size, but got {len(lengths)} (batch_size={batch})")
    if batch == 0 or lengths.min() <= 0:
        raise RuntimeError("Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0")
    if (np.diff(lengths) > 0).any():
        raise RuntimeError("`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass "
                           "`enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to sidestep this requirement")
    if lengths[0] > steps:
        raise RuntimeError(f"Expected lengths of at most {steps}, the steps of the input, but got {lengths[0]}")
    sizes = (np.arange(lengths[0])[:, None] < lengths).sum(axis=1)
    data = input[:int(lengths[0])].reshape(-1, *input.shape[2:])[positions(sizes)[1]]
    order = None if order is None else wrap(order)
    return PackedSequence(data, wrap(sizes), order, invert_permutation(order))


def pad_packed_sequence(sequence, batch_first=False, padding_value=0.0, total_length=None):
    """The padded tensor (T, N, ·), or (N, T, ·) with batch_first, and the lengths, in the order before packing.

    total_length: pads to so many steps. Raises ValueError where the longest sequence is longer.
    """
    data, batch_sizes, _, back = sequence
    sizes = batch_sizes.numpy()
    steps, batch = len(sizes), int(sizes[0])
    if total_length is not None and total_length < steps:
        raise ValueError("Expected total_length to be at least the length of the longest sequence in input, but got "
                         f"total_length={total_length} and max sequence length being {steps}")
    within = np.arange(batch) < sizes[:, None]
    y = data[positions(sizes)[0]].reshape(steps, batch, *data.shape[1:])
    y = where(wrap(within.reshape(steps, batch, *(1,) * (data.ndim - 1))), y, wrap(np.asarray(padding_value, data.dtype)))
    if total_length is not None and total_length > steps:
        y = concat([y, full((total_length - steps, *y.shape[1:]), padding_value, dtype=y.dtype)])
    lengths = wrap(within.sum(axis=0))
    if back is not None:
        y, lengths = y[:, back], lengths[back]
    return y.permute(1, 0, *range(2, y.ndim)) if batch_first else y, lengths


def pad_sequence(sequences, batch_first=False, padding_value=0.0, padding_side="right"):
    """Sequences (length, ·) as one tensor (longest, N, ·), or (N, longest, ·) with batch_first, padded at one side."""
    if padding_side not in ("left", "right"):
        raise ValueError(f"pad_sequence: padding_side={padding_side!r}: 'left' or 'right' expected")
    if isinstance(sequences, Tensor):
        sequences = list(sequences)
    longest = max(s.shape[0] for s in sequences)

    def padded(s):
        if s.shape[0] == longest:
            return s
        padding = full((longest - s.shape[0], *s.shape[1:]), padding_value, dtype=s.dtype)
        return concat([padding, s] if padding_side == "left" else [s, padding])
    return stack([padded(s) for s in sequences], axis=0 if batch_first else 1)


def unpad_sequence(padded_sequences, lengths, batch_first=False):
    """The sequences of a padded tensor, as a list."""
    lengths = lengths.tolist() if isinstance(lengths, Tensor) else lengths
    return [(padded_sequences[i] if batch_first else padded_sequences[:, i])[:n] for i, n in enumerate(lengths)]


def pack_sequence(sequences, enforce_sorted=True):
    """Packs sequences (length, ·): see pack_padded_sequence."""
    return pack_padded_sequence(pad_sequence(sequences), [s.shape[0] for s in sequences], enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences):
    """The sequences of a packed batch, as a list."""
    return unpad_sequence(*pad_packed_sequence(packed_sequences))
