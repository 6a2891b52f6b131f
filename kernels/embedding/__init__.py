"""Rows of a table by their numbers, and the sum of the gradients that come back to each row."""
from typing import NamedTuple

import numpy as np

from .._cases import case, integers, normal
from .._dispatch import kernel
from ..elementwise import floating


class EmbeddingParams(NamedTuple):
    pass


UNSIGNED = {size: np.dtype(f"u{size}") for size in (1, 2, 4, 8)}


def index_in_range(name, index, rows):
    """Raises TypeError unless index holds integers, ValueError unless all are in [0, rows), naming the first that is not."""
    if index.dtype.kind not in "iu":
        raise TypeError(f"{name}: index is {index.dtype}: integers expected")
    if index.size == 0:
        return
    # a negative number is a large one when read as unsigned, so that one pass tells whether there is anything to look for
    if type(index) is np.ndarray and index.dtype.isnative and index.view(UNSIGNED[index.itemsize]).max() < rows:
        return
    if np.min(index) >= 0 and np.max(index) < rows:
        return
    flat = index.reshape(-1)
    first = int(np.argmax((flat < 0) | (flat >= rows)))
    place = ", ".join(str(int(i)) for i in np.unravel_index(first, index.shape))
    raise ValueError(f"{name}: index[{place}] = {int(flat[first])}: 0 <= index < {rows} expected")


@kernel(repeats=False)
def embedding(weight, index):
    """weight[index]: the rows of a table.

    weight: (rows, n) floating; index: integers of any shape in [0, rows). Returns (*index.shape, n).
    Raises ValueError for an index out of range, with its position, and TypeError for one that is not of integers.
    """
    floating("embedding", "weight", weight)
    if weight.ndim != 2:
        raise ValueError(f"embedding: weight {weight.shape}: (rows, n) expected")
    index_in_range("embedding", index, weight.shape[0])
    return [((*index.shape, weight.shape[1]), weight.dtype)], (weight, index), EmbeddingParams()


@kernel(tolerance=4e-6, repeats=False)  # sums of as many terms as a row was read
def embedding_backward(g, index, num_rows):
    """The gradient of the table: row r is the sum of g over the places where index is r, in their order.

    g: (*index.shape, n) floating; index: integers in [0, num_rows). Returns (num_rows, n).
    Raises ValueError where shapes do not match or an index is out of range.
    """
    floating("embedding_backward", "g", g)
    if g.ndim != index.ndim + 1 or g.shape[:-1] != index.shape:
        raise ValueError(f"embedding_backward: g {g.shape}: the shape of index, {index.shape}, and one axis more expected")
    index_in_range("embedding_backward", index, num_rows)
    return [((num_rows, g.shape[-1]), g.dtype)], (g, index), EmbeddingParams()


@embedding_backward.cost
def embedding_backward_flops(outs, ins, p):
    return ins[0].size


def inputs():
    """(label, index, rows, n, bench)"""
    yield "one", integers(1, 1), 1, 1, False
    yield "none", integers(3, 0), 3, 5, False
    yield "0-d", np.array(2), 4, 6, False
    yield "sentences", integers(20, 3, 7), 20, 33, False
    yield "int32", integers(20, 40, dtype="int32"), 20, 16, False
    yield "uint8", integers(20, 40, dtype="uint8"), 20, 16, False
    yield "every second", integers(20, 40)[::2], 20, 16, False
    yield "few rows, often", integers(5, 700), 5, 200, False
    yield "many rows", integers(3000, 90), 3000, 70, False
    yield "2048 of 65x384", integers(65, 8, 256), 65, 384, True
    yield "1024 of 16384x256", integers(16384, 4, 256), 16384, 256, True


@embedding.examples
def embedding_cases():
    for label, index, rows, n, bench in inputs():
        yield case(label, normal(rows, n), index, bench=bench)
    yield case("float64", normal(9, 5, dtype="float64"), integers(9, 4, 3))
    yield case("every second row", normal(18, 5)[::2], integers(9, 12))
    yield case("every second column", normal(9, 10)[:, ::2], integers(9, 12))


@embedding_backward.examples
def embedding_backward_cases():
    for label, index, rows, n, bench in inputs():
        yield case(label, normal(*index.shape, n, seed=1), index, rows, bench=bench)
    yield case("float64", normal(4, 3, 5, dtype="float64"), integers(9, 4, 3), 9)
    yield case("every second column", normal(12, 10)[:, ::2], integers(9, 12), 9)
    yield case("batch and steps exchanged", normal(4, 3, 2, 5).transpose(2, 1, 0, 3), integers(9, 2, 3, 4), 9)
    g = normal(128, 32, 128).swapaxes(0, 1)
    yield case("4096 of 65x128, batch and steps exchanged", g, integers(65, 32, 128), 65, bench=True)


__all__ = ["embedding", "embedding_backward"]
