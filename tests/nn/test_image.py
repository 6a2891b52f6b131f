"""Borders, other sizes, shuffles and patches of images: against PyTorch, and derivatives."""
import numpy as np
import pytest
from strict_array import StrictArray

import minidl as ml
import minidl.nn.functional as F
from minidl import nn
from minidl.autograd import gradcheck, gradgradcheck
from minidl.autograd.tensor import wrap

random = np.random.default_rng(0)
SHAPES = {1: (2, 3, 6), 2: (2, 3, 6, 5), 3: (2, 3, 4, 6, 5)}

# (layer, arguments, keyword arguments, input's shape)
LAYERS = [(f"{kind}Pad{n}d", (padding,), {}, SHAPES[n]) for kind in ("Zero", "Reflection", "Replication", "Circular")
          for n in (1, 2, 3) for padding in (1, (2, 1, 0, 3, 1, 2)[:2 * n])]
LAYERS += [("ConstantPad1d", (2, 3.5), {}, (3, 6)), ("ConstantPad2d", ((1, -2, 0, 3), 1.5), {}, (2, 3, 6, 5)),
           ("ConstantPad3d", (1, -1.0), {}, (2, 3, 4, 2, 5)), ("ZeroPad2d", ((-1, 2, -2, -1),), {}, (3, 6, 5)),
           ("ReflectionPad2d", (2,), {}, (3, 6, 5)), ("ReplicationPad1d", ((3, 1),), {}, (3, 6)),
           ("ReplicationPad2d", ((-5, 6, 1, -5),), {}, (2, 3, 6, 5))]
LAYERS += [("Upsample", (), {"scale_factor": f, "mode": mode}, SHAPES[n])
           for n, modes in ((1, ("nearest", "linear")), (2, ("nearest", "nearest-exact", "bilinear", "bicubic", "area")),
                            (3, ("nearest", "trilinear"))) for mode in modes for f in (2, 1.5, 0.7)]
LAYERS += [("Upsample", (size,), {"mode": mode, "align_corners": corners}, (2, 3, 6, 5))
           for size in (3, (12, 7), (1, 9), (6, 10)) for mode in ("bilinear", "bicubic") for corners in (False, True)]
LAYERS += [("Upsample", ((4, 12),), {"mode": mode}, (2, 3, 6, 5)) for mode in ("nearest", "nearest-exact", "area")]
LAYERS += [("Upsample", (), {"scale_factor": (1.4, 2.3), "mode": "bilinear", "recompute_scale_factor": True}, (2, 3, 6, 5)),
           ("UpsamplingNearest2d", (), {"scale_factor": 2}, (2, 3, 6, 5)), ("UpsamplingBilinear2d", (9,), {}, (2, 3, 6, 5)),
           ("PixelShuffle", (2,), {}, (2, 12, 3, 4)), ("PixelShuffle", (3,), {}, (9, 3, 4)),
           ("PixelShuffle", (2,), {}, (2, 3, 4, 3, 2)), ("PixelUnshuffle", (2,), {}, (2, 3, 4, 6)),
           ("PixelUnshuffle", (3,), {}, (2, 3, 6)), ("ChannelShuffle", (2,), {}, (2, 6, 3, 4)),
           ("ChannelShuffle", (3,), {}, (2, 6, 5)), ("Unfold", (3,), {}, (2, 3, 6, 5)),
           ("Unfold", ((2, 3), 2, 1, (1, 2)), {}, (3, 6, 5)),
           ("Unfold", (2,), {"padding": 1, "stride": 3}, (2, 3, 6, 5)), ("Fold", ((6, 5), 3), {}, (2, 27, 12)),
           ("Fold", (5, (2, 3), 2, 1, (1, 2)), {}, (12, 10)),
           ("Fold", ((4, 5), (2, 2)), {"stride": 2, "padding": 1}, (1, 8, 9))]


def close(ours, theirs, tolerance):
    assert ours.shape == tuple(theirs.shape)
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype, tolerance", [("float32", 5e-6), ("float64", 1e-12)])
@pytest.mark.parametrize("name, args, kwargs, shape", LAYERS, ids=[f"{c[0]}-{i}" for i, c in enumerate(LAYERS)])
def test_layer_is_pytorchs(name, args, kwargs, shape, dtype, tolerance):
    torch = pytest.importorskip("torch", reason="compares with PyTorch, an optional peer")
    ours, theirs = getattr(nn, name)(*args, **kwargs), getattr(torch.nn, name)(*args, **kwargs)
    assert repr(ours) == repr(theirs)
    array = random.standard_normal(shape).astype(dtype)
    x, x2 = ml.tensor(array, requires_grad=True), torch.tensor(array, requires_grad=True)
    y, y2 = ours(x), theirs(x2)
    close(y, y2, tolerance)
    g = random.standard_normal(y.shape).astype(dtype)
    y.backward(ml.tensor(g))
    y2.backward(torch.tensor(g))
    close(x.grad, x2.grad, tolerance)


CALLS = {
    "pad": (lambda x: F.pad(x, (1, -1, 0, 2), value=3.0), (1, 2, 3, 4)),
    "pad reflect": (lambda x: F.pad(x, (1, 2), "reflect"), (1, 2, 4)),
    "pad circular": (lambda x: F.pad(x, (1, 2, 2, 0), "circular"), (1, 2, 3, 4)),
    "nearest": (lambda x: F.interpolate(x, scale_factor=2), (1, 2, 3, 2)),
    "nearest size": (lambda x: F.interpolate(x, 5), (1, 2, 3)),
    "bicubic": (lambda x: F.interpolate(x, (5, 2), mode="bicubic"), (1, 2, 4, 3)),
    "trilinear": (lambda x: F.interpolate(x, scale_factor=2, mode="trilinear", align_corners=True), (1, 2, 2, 2, 3)),
    "pixel_shuffle": (lambda x: F.pixel_shuffle(x, 2), (1, 8, 2, 3)),
    "pixel_unshuffle": (lambda x: F.pixel_unshuffle(x, 2), (2, 4, 6)),
    "channel_shuffle": (lambda x: F.channel_shuffle(x, 3), (2, 6, 2)),
    "unfold": (lambda x: F.unfold(x, 2, 1, 1, 2), (1, 2, 4, 5)),
    "fold": (lambda x: F.fold(x, (3, 4), 2), (1, 8, 6)),
}


@pytest.mark.parametrize("name", CALLS)
def test_derivatives_of_first_and_second_order_agree_with_finite_differences(name):
    function, shape = CALLS[name]
    x = ml.Tensor(random.standard_normal(shape), requires_grad=True)
    assert gradcheck(function, [x])
    assert gradgradcheck(lambda x: function(x * x), [x], atol=1e-4)


@pytest.mark.parametrize("name", CALLS)
def test_runs_on_arrays_that_are_not_numpys(name):
    function, shape = CALLS[name]
    array = random.standard_normal(shape)
    with ml.backend("reference"):
        strict, plain = wrap(StrictArray(array.copy())).requires_grad_(), ml.Tensor(array, requires_grad=True)
        y, e = function(strict), function(plain)
        assert isinstance(y.array, StrictArray)
        np.testing.assert_array_equal(y.array._array, e.array)
        y.backward(wrap(StrictArray(np.ones(y.shape))))
        e.backward(ml.ones_like(e))
        np.testing.assert_allclose(strict.grad.array._array, plain.grad.array, rtol=1e-12, atol=1e-12)


def test_channels_stay_together_in_memory():
    x = ml.randn(2, 4, 6, 8, 4).permute(0, 4, 1, 2, 3)[:, :, 0]  # (2, 4, 6, 8), channels last
    for function in (lambda x: F.pad(x, (1, 1, 1, 1)), lambda x: F.interpolate(x, scale_factor=2),
                     lambda x: F.interpolate(x, 7, mode="bilinear"),
                     lambda x: F.pixel_shuffle(x, 2), lambda x: F.channel_shuffle(x, 2)):
        y = function(x)
        assert y.array.transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.parametrize("call, message", [
    (lambda: F.pad(ml.ones(2, 3), (1, 1, 1)), "two whole numbers for each"),
    (lambda: F.pad(ml.ones(2, 3, 4), (4, 0), "reflect"), "a larger input"),
    (lambda: F.pad(ml.ones(2, 3, 4), (1, 0), "mirror"), "mode='mirror'"),
    (lambda: F.pad(ml.ones(2, 3), (-2, -2)), "not more cut off"),
    (lambda: nn.ZeroPad2d((1, 2)), "ZeroPad2d: padding=.*or 4 of them"),
    (lambda: F.interpolate(ml.ones(1, 2, 3), 4, mode="bilinear"), "mode='bilinear'"),
    (lambda: F.interpolate(ml.ones(1, 2, 3)), "one of them expected"),
    (lambda: F.interpolate(ml.ones(1, 2, 3), 4, align_corners=True), "align_corners"),
    (lambda: F.interpolate(ml.ones(1, 2, 3), scale_factor=0.1), "sizes of at least 1"),
    (lambda: F.pixel_shuffle(ml.ones(1, 3, 2, 2), 2), "a multiple of 4 channels"),
    (lambda: F.pixel_unshuffle(ml.ones(1, 3, 3, 2), 2), "multiples of 2"),
    (lambda: F.channel_shuffle(ml.ones(1, 3, 2), 2), "a divisor of axis 1"),
    (lambda: F.unfold(ml.ones(1, 3, 2, 2), 3), "a window that fits"),
    (lambda: F.fold(ml.ones(1, 8, 5), (3, 4), 2), "a multiple of 4, 6"),
])
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
