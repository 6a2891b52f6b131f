"""Convolutions in one and three dimensions and transposed ones: against PyTorch, and their derivatives."""
import numpy as np
import pytest
from strict_array import StrictArray

import minidl as ml
import minidl.nn.functional as F
from minidl import nn
from minidl.autograd import gradcheck, gradgradcheck
from minidl.autograd.tensor import wrap

random = np.random.default_rng(0)

# (layer, arguments, keyword arguments, input's shape)
LAYERS = [
    ("Conv1d", (3, 5, 3), {}, (2, 3, 9)), ("Conv1d", (4, 6, 4), {"stride": 2, "padding": 1, "groups": 2}, (2, 4, 11)),
    ("Conv1d", (3, 5, 3), {"dilation": 2, "bias": False}, (3, 9)), ("Conv1d", (3, 5, 4), {"padding": "same"}, (2, 3, 9)),
    ("Conv1d", (3, 5, 3), {"padding": "valid"}, (0, 3, 9)), ("Conv1d", (16, 32, 1), {}, (2, 16, 7)),
    ("Conv1d", (3, 3, 5), {"padding": 2, "groups": 3, "padding_mode": "reflect"}, (2, 3, 9)),
    ("Conv2d", (3, 4, 3), {"padding": (1, 2), "padding_mode": "reflect"}, (2, 3, 6, 7)),
    ("Conv2d", (3, 4, 3), {"padding": 1, "stride": 2, "padding_mode": "replicate", "bias": False}, (3, 6, 7)),
    ("Conv2d", (3, 4, (4, 3)), {"padding": "same", "padding_mode": "circular"}, (2, 3, 6, 7)),
    ("Conv3d", (3, 5, 3), {}, (2, 3, 5, 6, 7)), ("Conv3d", (3, 5, (3, 2, 1)), {"padding": (2, 1, 0)}, (2, 3, 5, 6, 7)),
    ("Conv3d", (4, 6, 3), {"stride": (2, 1, 3), "padding": 1, "groups": 2}, (2, 4, 5, 6, 7)),
    ("Conv3d", (3, 5, 2), {"dilation": (2, 1, 2), "bias": False}, (3, 5, 6, 7)), ("Conv3d", (3, 5, 1), {}, (2, 3, 4, 5, 6)),
    ("Conv3d", (3, 5, (2, 3, 4)), {"padding": "same", "dilation": (3, 1, 1)}, (2, 3, 4, 5, 6)),
    ("Conv3d", (3, 5, 3), {"padding": (1, 1, 2), "padding_mode": "circular"}, (2, 3, 4, 5, 6)),
    ("Conv3d", (3, 5, 3), {"padding": 4, "stride": 3}, (1, 3, 2, 2, 2)),
    ("ConvTranspose2d", (2, 4, (4, 5)), {"stride": (3, 2), "padding": (1, 2), "output_padding": (2, 3), "dilation": 4,
                                        "groups": 2}, (2, 2, 4, 4)),
    ("ConvTranspose1d", (2, 3, 3), {"padding": 1, "output_padding": 2, "dilation": 3}, (2, 2, 4)),
    ("ConvTranspose1d", (3, 5, 3), {}, (2, 3, 9)), ("ConvTranspose1d", (4, 6, 4), {"stride": 3, "padding": 1}, (4, 7)),
    ("ConvTranspose1d", (4, 6, 3), {"stride": 2, "output_padding": 1, "groups": 2, "bias": False}, (2, 4, 5)),
    ("ConvTranspose1d", (4, 6, 3), {"dilation": 3, "output_padding": 2, "stride": 2}, (2, 4, 5)),
    ("ConvTranspose2d", (3, 5, 3), {}, (2, 3, 5, 6)),
    ("ConvTranspose2d", (8, 6, (2, 4)), {"stride": 2, "padding": (0, 1)}, (2, 8, 5, 6)),
    ("ConvTranspose2d", (4, 6, 3), {"stride": (2, 3), "padding": 1, "output_padding": (1, 2), "groups": 2}, (4, 5, 6)),
    ("ConvTranspose2d", (4, 4, 3), {"groups": 4, "dilation": (1, 2), "bias": False, "padding": 3}, (2, 4, 9, 8)),
    ("ConvTranspose3d", (3, 5, 3), {}, (2, 3, 4, 5, 3)),
    ("ConvTranspose3d", (4, 6, (3, 2, 1)), {"stride": (2, 1, 2), "padding": (1, 0, 0), "groups": 2,
                                            "output_padding": (1, 0, 1)}, (2, 4, 3, 4, 5)),
    ("ConvTranspose3d", (3, 5, 2), {"dilation": (2, 1, 3), "bias": False}, (3, 3, 4, 5)),
]


def ids(cases):
    return [f"{c[0]}-{i}" for i, c in enumerate(cases)]


def close(ours, theirs, tolerance):
    assert ours.shape == tuple(theirs.shape)
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")  # PyTorch copies there
@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("name, args, kwargs, shape", LAYERS, ids=ids(LAYERS))
def test_layer_is_pytorchs(name, args, kwargs, shape, dtype, tolerance):
    torch = pytest.importorskip("torch", reason="compares with PyTorch, an optional peer")
    theirs = getattr(torch.nn, name)(*args, **kwargs, dtype=getattr(torch, dtype))
    ours = getattr(nn, name)(*args, **kwargs, dtype=dtype)
    assert repr(ours) == repr(theirs)
    assert ours.load_state_dict(theirs.state_dict()) == ([], [])
    array = random.standard_normal(shape).astype(dtype)
    x, x2 = ml.tensor(array, requires_grad=True), torch.tensor(array, requires_grad=True)
    y, y2 = ours(x), theirs(x2)
    close(y, y2, tolerance)
    if not y.size:
        return
    g = random.standard_normal(y.shape).astype(dtype)
    y.backward(ml.tensor(g))
    y2.backward(torch.tensor(g))
    close(x.grad, x2.grad, tolerance)
    for (key, p), (key2, p2) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert key == key2
        close(p.grad, p2.grad, 10 * tolerance)


SMALL = {
    "conv1d": ((2, 4, 6), (6, 2, 3), (6,), {"groups": 2, "stride": 2, "padding": 1}),
    "conv3d": ((1, 2, 3, 3, 4), (3, 2, 2, 3, 2), (3,), {"padding": (1, 1, 0), "stride": (2, 1, 1), "dilation": (1, 1, 2)}),
    "conv_transpose1d": ((2, 4, 4), (4, 2, 3), (4,), {"groups": 2, "stride": 2, "output_padding": 1}),
    "conv_transpose2d": ((1, 2, 3, 3), (2, 3, 3, 2), (3,), {"stride": 2, "padding": 1, "dilation": (1, 3),
                                                            "output_padding": (1, 2)}),
    "conv_transpose3d": ((1, 2, 2, 3, 2), (2, 2, 3, 2, 2), (2,), {"stride": (2, 1, 1), "padding": (1, 0, 0)}),
}


@pytest.mark.parametrize("name", SMALL)
def test_derivatives_of_first_and_second_order_agree_with_finite_differences(name):
    *shapes, options = SMALL[name]
    inputs = [ml.Tensor(random.standard_normal(shape), requires_grad=True) for shape in shapes]
    assert gradcheck(lambda *a: getattr(F, name)(*a, **options), inputs)
    assert gradgradcheck(lambda *a: getattr(F, name)(*a, **options), inputs, atol=1e-4)


@pytest.mark.parametrize("name", SMALL)
def test_runs_on_arrays_that_are_not_numpys(name):
    *shapes, options = SMALL[name]
    arrays = [random.standard_normal(shape) for shape in shapes]
    with ml.backend("reference"):
        strict = [wrap(StrictArray(a.copy())).requires_grad_() for a in arrays]
        plain = [ml.Tensor(a, requires_grad=True) for a in arrays]
        y, e = getattr(F, name)(*strict, **options), getattr(F, name)(*plain, **options)
        assert isinstance(y.array, StrictArray)
        np.testing.assert_array_equal(y.array._array, e.array)
        y.backward(wrap(StrictArray(np.ones(y.shape))))
        e.backward(ml.ones_like(e))
        for x, x2 in zip(strict, plain):
            np.testing.assert_allclose(x.grad.array._array, x2.grad.array, rtol=1e-12, atol=1e-12)


def test_a_transposed_convolution_takes_the_wanted_size():
    layer = nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1)
    x = ml.ones(2, 3, 5, 6)
    assert layer(x).shape == (2, 4, 9, 11)
    assert layer(x, output_size=(10, 12)).shape == layer(x, (2, 4, 10, 12)).shape == (2, 4, 10, 12)
    for size in [(11, 12), (8, 11), (10,)]:
        with pytest.raises(ValueError, match="output_size"):
            layer(x, size)


def test_a_convolution_and_its_transpose_are_adjoint():
    for n in (1, 2, 3):
        w = random.standard_normal((4, 3, *(3, 2, 2)[:n]))
        x, y = random.standard_normal((2, 3, *(7, 5, 6)[:n])), None
        conv, back = getattr(F, f"conv{n}d"), getattr(F, f"conv_transpose{n}d")
        image = conv(ml.Tensor(x), ml.Tensor(w), padding=1)
        y = random.standard_normal(image.shape)
        np.testing.assert_allclose((image.array * y).sum(), (back(ml.Tensor(y), ml.Tensor(w), padding=1).array * x).sum())


@pytest.mark.parametrize("layer", [nn.Conv1d(3, 8, 3, padding=1), nn.Conv3d(3, 8, 3)])
def test_a_relu_after_it_is_the_same_in_one_kernel(layer):
    x = ml.randn(2, 3, *(5,) * layer.axes)
    expected = F.relu(layer(x))
    np.testing.assert_array_equal(nn.Sequential(layer, nn.ReLU())(x).detach().numpy(), expected.detach().numpy())


@pytest.mark.parametrize("call, message", [
    (lambda: nn.Conv1d(4, 6, 3, groups=3), "groups=3: a divisor"),
    (lambda: nn.Conv1d(4, 6, 0), "kernel_size=0: a whole number of at least 1"),
    (lambda: nn.Conv3d(4, 6, (3, 3)), r"kernel_size=\(3, 3\): .*or 3 of them"),
    (lambda: nn.Conv1d(4, 6, 3, padding="full"), "padding='full'"),
    (lambda: nn.Conv1d(4, 6, 3, 2, padding="same"), "stride 1 expected"),
    (lambda: nn.Conv2d(4, 6, 3, padding_mode="mirror"), "padding_mode='mirror'"),
    (lambda: nn.ConvTranspose2d(4, 6, 3, padding_mode="reflect"), "'zeros' expected"),
    (lambda: nn.Conv1d(4, 6, 3)(ml.ones(2, 3, 9)), r"conv1d: input \(2, 3, 9\), weight \(6, 4, 3\)"),
    (lambda: nn.Conv1d(4, 6, 3)(ml.ones(2, 4, 2)), "a window that fits"),
    (lambda: nn.Conv1d(4, 6, 3)(ml.ones(1, 2, 4, 2)), r"\(N, C, L\) or \(C, L\)"),
    (lambda: nn.Conv3d(1, 2, 3)(ml.ones(3, 3)), r"\(N, C, D, H, W\)"),
    (lambda: nn.Conv1d(1, 2, 3, padding=4, padding_mode="reflect")(ml.ones(1, 1, 3)), "a larger input"),
    (lambda: F.conv_transpose1d(ml.ones(1, 2, 4), ml.ones(2, 1, 3), output_padding=1), "output_padding=1: less than"),
    (lambda: F.conv_transpose1d(ml.ones(1, 2, 4), ml.ones(3, 1, 3)), "conv_transpose1d: input"),
    (lambda: F.conv_transpose2d(ml.ones(1, 2, 1, 1), ml.ones(2, 1, 1, 1), padding=1), "a result of size"),
])
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_dtypes_must_agree():
    with pytest.raises(TypeError, match="conv_transpose1d: input is float64, weight is float32"):
        F.conv_transpose1d(ml.ones(1, 2, 4, dtype="float64"), ml.ones(2, 1, 3))
    with pytest.raises(TypeError, match="conv3d: a str"):
        F.conv3d("a film", ml.ones(1, 1, 1, 1, 1))
