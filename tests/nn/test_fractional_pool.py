"""Fractional max pooling: against PyTorch with the same random numbers, and derivatives."""
import numpy as np
import pytest

import minidl as ml
import minidl.nn.functional as F
from minidl import nn
from minidl.autograd import gradcheck, gradgradcheck

random = np.random.default_rng(0)
# (axes, input's shape, kernel_size, options)
CASES = [(2, (2, 3, 9, 11), 2, {"output_size": 4}), (2, (2, 3, 9, 11), (2, 3), {"output_ratio": (0.5, 0.6)}),
         (2, (3, 8, 8), 3, {"output_size": (5, 6)}), (2, (1, 2, 5, 6), 2, {"output_size": 1}),
         (3, (2, 3, 7, 8, 9), 2, {"output_size": (3, 4, 5)}), (3, (2, 6, 7, 8), (1, 2, 3), {"output_ratio": 0.5})]


@pytest.mark.parametrize("n, shape, kernel_size, options", CASES)
def test_values_places_and_gradients_are_pytorchs(n, shape, kernel_size, options):
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    x = random.standard_normal(shape)
    samples = random.random((*(shape if len(shape) == n + 2 else (1, *shape))[:2], n))
    theirs, ours = torch.tensor(x, requires_grad=True), ml.tensor(x, requires_grad=True)
    a, at = getattr(torch.nn.functional, f"fractional_max_pool{n}d_with_indices")(
        theirs, kernel_size, **options, _random_samples=torch.tensor(samples))
    y, places = getattr(F, f"fractional_max_pool{n}d_with_indices")(ours, kernel_size, **options,
                                                                    _random_samples=ml.tensor(samples))
    np.testing.assert_array_equal(y.detach().numpy(), a.detach().numpy())
    np.testing.assert_array_equal(places.numpy(), at.numpy())
    draw = random.standard_normal(y.shape)
    (a * torch.tensor(draw)).sum().backward()
    (y * ml.tensor(draw)).sum().backward()
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize("n", [2, 3])
def test_derivatives(n):
    shape = (1, 2, 5, 6, 4)[:n + 2]
    x = ml.tensor(random.permutation(float(np.prod(shape)) + np.arange(np.prod(shape))).reshape(shape), requires_grad=True)
    samples = ml.tensor(random.random((1, 2, n)))

    def pooled(x):
        return getattr(F, f"fractional_max_pool{n}d")(x, 2, output_size=3, _random_samples=samples)
    assert gradcheck(pooled, [x])
    assert gradgradcheck(lambda x: pooled(x) ** 2, [x])


@pytest.mark.parametrize("n", [2, 3])
def test_windows_are_drawn(n):
    ml.manual_seed(3)
    layer = getattr(nn, f"FractionalMaxPool{n}d")(2, output_ratio=0.6, return_indices=True)
    x = ml.randn(2, 3, *(10,) * n)
    (y, at), (other, _) = layer(x), layer(x)
    assert y.shape == (2, 3, *(6,) * n) and (y != other).any()
    lines, places = x.numpy().reshape(2, 3, -1), at.numpy().reshape(2, 3, -1)
    np.testing.assert_array_equal(y.numpy().reshape(2, 3, -1), np.take_along_axis(lines, places, -1))


@pytest.mark.parametrize("make, message", [
    (lambda: nn.FractionalMaxPool2d(2), "one of the two expected"),
    (lambda: F.fractional_max_pool2d(ml.ones((1, 1, 4, 4)), 2, 2, 0.5), "one of the two expected"),
    (lambda: F.fractional_max_pool2d(ml.ones((1, 1, 4, 4)), 2, output_ratio=1.5), "numbers between 0 and 1"),
    (lambda: F.fractional_max_pool3d(ml.ones((1, 1, 4, 4, 4)), 2, 4), r"output_size \+ kernel_size - 1 <= the input's size"),
])
def test_errors_say_what_is_expected(make, message):
    with pytest.raises(ValueError, match=message):
        make()
