"""Softmax and cross entropy against PyTorch, their gradients against its autograd, and what bad arguments are told."""
import numpy as np
import pytest

from minidl import kernels

torch = pytest.importorskip("torch", reason="PyTorch gives the reference values")
F = torch.nn.functional


def logits_and_labels(n=40, classes=10, seed=0):
    rng = np.random.default_rng(seed)
    logits = (3 * rng.standard_normal((n, classes))).astype("f4")
    return logits, np.where(rng.random(n) < 0.2, -100, rng.integers(0, classes, n)), rng.random(classes).astype("f4")


@pytest.mark.parametrize("backend", kernels.backends())
@pytest.mark.parametrize("classes", [10, 100])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_and_its_gradient(backend, classes, weighted, smoothing):
    logits, target, weight = logits_and_labels(classes=classes)
    if not weighted:
        weight = None
    x = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    w = None if weight is None else torch.tensor(weight, dtype=torch.float64)
    wanted = F.cross_entropy(x, torch.from_numpy(target), w, reduction="none", label_smoothing=smoothing)
    g = np.linspace(-1, 2, len(target), dtype="f4")
    wanted.backward(torch.tensor(g, dtype=torch.float64))
    with kernels.backend(backend):
        loss, lse = kernels.cross_entropy(logits, target, weight, label_smoothing=smoothing)
        slope = kernels.cross_entropy_backward(g, logits, lse, target, weight, label_smoothing=smoothing)
    np.testing.assert_allclose(loss, wanted.detach(), rtol=1e-5, atol=2e-6)
    np.testing.assert_allclose(lse, torch.logsumexp(x, 1).detach(), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(slope, x.grad, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("shape, axis", [((6, 10), -1), ((5, 300), 1), ((4, 7, 3), 1), ((2, 8, 3, 5), 1)])
def test_softmax_and_its_gradient(name, shape, axis):
    rng = np.random.default_rng(1)
    x, g = rng.standard_normal((2, *shape)).astype("f4")
    x[..., 0] = -np.inf if name == "softmax" and axis == -1 else 2
    wide = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    wanted = getattr(torch, name)(wide, axis)
    wanted.backward(torch.tensor(g, dtype=torch.float64))
    y = getattr(kernels, name)(x, axis)
    np.testing.assert_allclose(y, wanted.detach(), rtol=2e-6, atol=1e-6)
    np.testing.assert_allclose(getattr(kernels, f"{name}_backward")(g, y, axis), wide.grad, rtol=1e-5, atol=2e-6)


def test_a_confident_prediction_keeps_its_small_loss():
    logits = np.array([[40.0, 30.0, 20.0]], "f4")
    wanted = F.cross_entropy(torch.tensor(logits, dtype=torch.float64), torch.tensor([0])).item()
    assert abs(kernels.cross_entropy(logits, np.array([0]))[0][0] / wanted - 1) < 1e-3
    assert kernels.cross_entropy(logits + 1000, np.array([2]))[0][0] == pytest.approx(20, rel=1e-5)


def test_softmax_of_a_masked_row_is_nan_as_in_pytorch():
    x = np.full((3, 40), -np.inf, "f4")
    x[1] = 0
    y = kernels.softmax(x)
    np.testing.assert_array_equal(y, torch.softmax(torch.from_numpy(x), 1).numpy())


def test_outputs_may_be_the_inputs():
    for classes in (10, 100):
        x, _, _ = logits_and_labels(classes=classes)
        wanted = kernels.softmax(x)
        assert kernels.softmax(x, out=x) is x
        np.testing.assert_array_equal(x, wanted)


@pytest.mark.parametrize("backend", kernels.backends())
def test_labels_out_of_range_are_named(backend):
    logits, target, _ = logits_and_labels(n=6)
    target[:] = [1, 2, -100, 12, 0, 3]
    with kernels.backend(backend), pytest.raises(ValueError, match=r"target\[3\] = 12: 0 <= target < 10 expected"):
        kernels.cross_entropy(logits, target)
    with pytest.raises(ValueError, match=r"target\[2\] = -100: .* \(or ignore_index 7\)"):
        kernels.cross_entropy(logits, target, ignore_index=7)
    with pytest.raises(ValueError, match=r"cross_entropy_backward: target\[3\] = 12"):
        kernels.cross_entropy_backward(logits[:, 0], logits, logits[:, 0], target)
    with pytest.raises(ValueError, match=r"target\[1\] = 200"):
        kernels.cross_entropy(logits[:2], np.array([3, 200], "u1"))


@pytest.mark.parametrize("change, error, message", [
    ({"logits": np.zeros((4, 3), "i8")}, TypeError, "logits is int64: a floating-point dtype expected"),
    ({"logits": np.zeros(4, "f4")}, ValueError, "logits .4,.: two axes"),
    ({"target": np.zeros(4, "f4")}, TypeError, "target is float32: integer labels expected"),
    ({"target": np.zeros(5, "i8")}, ValueError, "target .5,.: one label for each row"),
    ({"weight": np.ones(4, "f4")}, ValueError, "weight is float32.4,.: float32.3,. expected"),
    ({"label_smoothing": 1.5}, ValueError, "label_smoothing=1.5"),
])
def test_bad_arguments_are_named(change, error, message):
    arguments = {"logits": np.zeros((4, 3), "f4"), "target": np.zeros(4, "i8"), **change}
    with pytest.raises(error, match=message):
        kernels.cross_entropy(**arguments)


def test_bad_axes_and_gradients_are_named():
    x = np.zeros((2, 3), "f4")
    with pytest.raises(ValueError, match=r"softmax: axis=2 of x \(2, 3\): -2 <= axis < 2 expected"):
        kernels.softmax(x, 2)
    with pytest.raises(ValueError, match="softmax_backward: g is float32"):
        kernels.softmax_backward(x[:1], x)
    with pytest.raises(ValueError, match=r"cross_entropy_backward: lse is float32\(3,\): float32\(2,\) expected"):
        kernels.cross_entropy_backward(x[:, 0], x, x[0], np.zeros(2, "i8"))
    with pytest.raises(TypeError, match="sigmoid: x is int64"):
        kernels.sigmoid(np.arange(3))
    with pytest.raises(ValueError, match="elu: alpha=-1: at least 0 expected"):
        kernels.elu(x, -1)
    with pytest.raises(ValueError, match=r"relu_backward: g \(1, 3\): the shape of y, \(2, 3\), expected"):
        kernels.relu_backward(x[:1], x)
    with pytest.raises(TypeError, match="relu_backward: g is float64: the dtype of y, float32, expected"):
        kernels.relu_backward(x.astype("f8"), x)
