"""minidl.linalg and minidl.fft: what the standard says of names and arguments, gradients where they are special, errors."""
import inspect
import math

import numpy as np
import pytest

import minidl as m
from minidl.autograd import gradcheck

random = np.random.default_rng(0)
STANDARD = {  # 2024.12: arguments, those by name only behind the star
    "linalg": {
        "cholesky": "x * upper=False", "cross": "x1 x2 * axis=-1", "det": "x", "diagonal": "x * offset=0", "eigh": "x",
        "eigvalsh": "x", "inv": "x", "matmul": "x1 x2", "matrix_norm": "x * keepdims=False ord='fro'", "matrix_power": "x n",
        "matrix_rank": "x * rtol=None", "matrix_transpose": "x", "outer": "x1 x2", "pinv": "x * rtol=None",
        "qr": "x * mode='reduced'", "slogdet": "x", "solve": "x1 x2", "svd": "x * full_matrices=True", "svdvals": "x",
        "tensordot": "x1 x2 * axes=2", "trace": "x * offset=0 dtype=None", "vecdot": "x1 x2 * axis=-1",
        "vector_norm": "x * axis=None keepdims=False ord=2"},
    "fft": {
        "fft": "x * n=None axis=-1 norm='backward'", "ifft": "x * n=None axis=-1 norm='backward'",
        "rfft": "x * n=None axis=-1 norm='backward'", "irfft": "x * n=None axis=-1 norm='backward'",
        "hfft": "x * n=None axis=-1 norm='backward'", "ihfft": "x * n=None axis=-1 norm='backward'",
        "fftn": "x * s=None axes=None norm='backward'", "ifftn": "x * s=None axes=None norm='backward'",
        "rfftn": "x * s=None axes=None norm='backward'", "irfftn": "x * s=None axes=None norm='backward'",
        "fftfreq": "n * d=1.0 dtype=None device=None", "rfftfreq": "n * d=1.0 dtype=None device=None",
        "fftshift": "x * axes=None", "ifftshift": "x * axes=None"}}


@pytest.mark.parametrize("space, name", [(space, name) for space in STANDARD for name in STANDARD[space]])
def test_names_arguments_and_defaults_are_the_standards(space, name):
    function = getattr(getattr(m, space), name)
    assert name in getattr(m, space).__all__
    if hasattr(function, "names"):  # an operation
        found = {n: function.defaults.get(n, inspect.Parameter.empty) for n in function.names}
    else:
        found = {p.name: p.default for p in inspect.signature(function).parameters.values()}
    positional, _, named = STANDARD[space][name].partition("*")
    assert list(found)[:len(positional.split())] == positional.split()
    for option in named.split():
        key, _, value = option.partition("=")
        assert repr(found[key]) == value


def test_results_have_the_standards_fields():
    x = m.eye(2)
    for result, fields in ((m.linalg.qr(x), ("Q", "R")), (m.linalg.svd(x), ("U", "S", "Vh")),
                           (m.linalg.eigh(x), ("eigenvalues", "eigenvectors")), (m.linalg.slogdet(x), ("sign", "logabsdet"))):
        assert result._fields == fields


def test_float32_stays():
    x = m.tensor(random.standard_normal((3, 3)), dtype="float32")
    for name in ("inv", "det", "slogdet", "qr", "svd", "svdvals", "pinv", "eigvalsh"):
        y = getattr(m.linalg, name)(x)
        assert {part.dtype for part in (y if isinstance(y, tuple) else (y,))} == {m.float32}
    assert m.fft.fft(x).dtype == m.complex64 and m.fft.irfft(m.fft.rfft(x)).dtype == m.float32


def test_the_gradient_of_a_determinant_that_is_zero():
    for rank in (2, 1):
        x = random.standard_normal((3, 3))
        u, s, v = np.linalg.svd(x)
        s[rank:] = 0
        assert gradcheck(m.linalg.det, [m.tensor(u * s @ v, requires_grad=True)])


def test_eigenvalues_that_are_equal_have_gradients():
    x = m.tensor(np.diag([2.0, 2.0, 5.0]), requires_grad=True)
    m.linalg.eigvalsh(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.eye(3), atol=1e-12)
    y = m.tensor(np.eye(3), requires_grad=True)
    m.linalg.matrix_norm(y, ord="nuc").backward()
    np.testing.assert_allclose(y.grad.numpy(), np.eye(3), atol=1e-12)


def test_full_matrices_have_the_derivative_of_the_singular_values():
    x = m.tensor(random.standard_normal((3, 2)), requires_grad=True)
    assert gradcheck(lambda x: m.linalg.svd(x).S, [x])
    with pytest.raises(RuntimeError, match="full_matrices=False expected"):
        m.linalg.svd(x).U.sum().backward()
    with pytest.raises(RuntimeError, match="'reduced' expected"):
        m.linalg.qr(x, mode="complete").Q.sum().backward()


def test_frequencies_and_shifts():
    for n in (1, 4, 5):
        np.testing.assert_allclose(m.fft.fftfreq(n, d=0.5).numpy(), np.fft.fftfreq(n, 0.5))
        np.testing.assert_allclose(m.fft.rfftfreq(n, d=0.5, dtype="float64").numpy(), np.fft.rfftfreq(n, 0.5))
    assert m.fft.fftfreq(4).dtype == m.float32 and m.fft.fftshift(m.fft.fftfreq(4)).tolist() == [-0.5, -0.25, 0, 0.25]


def test_dim_is_taken_for_axis():
    x = m.tensor(random.standard_normal((2, 3, 4)))
    assert (m.fft.fft(x, dim=1) == m.fft.fft(x, axis=1)).all()
    assert (m.fft.fftn(x, dim=(0, 1)) == m.fft.fftn(x, axes=(0, 1))).all()
    assert (m.linalg.vector_norm(x, dim=1, keepdim=True) == m.linalg.vector_norm(x, axis=1, keepdims=True)).all()
    assert m.linalg.matrix_norm(x, dim=(0, 2)).shape == (3,)


def test_a_transform_over_no_axes_is_the_number_itself():
    assert m.fft.fftn(m.tensor(2j)).item() == m.fft.ifftn(m.tensor([2j]), axes=()).item() == 2j


def test_a_convolution_by_transforms():
    x, w = (m.tensor(random.standard_normal(n), requires_grad=True) for n in (20, 5))
    y = m.fft.irfft(m.fft.rfft(x, n=24) * m.fft.rfft(w, n=24), n=24)
    np.testing.assert_allclose(y.detach().numpy(), np.convolve(x.detach().numpy(), w.detach().numpy()), atol=1e-12)
    g = random.standard_normal(24)
    y.backward(m.tensor(g))
    np.testing.assert_allclose(x.grad.numpy(), np.correlate(g, w.detach().numpy(), "valid"), atol=1e-12)
    np.testing.assert_allclose(w.grad.numpy(), np.correlate(g, x.detach().numpy(), "valid"), atol=1e-12)


def test_rank():
    x = np.diag([1.0, 1e-3, 1e-20])
    assert m.linalg.matrix_rank(m.tensor(x)).item() == 2 and m.linalg.matrix_rank(m.tensor(x), rtol=0.01).item() == 1
    pair = m.stack([m.tensor(x[:2, :2]), m.eye(2, dtype="float64")])
    assert m.linalg.matrix_rank(pair, rtol=m.tensor([0.01, 0.5])).tolist() == [1, 2]
    assert m.linalg.matrix_rank(m.ones((2, 0, 3))).tolist() == [0, 0]
    assert m.linalg.matrix_power(m.ones((2, 0, 0)), 0).shape == (2, 0, 0)


@pytest.mark.parametrize("call, error, message", [
    (lambda: m.linalg.inv(m.zeros((2, 2))), ValueError, "Singular matrix"),
    (lambda: m.linalg.eigh(m.eye(2), "X"), ValueError, "UPLO='X': 'L' or 'U' expected"),
    (lambda: m.linalg.qr(m.eye(2), mode="raw"), ValueError, "mode='raw': 'reduced' or 'complete' expected"),
    (lambda: m.linalg.matrix_norm(m.eye(2), ord=3), ValueError, "ord=3: 'fro', 'nuc'"),
    (lambda: m.linalg.matrix_norm(m.eye(2), axis=(0, -2)), ValueError, "two different axes expected"),
    (lambda: m.linalg.norm(m.ones((1, 2, 2)), 2), ValueError, r"shape \(1, 2, 2\) without axis: one or two axes expected"),
    (lambda: m.linalg.cross(m.ones(2), m.ones(2)), ValueError, "size 3 at axis -1 of both expected"),
    (lambda: m.linalg.matrix_power(m.ones((2, 3)), 2), ValueError, r"square matrices \(..., M, M\) expected"),
    (lambda: m.fft.fft(m.ones(2), norm="both"), ValueError, "norm='both': 'backward', 'ortho' or 'forward' expected"),
    (lambda: m.fft.fftn(m.ones(2), s=(1, 1), axes=(0,)), ValueError, r"fftn: s=\(1, 1\), axes=\(0,\)"),
    (lambda: m.fft.rfftn(m.ones(())), ValueError, "rfftn: .*one axis or more")])
def test_errors_say_what_is_expected(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_norms_of_vectors_by_every_order():
    x = random.standard_normal(5)
    for order in (0, 1, 2, 3.5, -1, math.inf, -math.inf):
        assert m.linalg.vector_norm(m.tensor(x), order).item() == pytest.approx(np.linalg.vector_norm(x, ord=order))
