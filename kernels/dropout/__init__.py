"""Dropout by a counter-based generator: the mask is computed where it is needed and never stored."""
from typing import NamedTuple

import numpy as np

from .._cases import case, normal
from .._dispatch import kernel
from ..elementwise import floating


class DropoutParams(NamedTuple):
    threshold: int  # an element whose 32 random bits are at least this is kept
    scale: float
    key0: int
    key1: int


def dropout_params(name, p, seed):
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: p={p!r}: a probability, 0 <= p <= 1, expected")
    if not 0 <= seed < 2**64:
        raise ValueError(f"{name}: seed={seed!r}: a whole number of 64 bits expected")
    return DropoutParams(min(round(p * 2**32), 2**32 - 1), 1 / (1 - p) if p < 1 else 0.0, seed % 2**32, seed >> 32)


@kernel(tolerance=0, repeats=False)  # every version draws the same bits
def dropout(x, p, seed):
    """x / (1 - p) where an element is kept, else x * 0; each is dropped with probability p.

    Element i of x, in C order, draws word (i % 64) // 16 of Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as
    1, 2, 3", 2011) at counter i // 64 * 16 + i % 16 with the 64 bits of `seed` as key. So the same seed drops the same
    elements of any array of the shape: of the gradient in backward, too, on however many threads.
    Raises ValueError unless 0 <= p <= 1 and 0 <= seed < 2**64.
    """
    floating("dropout", "x", x)
    if type(x) is np.ndarray:
        x = np.asarray(x, order="C")
    return [(x.shape, x.dtype)], (x,), dropout_params("dropout", p, seed)


@dropout.cost
def flops(outs, ins, p):
    return outs[0].size


@dropout.examples
def cases():
    for n in (0, 1, 16, 63, 64, 65, 1000, 70001):
        yield case(f"{n}", normal(n), 0.3, 2**40 + n)
        yield case(f"{n} float64", normal(n, dtype="float64"), 0.6, n)
    for p in (0.0, 1.0, 1e-9, 1 - 1e-9):
        yield case(f"p={p}", normal(7, 11), p, 2**64 - 1)
    yield case("every second", normal(20, 12)[::2, ::3], 0.5, 1)
    yield case("float16", normal(9, 9, dtype="float16"), 0.5, 1)
    for shape in [(64, 1024), (32, 512, 768)]:
        yield case("x".join(map(str, shape)), normal(*shape), 0.1, 5, bench=True)
