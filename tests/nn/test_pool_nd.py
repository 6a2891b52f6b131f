"""Pooling in one to three dimensions: against PyTorch, and derivatives."""
import itertools

import numpy as np
import pytest
from strict_array import StrictArray

import minidl as ml
import minidl.nn.functional as F
from minidl import nn
from minidl.autograd import gradcheck, gradgradcheck
from minidl.autograd.tensor import wrap

random = np.random.default_rng(0)
SHAPES = {1: (2, 3, 9), 2: (2, 3, 7, 8), 3: (2, 3, 6, 5, 7)}

# (layer, arguments, keyword arguments, input's shape)
LAYERS = [(f"{kind}Pool{n}d", (3,), options, SHAPES[n]) for kind in ("Max", "Avg") for n in (1, 2, 3)
          for options in ({}, {"stride": 2, "padding": 1}, {"stride": 2, "ceil_mode": True}, {"stride": 1, "padding": 1})]
LAYERS += [(f"MaxPool{n}d", (2,), {"dilation": 2, "stride": 1, "return_indices": True}, SHAPES[n]) for n in (1, 2, 3)]
LAYERS += [(f"AvgPool{n}d", (3, 2, 1), {"count_include_pad": False, "ceil_mode": c}, SHAPES[n])
           for n in (1, 2, 3) for c in (False, True)]
LAYERS += [(f"AvgPool{n}d", (3, 2, 1), {"divisor_override": 5, "ceil_mode": True}, SHAPES[n]) for n in (2, 3)]
LAYERS += [
    ("MaxPool3d", ((2, 1, 3), (1, 2, 2), (1, 0, 1)), {"return_indices": True}, (3, 6, 5, 7)),
    ("MaxPool1d", (2,), {"return_indices": True}, (3, 9)), ("MaxPool2d", (3, 2, 1), {"return_indices": True}, (3, 7, 8)),
    ("AvgPool1d", (2,), {}, (3, 9)), ("AvgPool2d", (2,), {"divisor_override": 3}, (3, 7, 8)),
    ("AvgPool3d", ((1, 2, 3),), {}, (3, 5, 6, 7)), ("LPPool1d", (2, 3), {}, (2, 3, 9)), ("LPPool1d", (3.0, 2, 1), {}, (3, 9)),
    ("LPPool2d", (2, (2, 3)), {"stride": 2}, (2, 3, 7, 8)), ("LPPool2d", (4, 2), {"ceil_mode": True}, (2, 3, 7, 8)),
    ("LPPool3d", (2, 2), {}, (2, 3, 5, 6, 7)),
    *[(f"Adaptive{kind}Pool1d", (size,), {}, (2, 3, 9)) for kind in ("Avg", "Max") for size in (1, 3, 4, 9, 12)],
    *[(f"Adaptive{kind}Pool2d", (size,), {}, (2, 3, 7, 8))
      for kind in ("Avg", "Max") for size in (1, 5, (None, 3), (7, None), (9, 3))],
    *[(f"Adaptive{kind}Pool3d", (size,), {}, (2, 3, 6, 5, 7)) for kind in ("Avg", "Max") for size in (1, 2, (None, 3, 4))],
    ("AdaptiveMaxPool1d", (4,), {"return_indices": True}, (3, 9)),
    ("AdaptiveMaxPool2d", ((3, 5),), {"return_indices": True}, (3, 7, 8)),
    ("AdaptiveMaxPool2d", (1,), {"return_indices": True}, (2, 3, 7, 8)),
    ("AdaptiveMaxPool3d", ((4, 3, 2),), {"return_indices": True}, (2, 3, 6, 5, 7)),
    ("AdaptiveAvgPool3d", ((4, 3, 2),), {}, (3, 6, 5, 7)), ("AdaptiveAvgPool2d", (1,), {}, (3, 7, 7)),
]


def close(ours, theirs, tolerance):
    assert ours.shape == tuple(theirs.shape)
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype, tolerance", [("float32", 2e-6), ("float64", 1e-12)])
@pytest.mark.parametrize("name, args, kwargs, shape", LAYERS, ids=[f"{c[0]}-{i}" for i, c in enumerate(LAYERS)])
def test_layer_is_pytorchs(name, args, kwargs, shape, dtype, tolerance):
    torch = pytest.importorskip("torch", reason="compares with PyTorch, an optional peer")
    ours, theirs = getattr(nn, name)(*args, **kwargs), getattr(torch.nn, name)(*args, **kwargs)
    assert repr(ours) == repr(theirs)
    array = random.standard_normal(shape).astype(dtype)
    if name.startswith("LP"):
        array = np.abs(array) + 0.1
    x, x2 = ml.tensor(array, requires_grad=True), torch.tensor(array, requires_grad=True)
    y, y2 = ours(x), theirs(x2)
    if kwargs.get("return_indices"):
        (y, places), (y2, places2) = y, y2
        np.testing.assert_array_equal(places.numpy(), places2.numpy())
    close(y, y2, tolerance)
    g = random.standard_normal(y.shape).astype(dtype)
    y.backward(ml.tensor(g))
    y2.backward(torch.tensor(g))
    close(x.grad, x2.grad, tolerance)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_every_small_window_is_pytorchs(n):
    torch = pytest.importorskip("torch", reason="compares with PyTorch, an optional peer")
    options = list(itertools.product([1, 2, 3], [1, 2, 3], [0, 1], [False, True], range(3, 8)))
    for kernel, stride, padding, ceil_mode, size in options:
        if padding > kernel // 2:
            continue
        shape = (2, 2, *(size, size + 1, 4)[:n])
        array = random.integers(-3, 4, shape).astype("float32")  # with many equal values
        x, t = ml.tensor(array), torch.tensor(array)
        window = {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil_mode}
        ours = getattr(F, f"max_pool{n}d")(x, **window, return_indices=True)
        theirs = getattr(torch.nn.functional, f"max_pool{n}d")(t, **window, return_indices=True)
        for a, b in zip(ours, theirs):
            np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=str(window))
        for counted in (True, False):
            ours = getattr(F, f"avg_pool{n}d")(x, **window, count_include_pad=counted)
            theirs = getattr(torch.nn.functional, f"avg_pool{n}d")(t, **window, count_include_pad=counted)
            np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6, atol=1e-6, err_msg=str(window))


@pytest.mark.parametrize("n, args", [(1, (2,)), (1, (3, 2, 1)), (2, (2,)), (2, (3, 2, 1)), (2, ((2, 3), (2, 1))), (3, (2,)),
                                     (3, ((1, 2, 3),))])
def test_unpooling_is_pytorchs(n, args):
    torch = pytest.importorskip("torch", reason="compares with PyTorch, an optional peer")
    array = random.standard_normal(SHAPES[n]).astype("float32")
    y, at = getattr(nn, f"MaxPool{n}d")(*args, return_indices=True)(ml.tensor(array))
    t, at2 = getattr(torch.nn, f"MaxPool{n}d")(*args, return_indices=True)(torch.tensor(array))
    ours, theirs = getattr(nn, f"MaxUnpool{n}d")(*args), getattr(torch.nn, f"MaxUnpool{n}d")(*args)
    assert repr(ours) == repr(theirs)
    for size in (None, SHAPES[n], SHAPES[n][2:]):
        y, t = y.detach(), t.detach()
        y.requires_grad_()
        t.requires_grad_()
        try:
            expected = theirs(t, at2, size)
        except ValueError:
            with pytest.raises(ValueError, match="output_size"):
                ours(y, at, size)
            continue
        except RuntimeError:  # PyTorch: a place outside
            with pytest.raises(IndexError):
                ours(y, at, size)
            continue
        found = ours(y, at, size)
        close(found, expected, 0)
        g = random.standard_normal(found.shape).astype("float32")
        found.backward(ml.tensor(g))
        expected.backward(torch.tensor(g))
        close(y.grad, t.grad, 0)
        y.grad = t.grad = None


def test_the_largest_of_ties_and_nan():
    torch = pytest.importorskip("torch", reason="compares with PyTorch, an optional peer")
    array = random.integers(0, 3, (2, 3, 6, 7, 5)).astype("float32")
    array[array == 2] = np.where(random.random((array == 2).sum()) < 0.2, np.nan, 2)
    for name, args in (("max_pool3d", (2,)), ("max_pool3d", (3, 2, 1)), ("adaptive_max_pool3d", ((4, 3, 2),))):
        ours = getattr(F, name)(ml.tensor(array), *args, return_indices=True)
        theirs = getattr(torch.nn.functional, name)(torch.tensor(array), *args, return_indices=True)
        for a, b in zip(ours, theirs):
            np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=name)


CALLS = {
    "max_pool1d": lambda x: F.max_pool1d(x, 3, 2, 1), "avg_pool1d": lambda x: F.avg_pool1d(x, 3, 2, 1),
    "adaptive_avg_pool1d": lambda x: F.adaptive_avg_pool1d(x, 4), "lp_pool1d": lambda x: F.lp_pool1d(x * x + 1, 3.0, 2),
    "adaptive_max_pool1d": lambda x: F.adaptive_max_pool1d(x, 4),
    "avg_pool2d": lambda x: F.avg_pool2d(x, 2, divisor_override=3),
    "adaptive_max_pool2d": lambda x: F.adaptive_max_pool2d(x, (3, 2)), "max_pool3d": lambda x: F.max_pool3d(x, 2, 1),
    "avg_pool3d": lambda x: F.avg_pool3d(x, 3, 2, 1, divisor_override=4),
    "adaptive_avg_pool3d": lambda x: F.adaptive_avg_pool3d(x, (2, 3, 1)),
    "max_unpool1d": lambda x: F.max_unpool1d(*F.max_pool1d(x, 2, return_indices=True), 2),
}


@pytest.mark.parametrize("name", CALLS)
def test_derivatives_of_first_and_second_order_agree_with_finite_differences(name):
    shape = {"1": (2, 2, 6), "2": (1, 2, 4, 5), "3": (1, 2, 4, 3, 4)}[name[-2]]
    x = ml.Tensor(random.permutation(np.arange(float(np.prod(shape)))).reshape(shape) / 10, requires_grad=True)
    assert gradcheck(CALLS[name], [x])
    assert gradgradcheck(CALLS[name], [x], atol=1e-4)


@pytest.mark.parametrize("name", CALLS)
def test_runs_on_arrays_that_are_not_numpys(name):
    array = random.standard_normal({"1": (2, 2, 6), "2": (1, 2, 4, 5), "3": (1, 2, 4, 3, 4)}[name[-2]])
    with ml.backend("reference"):
        strict, plain = wrap(StrictArray(array.copy())).requires_grad_(), ml.Tensor(array, requires_grad=True)
        y, e = CALLS[name](strict), CALLS[name](plain)
        assert isinstance(y.array, StrictArray)
        np.testing.assert_array_equal(y.array._array, e.array)
        y.backward(wrap(StrictArray(np.ones(y.shape))))
        e.backward(ml.ones_like(e))
        np.testing.assert_allclose(strict.grad.array._array, plain.grad.array, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("call, message", [
    (lambda: F.max_pool1d(ml.ones(2, 3, 9), (2, 2)), r"max_pool1d: kernel_size=\(2, 2\)"),
    (lambda: F.max_pool1d(ml.ones(9), 2), r"max_pool1d: input \(9,\): \(N, C, L\) or \(C, L\)"),
    (lambda: F.avg_pool3d(ml.ones(1, 1, 2, 2, 2), 3), "a window that fits"),
    (lambda: F.avg_pool2d(ml.ones(1, 1, 2, 2), 2, divisor_override=0), "divisor_override=0"),
    (lambda: F.max_pool3d(ml.ones(1, 1, 4, 4, 4), 2, padding=2), "at most half"),
    (lambda: F.adaptive_avg_pool3d(ml.ones(1, 1, 4, 4, 4), (1, 2)), r"output_size=\(1, 2\)"),
    (lambda: F.adaptive_max_pool1d(ml.ones(1, 1, 4), 0), "output_size=0"),
    (lambda: F.max_unpool1d(ml.ones(1, 1, 4), ml.zeros(1, 1, 3, dtype="int64"), 2), "indices"),
    (lambda: F.max_unpool1d(ml.ones(1, 1, 4), ml.zeros(1, 1, 4, dtype="int64"), 2, output_size=(12,)), "output_size"),
])
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
