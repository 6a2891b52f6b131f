"""Arithmetic, comparisons and choice, elementwise, with NumPy's broadcasting: NumPy's functions, for large arrays our own.

x, x1, x2: arrays of one floating-point dtype, or (one at least being an array) Python numbers. The result keeps the memory
layout, C order or channels-last behind an (N, C, H, W) view. Raises ValueError for shapes that do not broadcast and TypeError
for dtypes that differ.
"""
from typing import NamedTuple

import numpy as np

from .. import _cases
from .._cases import case, channels_last, normal
from .._dispatch import kernel
from ..elementwise import like, special


class Numbers(NamedTuple):
    """What stands for the operands that are numbers, not arrays."""
    x1: float = 0.0
    x2: float = 0.0
    x3: float = 0.0


NONE = Numbers()


def operands(name, result, *given):
    """The specification of a function of operands that are arrays or numbers; result: the output's dtype, None for theirs."""
    arrays = [x for x in given if hasattr(x, "dtype")]
    if not arrays:
        raise TypeError(f"{name}: an array expected among the operands")
    values = [x for x in arrays if x.dtype.kind != "b"] or arrays
    first = values[0]
    for x in values:
        if x.dtype != first.dtype:
            raise TypeError(f"{name}: {first.dtype} and {x.dtype}: operands of one dtype expected")
    shape = first.shape
    for x in arrays:
        if x.shape != shape:
            shape = broadcast(name, shape, x.shape)
    layout = next((out for x in arrays if x.shape == shape and len(out := like(x)) == 3), ())[2:]
    ins = given if len(arrays) == len(given) else tuple(x if hasattr(x, "dtype") else None for x in given)
    p = NONE if len(arrays) == len(given) else Numbers(*(0.0 if hasattr(x, "dtype") else float(x) for x in given))
    return [(shape, result or first.dtype, *layout)], ins, p


def broadcast(name, a, b):
    """The shape of both after broadcasting."""
    if len(a) < len(b):
        a, b = b, a
    lead = len(a) - len(b)
    if any(m != n and m != 1 and n != 1 for m, n in zip(a[lead:], b)):
        raise ValueError(f"{name}: {a} and {b}: shapes that broadcast expected")
    return a[:lead] + tuple(n if m == 1 else m for m, n in zip(a[lead:], b))


BOOL = np.dtype(bool)
UNARY = {
    "negative": "-x.", "abs": "|x|.", "sign": "-1, 0 or 1 by the sign of x; NaN stays.",
    "sqrt": "The square root; NaN below 0.", "square": "x * x.", "reciprocal": "1 / x.",
    "floor": "The largest whole number not above x.", "ceil": "The smallest whole number not below x.",
    "trunc": "x without its fraction.", "exp": "e**x.", "log": "The natural logarithm; minus infinity at 0 and NaN below."}
BINARY = {
    "add": "x1 + x2.", "subtract": "x1 - x2.", "multiply": "x1 * x2.", "divide": "x1 / x2.",
    "maximum": "The larger of two, NaN where either is.", "minimum": "The smaller of two, NaN where either is.",
    "prelu": "x1 where x1 >= 0, else x1 * x2."}
COMPARISONS = {
    "equal": "x1 == x2.", "not_equal": "x1 != x2.", "less": "x1 < x2.", "less_equal": "x1 <= x2.", "greater": "x1 > x2.",
    "greater_equal": "x1 >= x2."}


def define(name, doc, inputs, result=None):
    """The kernel of one or two operands by this name."""
    if inputs == 1:
        def spec(x):
            return operands(name, result, x)
    else:
        def spec(x1, x2):
            return operands(name, result, x1, x2)
    spec.__name__, spec.__doc__ = name, doc
    return kernel(spec, numpy=getattr(np, name, None))


made = {name: define(name, doc, 1) for name, doc in UNARY.items()}
made |= {name: define(name, doc, 2) for name, doc in BINARY.items()}
made |= {name: define(name, doc, 2, BOOL) for name, doc in COMPARISONS.items()}


@kernel
def clip(x, min, max):
    """x between two bounds, max where they cross; NaN stays."""
    return operands("clip", None, x, min, max)


@kernel
def where(condition, x1, x2):
    """x1 where the condition holds, x2 elsewhere. condition: an array of bool."""
    if getattr(condition, "dtype", None) != BOOL:
        raise TypeError(f"where: condition is {getattr(condition, 'dtype', type(condition).__name__)}: bool expected")
    return operands("where", None, condition, x1, x2)


@kernel
def prelu_backward(g, x, weight):
    """The derivative of `prelu` by x: g where x > 0, else g * weight."""
    return operands("prelu_backward", None, g, x, weight)


def describe(kernel, inputs):
    """Gives a kernel of x, or of x1 and x2, its cost and its cases."""
    def normal(*shape, **options):
        x = _cases.normal(*shape, **options)
        return abs(x) if kernel.name in ("sqrt", "log") else x

    @kernel.cost
    def flops(outs, ins, p):
        return outs[0].size

    @kernel.examples
    def examples():
        for shape in [(), (0,), (1,), (37,), (3, 0, 2), (5, 33), (2, 3, 4, 5, 6), (70_001,)]:
            yield case(f"{shape}", *(normal(*shape, seed=i) for i in range(inputs)))
        for dtype in ("float16", "float32", "float64"):
            yield case(f"special {dtype}", *(special(dtype), special(dtype)[::-1].copy())[:inputs])
            yield case(f"{dtype}", *(normal(9, 50, dtype=dtype, seed=i) for i in range(inputs)))
        yield case("strided", *(normal(60, 800)[:, ::2], normal(400, 60).T)[:inputs])
        yield case("channels-last", *(channels_last(normal(2, 5, 30, 40)), normal(2, 5, 30, 40, seed=1))[:inputs])
        if inputs == 2:
            yield from broadcasts()
        for n in (100_000, 1_000_000) + (10_000_000,) * (kernel.name == "add"):
            yield case(f"{n:.0e}".replace("+0", ""), *(normal(n, seed=i) for i in range(inputs)), bench=True)
        if kernel.name in ("add", "multiply"):
            yield case("1e6 and a number", normal(1_000_000), 0.3, bench=True)
            yield case("8192x768 and a row", normal(8192, 768), normal(768), bench=True)
            yield case("8192x768 and a column", normal(8192, 768), normal(8192, 1), bench=True)
            yield case("32x64x56x56 and channels", channels_last(normal(32, 64, 56, 56)), normal(1, 64, 1, 1), bench=True)


def broadcasts():
    """Pairs of operands that broadcast in every way."""
    for a, b in [((300, 200), (200,)), ((300, 200), (300, 1)), ((3000, 10), (10,)), ((3000, 10), (3000, 1)),
                 ((70, 1), (1, 90)), ((4, 1, 5, 300), (7, 1, 1)), ((), (5000,)), ((200, 1), (200, 1)), ((1, 1), (3,))]:
        x1, x2 = normal(*a), normal(*b, seed=1)
        yield case(f"{a} and {b}", x1, x2)
        yield case(f"{b} and {a}", x2, x1)
    image = channels_last(normal(3, 5, 20, 30))
    yield case("channels of an image", image, normal(5, 1, 1))
    yield case("each image", image, normal(3, 1, 1, 1))
    yield case("pixels", channels_last(normal(3, 200, 6, 7)), normal(3, 1, 6, 7))
    yield case("a broadcast view", np.broadcast_to(np.float32(0.5), (40, 50)), normal(40, 50))
    yield case("a number", normal(40, 50, dtype="float64"), 0.1)
    yield case("a number first", 3, normal(33))


for each in (*UNARY, *BINARY, *COMPARISONS):
    describe(made[each], 1 if each in UNARY else 2)


@clip.examples
def clip_cases():
    yield case("numbers", normal(5, 70), -0.5, 0.5)
    yield case("crossed", normal(5, 70), 0.5, -0.5)
    yield case("special", special("float32"), -1, 2)
    yield case("arrays", normal(40, 70), -normal(70) ** 2, normal(40, 1) ** 2)
    yield case("float64", normal(40, 70, dtype="float64"), -0.3, 0.7)
    yield case("1e6", normal(1_000_000), -1, 1, bench=True)


@prelu_backward.examples
def prelu_backward_cases():
    for dtype in ("float16", "float32", "float64"):
        yield case(dtype, *(normal(9, 70, dtype=dtype, seed=i) for i in range(3)))
    yield case("channels", channels_last(normal(3, 5, 20, 30)), channels_last(normal(3, 5, 20, 30, seed=1)), normal(5, 1, 1))
    yield case("1e6", normal(1_000_000), normal(1_000_000, seed=1), normal(1), bench=True)


@where.examples
def where_cases():
    for dtype in ("float16", "float32", "float64"):
        x = normal(9, 500, dtype=dtype)
        yield case(f"{dtype}", x > 0, x, normal(9, 500, dtype=dtype, seed=1))
        yield case(f"{dtype} and a number", x > 0, x, 0)
        yield case(f"a number and {dtype}", x > 0, 0.25, x)
    x = normal(300, 40)
    yield case("row", x[0] > 0, x, x * 2)
    yield case("column", x[:, :1] > 0, x, x[:, 1:2])
    yield case("transposed", normal(40, 300).T > 0, x, 1)
    yield case("scalar", np.array(True), x, 1)
    image = channels_last(normal(3, 5, 20, 30))
    yield case("channels-last", image > 0, image, -image)
    yield case("1e6", normal(1_000_000) > 0, normal(1_000_000), normal(1_000_000, seed=1), bench=True)


__all__ = [*made, "clip", "prelu_backward", "where"]
globals().update(made)
