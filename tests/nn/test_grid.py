"""Images at computed places: against PyTorch, derivatives, and what is refused."""
from itertools import product

import numpy as np
import pytest

import minidl as ml
import minidl.nn.functional as F
from minidl.autograd import gradcheck, gradgradcheck

random = np.random.default_rng(0)
OPTIONS = [(n, mode, *rest) for n, mode, *rest in product((2, 3), ("bilinear", "nearest", "bicubic"),
                                                          ("zeros", "border", "reflection"), (False, True))
           if n == 2 or mode != "bicubic"]


def arrays(n):
    """An input and a grid with places far outside."""
    return random.standard_normal((2, 3, *(4, 5, 3)[:n])), random.uniform(-3, 3, (2, *(6, 7, 2)[:n], n))


@pytest.mark.parametrize("n, mode, padding_mode, align_corners", OPTIONS)
def test_reading_is_pytorchs(n, mode, padding_mode, align_corners):
    torch = pytest.importorskip("torch", reason="compares with PyTorch, an optional peer")
    given = arrays(n)
    ours, theirs = [ml.tensor(a, requires_grad=True) for a in given], [torch.tensor(a, requires_grad=True) for a in given]
    y, y2 = (f.grid_sample(*t, mode, padding_mode, align_corners) for f, t in ((F, ours), (torch.nn.functional, theirs)))
    np.testing.assert_allclose(y.detach().numpy(), y2.detach().numpy(), rtol=1e-10, atol=1e-10)
    g = random.standard_normal(y.shape)
    y.backward(ml.tensor(g))
    y2.backward(torch.tensor(g))
    for a, b in zip(ours, theirs):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("padding_mode", ["zeros", "reflection"])
def test_derivatives(mode, padding_mode):
    given = random.standard_normal((1, 2, 3, 4)), random.uniform(-1, 1, (1, 2, 2, 2))
    x, grid = (ml.tensor(a, requires_grad=True) for a in given)
    assert gradcheck(lambda *a: F.grid_sample(*a, mode, padding_mode), (x, grid))
    assert gradgradcheck(lambda *a: F.grid_sample(*a, mode, padding_mode), (x, grid))


@pytest.mark.filterwarnings("ignore:Since version 1.3.0")  # PyTorch's, of sizes of 1
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("size", [(2, 3, 4, 5), (1, 1, 1, 3), (2, 1, 2, 3, 4)])
def test_affine_grids_are_pytorchs(size, align_corners):
    torch = pytest.importorskip("torch", reason="compares with PyTorch, an optional peer")
    theta = random.standard_normal((size[0], len(size) - 2, len(size) - 1))
    a, b = ml.tensor(theta, requires_grad=True), torch.tensor(theta, requires_grad=True)
    y, y2 = F.affine_grid(a, size, align_corners), torch.nn.functional.affine_grid(b, size, align_corners)
    np.testing.assert_allclose(y.detach().numpy(), y2.detach().numpy(), rtol=1e-12, atol=1e-12)
    y.square().sum().backward()
    y2.square().sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_the_identity_and_a_mirror(mode, dtype):
    x = ml.tensor(random.standard_normal((2, 3, 4, 8)).astype(dtype))
    for align_corners in (False, True):
        for sign, expected in ((1, x.numpy()), (-1, x.numpy()[..., ::-1])):
            theta = ml.tensor(np.array([[[sign, 0, 0], [0, 1, 0]]] * 2, dtype))
            found = F.grid_sample(x, F.affine_grid(theta, x.shape, align_corners), mode, "border", align_corners)
            assert found.dtype == x.dtype
            np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_places_that_are_no_numbers_read_zeros():
    x, grid = ml.ones(1, 1, 2, 2), ml.tensor(np.array([[[[np.nan, 0], [np.inf, 0], [0, -np.inf], [0, 0]]]], np.float32))
    np.testing.assert_array_equal(F.grid_sample(x, grid).numpy().ravel(), [0, 0, 0, 1])


def test_what_does_not_fit_is_refused():
    x, grid = ml.ones(2, 3, 4, 5), ml.zeros(2, 6, 7, 2)
    for wrong in (lambda: F.grid_sample(x, grid[:1]), lambda: F.grid_sample(x, grid[..., :1]),
                  lambda: F.grid_sample(x[0], grid), lambda: F.grid_sample(x[:, :, :0], grid),
                  lambda: F.grid_sample(x, grid, "linear"),
                  lambda: F.grid_sample(x, grid, padding_mode="mirror"),
                  lambda: F.grid_sample(x[..., None], ml.zeros(2, 6, 7, 1, 3), "bicubic"),
                  lambda: F.affine_grid(ml.zeros(2, 2, 3), (1, 3, 4, 5)), lambda: F.affine_grid(ml.zeros(2, 2, 3), (2, 4, 5)),
                  lambda: F.affine_grid(ml.zeros(2, 2, 3), (2, 3, 0, 5))):
        with pytest.raises(ValueError, match="expected"):
            wrong()
    with pytest.raises(TypeError, match="one dtype"):
        F.grid_sample(x, grid.astype("float64"))
