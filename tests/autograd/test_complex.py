"""Complex numbers between real ones on the tape: each rule that knows them, to the second order, and what the others say."""
import numpy as np
import pytest

import minidl as m
from minidl.autograd import gradcheck, gradgradcheck

random = np.random.default_rng(0)
OF_ONE = {
    "arithmetic": lambda z: 2j - z * (1 + 2j) + -z, "quotients": lambda z: (1j / z) / (2 - 1j), "square": m.square,
    "exp": m.exp, "abs": abs, "power spectrum": lambda z: m.real(z * m.conj(z)),
    "real and imag": lambda z: z.real * z.imag + 1j * z,
    "dtypes": lambda z: z.astype("complex128") * z.real.astype("complex128"), "sums": lambda z: z.sum(0) * z.mean(),
    "axes": lambda z: m.expand_dims(z, 1).reshape((3, 2)).mT[None] * m.squeeze(z[None], 0),
    "places": lambda z: m.concat([z[0], z[m.tensor([1, 1]), m.tensor([0, 2])]]) * m.diagonal(z)[0],
    "parts": lambda z: m.stack(m.split(z[:, :2], 1, 1)) * m.split(z, [1, 2], 1)[1][0, 1],
    "moves": lambda z: m.roll(z, 1, 1) * m.flip(z) * m.where(np.array([True, False, True]), z, 0),
    "borders": lambda z: m.pad(z, 1) * m.broadcast_to(z[:1, :1], (4, 5)), "positive": lambda z: +z,
}
OF_TWO = {
    "product": lambda z, w: z * w[0], "quotient": lambda z, w: z / w, "matrices": lambda z, w: z @ w.mT,
    "rows": lambda z, w: z @ w[0], "vectors": lambda z, w: z[0] @ w[0], "batches": lambda z, w: m.stack([z, w]) @ w.mT,
    "vecdot": m.vecdot, "einsum": lambda z, w: m.einsum("ij,kj->ki", z, w),
    "convolution": lambda z, w: m.fft.ifft(m.fft.fft(z, n=4) * m.fft.fft(w, n=4)),
}


@pytest.mark.parametrize("name", [*OF_ONE, *OF_TWO])
def test_derivatives_agree_with_finite_differences(name):
    f, count = (OF_ONE[name], 1) if name in OF_ONE else (OF_TWO[name], 2)
    parts = [m.Tensor(random.normal(size=(2, 3)) + 1.5 * (i % 2), requires_grad=True) for i in range(2 * count)]

    def of_parts(*parts):
        return f(*[a + 1j * b for a, b in zip(parts[::2], parts[1::2])])
    assert gradcheck(of_parts, parts)
    assert gradgradcheck(lambda *parts: m.square(of_parts(*parts)), parts, atol=1e-4)


def test_gradcheck_looks_at_both_parts():
    class Wrong(m.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1j

        @staticmethod
        def backward(ctx, g):
            return g.real
    x = m.ones(2, dtype="float64", requires_grad=True)
    assert not gradcheck(Wrong.apply, x, raise_exception=False)


def test_a_real_factor_gets_a_real_gradient_in_its_dtype():
    x = m.ones(3, requires_grad=True)
    (x * m.tensor([1j, 2, 3 - 1j])).abs().sum().backward()
    assert x.grad.dtype == m.float32
    np.testing.assert_allclose(x.grad.numpy(), [1, 2, 10 ** 0.5], rtol=1e-6)
    m.abs(x * 0j).sum().backward()
    assert np.isfinite(x.grad.numpy()).all()


def test_what_has_no_rule_for_complex_numbers_says_so():
    z = m.ones(3, requires_grad=True) * 1j
    for f in (m.sin, m.sign, m.cumulative_sum, m.var):
        with pytest.raises(TypeError, match=f"{f.__name__}: has no derivative for complex numbers"):
            f(z)
    with pytest.raises(RuntimeError, match="complex64: give `gradient`"):
        z.sum().backward()
    z.sum().backward(m.tensor(2j))
