"""Convolution beyond the family's cases: random shapes through Winograd's transforms and the plain sums, maxima taken on the
way, the switch between the two, and PyTorch."""
import os
import subprocess
import sys

import numpy as np
import pytest

import minidl as m
from minidl import kernels, nn
from minidl.autograd import gradcheck, gradgradcheck
from minidl.kernels import _check
from minidl.ops.conv import conv2d_max_pool2d

random = np.random.default_rng(5)


def normal(*shape):
    return random.standard_normal(shape).astype("float32")


@pytest.mark.parametrize("seed", range(12))
def test_random_shapes(seed):
    r = np.random.default_rng(seed)
    c, o = (16 * int(v) for v in r.integers(1, 7, 2))
    n, h, w = (int(v) for v in r.integers((1, 3, 3), (9, 30, 30)))
    how = {"padding": tuple(int(v) for v in r.integers(0, 3, 2))}
    x, weight, bias = normal(n, c, h, w), normal(o, c, 3, 3), normal(o)
    y = kernels.conv2d(x, weight, bias, **how, activation="relu", backend="reference")
    g, pooled = normal(*y.shape), normal(n, o, y.shape[2] // 2, y.shape[3] // 2)
    taps = r.integers(0, 5, pooled.shape).astype("uint8")
    taps[taps == 4] = 255  # cut by the relu
    for name, args, extra in [("conv2d", (x, weight, bias), {"activation": "relu", "residual": normal(*y.shape)}),
                              ("conv2d_max_pool2d", (x, weight, bias), {}),
                              ("conv2d_backward_data", (g, weight, x.shape), {}),
                              ("conv2d_backward_weight", (g, x, weight.shape), {}),
                              ("conv2d_backward_data", (pooled, weight, x.shape), {"taps": taps}),
                              ("conv2d_backward_weight", (pooled, x, weight.shape), {"taps": taps})]:
        kernel = getattr(kernels, name)
        if min(y.shape[2:]) < 2 and (name == "conv2d_max_pool2d" or "taps" in extra):
            continue
        wanted, got = (kernel(*args, **how, **extra, backend=b) for b in ("reference", None))
        pick = slice(0, 1) if name == "conv2d_max_pool2d" else slice(None)  # taps of nearly equal values may differ
        wanted, got = (v if type(v) is tuple else (v,) for v in (wanted, got))
        assert _check.difference(got[pick], wanted[pick]) <= kernel.tolerance, (name, x.shape, weight.shape, how)


def test_the_same_bits_for_any_number_of_threads():
    x, weight, g = normal(6, 32, 19, 17), normal(48, 32, 3, 3), normal(6, 48, 19, 17)
    threads, results = kernels.get_num_threads(), []
    try:
        for count in (1, 2, 5):
            kernels.set_num_threads(count)
            results.append([kernels.conv2d(x, weight, padding=1), kernels.conv2d_backward_data(g, weight, x.shape, padding=1),
                            *kernels.conv2d_backward_weight(g, x, weight.shape, padding=1)])
    finally:
        kernels.set_num_threads(threads)
    for other in results[1:]:
        assert all(a.tobytes() == b.tobytes() for a, b in zip(results[0], other, strict=True))


def test_winograd_can_be_switched_off():
    program = ("import numpy as np; from minidl import kernels; r = np.random.default_rng(0)\n"
               "x, w = (r.standard_normal(s).astype('f4') for s in ((4, 64, 16, 16), (64, 64, 3, 3)))\n"
               "y, exact = (kernels.conv2d(x, w, backend=b) for b in (None, 'reference'))\n"
               "print(np.abs(y - exact).max() / np.abs(exact).max(), y.astype('f8').sum())")
    runs = [subprocess.run([sys.executable, "-c", program], env={**os.environ, "MINIDL_WINOGRAD": v}, capture_output=True,
                           text=True, check=True).stdout.split() for v in ("0", "1")]
    assert all(float(error) < 3e-6 for error, _ in runs)
    if kernels.get_backend() == "native":
        assert runs[0][1] != runs[1][1]


def test_pooled_derivatives():
    x, weight, bias = (m.tensor(random.standard_normal(s), requires_grad=True) for s in ((2, 3, 7, 8), (4, 3, 3, 3), (4,)))
    window = ((1, 2), 1, 1, 1)
    assert gradcheck(lambda *a: conv2d_max_pool2d(*a, window), (x, weight, bias))
    assert gradgradcheck(lambda *a: conv2d_max_pool2d(*a, window), (x, weight, bias))
    for frozen in (x, weight):
        frozen.requires_grad = False
        assert gradcheck(lambda *a: conv2d_max_pool2d(*a, window), (x, weight, bias))
        frozen.requires_grad = True


@pytest.mark.parametrize("padding", [0, 1, "same"])
def test_pooled_layers_are_pytorchs(padding):
    torch = pytest.importorskip("torch")
    m.manual_seed(0)  # near ties of maxima would go either way
    ours = nn.Sequential(nn.Conv2d(3, 32, 3, padding=padding), nn.ReLU(), nn.MaxPool2d(2),
                         nn.Conv2d(32, 48, 3, padding=padding), nn.ReLU(), nn.MaxPool2d((2, 2)))
    theirs = torch.nn.Sequential(torch.nn.Conv2d(3, 32, 3, padding=padding), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
                                 torch.nn.Conv2d(32, 48, 3, padding=padding), torch.nn.ReLU(), torch.nn.MaxPool2d((2, 2)))
    theirs.load_state_dict({k: torch.from_numpy(v.numpy().copy()) for k, v in ours.state_dict().items()})
    x = np.random.default_rng(0).standard_normal((4, 3, 31, 29)).astype("float32")
    a, b = m.tensor(x, requires_grad=True), torch.from_numpy(x).requires_grad_()
    ours(a).square().sum().backward()
    theirs(b).square().sum().backward()
    for mine, other in zip([a, *ours.parameters()], [b, *theirs.parameters()], strict=True):
        other = other.grad.numpy()
        np.testing.assert_allclose(mine.grad.numpy(), other, rtol=1e-4, atol=1e-5 * np.abs(other).max())
    assert ours(a[0]).shape == theirs(b[0]).shape
