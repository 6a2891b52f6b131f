"""Small arrays: NumPy's loops are called without NumPy in between, and the results are NumPy's, bit for bit."""
import itertools

import numpy as np
import pytest

from minidl import kernels
from minidl.kernels.arithmetic import BINARY, COMPARISONS, UNARY

FUNCTIONS = [name for name in (*UNARY, *BINARY, *COMPARISONS) if hasattr(np, name)]
SHAPES = [(), (1,), (5,), (0,), (3, 5), (3, 1), (1, 5), (2, 3, 5), (2, 1, 5), (2, 3, 1), (1, 1, 1), (2, 0, 5), (4, 2, 3, 5)]


def draw(shape, dtype="float32", seed=0):
    x = np.random.default_rng(seed).normal(size=shape) * 3
    return np.asarray(np.round(x, 1), dtype)  # with zeros and equal pairs among them


def same(name, *args):
    with np.errstate(all="ignore"):
        try:
            expected = getattr(np, name)(*args)
        except ValueError:
            with pytest.raises(ValueError):
                getattr(kernels, name)(*args)
            return
        found = getattr(kernels, name)(*args)
    assert found.dtype == expected.dtype and found.shape == expected.shape
    np.testing.assert_array_equal(found, expected, strict=expected.ndim > 0)
    if expected.ndim:
        assert [s for s, n in zip(found.strides, found.shape) if n > 1] == \
            [s for s, n in zip(expected.strides, expected.shape) if n > 1] or not expected.size


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_on_every_shape(name):
    count = getattr(np, name).nin
    for dtype in ("float32", "float64"):
        for shapes in itertools.product(SHAPES, repeat=count):
            same(name, *(draw(shape, dtype, seed) for seed, shape in enumerate(shapes)))
    special = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1e-45, 3e38], np.float32)
    same(name, *[special[:, None], special][:count])


@pytest.mark.parametrize("name", ["add", "divide", "maximum", "less"])
def test_numbers_beside_arrays(name):
    for dtype in ("float32", "float64"):
        for number in (0.1, 3, -2, True, 2**24 + 1, 2**60, np.float32(0.1), np.float64(0.1)):
            for shape in ((), (3, 5), (0,)):
                same(name, draw(shape, dtype), number)
                same(name, number, draw(shape, dtype))


def test_other_layouts_and_dtypes_are_numpys():
    x, y = draw((6, 8)), draw((8, 6), seed=1)
    image = np.zeros((2, 4, 5, 3), np.float32).transpose(0, 3, 1, 2)
    unaligned = np.frombuffer(b"\0" + draw(6).tobytes(), np.float32, offset=1)
    for args in [(x, y.T), (x.T, y), (x[:, ::2], x[:, 1::2]), (x[::-1], x), (x, x[:, ::-1]), (image, image),
                 (image, draw((3, 1, 1))), (np.broadcast_to(x[:1], (6, 8)), x), (np.broadcast_to(x[:, :1], (6, 8)),) * 2,
                 (unaligned, unaligned), (x, x.astype(">f4")), (x, x.astype("float64")), (x.astype("int32"), x),
                 (x.astype("float16"), 2.0), (x > 0, x), (x.astype("complex64"), x), (draw((1,) * 9), draw((2,) * 9))]:
        same("multiply", *args)
    with pytest.raises(TypeError):
        kernels.add(x)
    assert kernels.add(1, 2) == 3


def test_out_is_written_and_may_be_an_operand():
    x, y, row = draw((3, 5)), draw((3, 5), seed=1), draw(5, seed=2)
    for other in (y, row, x, 2.0, x[::-1], y.T.copy().T):
        for overlapping in (False, True):
            total = x.copy() if overlapping else np.full_like(x, 7)
            out = kernels.add(total if overlapping else x, other, out=total)
            assert out is total
            np.testing.assert_array_equal(total, np.add(x, other))
    with pytest.raises(ValueError):
        kernels.add(x, y, out=np.zeros((5, 3), np.float32))


def test_large_arrays_are_the_kernels(monkeypatch):
    calls = []
    kernel = kernels._dispatch.kernels["add"]
    monkeypatch.setattr(kernel, "again", None)
    monkeypatch.setattr(kernel, "spec", lambda *args, spec=kernel.spec: calls.append(args) or spec(*args))
    kernels.add(draw(100), draw(100))
    assert not calls
    kernels.add(draw(20_000), 1.0)
    assert len(calls) == (kernels._dispatch.core is not None)
