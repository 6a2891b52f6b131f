"""Every activation module against PyTorch's of the same name: values, gradients, what it says of itself."""
import numpy as np
import pytest

import minidl as m

torch = pytest.importorskip("torch")

MODULES = [
    ("CELU", {}), ("CELU", {"alpha": 0.6}), ("ELU", {"alpha": 0.6}), ("GELU", {}), ("GELU", {"approximate": "tanh"}),
    ("GLU", {}), ("GLU", {"dim": 1}), ("Hardshrink", {}), ("Hardshrink", {"lambd": 0.3}), ("Hardsigmoid", {}),
    ("Hardswish", {}), ("Hardtanh", {}), ("Hardtanh", {"min_val": -0.3, "max_val": 2.0}), ("LeakyReLU", {}),
    ("LogSigmoid", {}), ("LogSoftmax", {"dim": 1}), ("Mish", {}), ("PReLU", {}), ("PReLU", {"num_parameters": 6}),
    ("RReLU", {}), ("ReLU", {}), ("ReLU6", {}), ("SELU", {}), ("SiLU", {}), ("Sigmoid", {}), ("Softmax", {"dim": 1}),
    ("Softmax2d", {}), ("Softmin", {"dim": -1}), ("Softplus", {}), ("Softshrink", {}), ("Softsign", {}), ("Tanh", {}),
    ("Tanhshrink", {}), ("Threshold", {"threshold": 0.1, "value": -3.0})]


SINGLE = ("CELU", "ELU", "Hardsigmoid")  # of float64 too PyTorch rounds the constants to float32


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name, options", MODULES, ids=lambda v: str(v))
def test_module_is_pytorchs(name, options, dtype):
    ours, theirs = getattr(m.nn, name)(**options).eval(), getattr(torch.nn, name)(**options).eval()
    x = (3 * np.random.default_rng(0).normal(size=(2, 6, 8, 10))).astype(dtype)
    if dtype == "float64":
        ours, theirs = ours.to(m.float64), theirs.double()
    a, b = m.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = ours(a), theirs(b)
    g = np.random.default_rng(1).normal(size=y.shape).astype(dtype)
    y.backward(m.tensor(g))
    z.backward(torch.tensor(g))
    tolerance = 2e-6 if dtype == "float32" else 1e-6 if name in SINGLE else 1e-12
    np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=tolerance, atol=2 * tolerance)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-5, atol=1e-5)
    assert list(ours.state_dict()) == list(theirs.state_dict())


def test_rrelu_draws_its_slopes_in_training():
    layer, x = m.nn.RReLU(0.2, 0.6), m.tensor(-np.ones((50, 40), "float32"), requires_grad=True)
    y = layer(x)
    slopes = -y.detach().numpy()
    assert 0.2 <= slopes.min() < 0.25 and 0.55 < slopes.max() < 0.6 and len(np.unique(slopes)) > 1000
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), slopes)


@pytest.mark.parametrize("call, message", [
    (lambda x: m.nn.functional.glu(x), "even"), (lambda x: m.nn.functional.prelu(x, m.ones(4)), "1 or 2 elements"),
    (lambda x: m.nn.functional.rrelu(x, 0.5, 0.1), "lower <= upper"), (lambda x: m.nn.functional.hardshrink(x, -1.0), "lambd"),
    (lambda x: m.nn.Softmax2d()(x), "axes")])
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call(m.zeros((2, 3)) if message == "even" else m.zeros((3, 2)))


@pytest.mark.parametrize("shape", [(), (3,), (3, 4), (2, 3, 4), (2, 3, 4, 5)])
def test_softmax_without_an_axis_takes_pytorchs(shape):
    x = np.random.default_rng(0).normal(size=shape)
    for name in ("softmax", "log_softmax", "softmin"):
        with pytest.warns(UserWarning):
            found, expected = getattr(m.nn.functional, name)(m.asarray(x)), getattr(torch.nn.functional, name)(torch.tensor(x))
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-12)
    found = m.nn.functional.softmax(m.asarray(x.astype("float32")), -1, dtype=m.float64)
    assert found.dtype == m.float64
