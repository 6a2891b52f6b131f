"""Normalisation modules against PyTorch's: values, gradients and running statistics, in both layouts; fused with a ReLU."""
import numpy as np
import pytest

import minidl as m

torch = pytest.importorskip("torch")

MODULES = [
    ("BatchNorm1d", (6,), {}, (7, 6)), ("BatchNorm1d", (6,), {}, (4, 6, 9)), ("BatchNorm2d", (6,), {}, (4, 6, 5, 7)),
    ("BatchNorm2d", (6,), {"momentum": None}, (4, 6, 5, 7)), ("BatchNorm2d", (6,), {"affine": False}, (4, 6, 5, 7)),
    ("BatchNorm2d", (6,), {"track_running_stats": False, "eps": 0.1}, (4, 6, 5, 7)),
    ("BatchNorm3d", (6,), {"momentum": 0.3}, (2, 6, 3, 4, 5)), ("InstanceNorm1d", (6,), {}, (4, 6, 9)),
    ("InstanceNorm2d", (6,), {"affine": True, "track_running_stats": True}, (4, 6, 5, 7)),
    ("InstanceNorm3d", (6,), {"affine": True}, (2, 6, 3, 4, 5)), ("GroupNorm", (3, 6), {}, (4, 6, 5, 7)),
    ("LayerNorm", ((5, 7),), {}, (4, 6, 5, 7)), ("RMSNorm", (7,), {}, (4, 6, 5, 7)),
    ("LocalResponseNorm", (3,), {"alpha": 0.3}, (4, 6, 5, 7)), ("LocalResponseNorm", (4,), {"k": 2.0}, (4, 6, 5))]


def images(shape, layout, seed=0):
    x = (2 * np.random.default_rng(seed).normal(size=shape) + 0.5).astype("float32")
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1) if layout == "channels-last" else x


@pytest.mark.parametrize("layout", ["C order", "channels-last"])
@pytest.mark.parametrize("name, arguments, options, shape", MODULES, ids=lambda v: str(v))
def test_module_is_pytorchs(name, arguments, options, shape, layout):
    ours, theirs = getattr(m.nn, name)(*arguments, **options), getattr(torch.nn, name)(*arguments, **options)
    random = np.random.default_rng(3)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        value = random.normal(size=p.shape).astype("float32")
        p.data, q.data = m.tensor(value), torch.tensor(value)
    for step in range(3):
        x = images(shape, layout, step)
        a, b = m.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        y, z = ours(a), theirs(b)
        g = images(shape, layout, 10 + step)
        y.backward(m.tensor(g))
        z.backward(torch.tensor(g))
        np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-4, atol=2e-5)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-4, atol=1e-4)
    state = theirs.state_dict()
    assert list(ours.state_dict()) == list(state)
    for key, value in ours.state_dict().items():
        np.testing.assert_allclose(value.numpy(), state[key].numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours.eval()(m.tensor(x)).detach().numpy(), theirs.eval()(torch.tensor(x)).detach().numpy(),
                               rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layout", ["C order", "channels-last"])
def test_batch_norm_and_relu_in_a_sequential_are_one_kernel_with_the_same_results(layout):
    pair = m.nn.Sequential(m.nn.BatchNorm2d(21), m.nn.ReLU())
    theirs = torch.nn.Sequential(torch.nn.BatchNorm2d(21), torch.nn.ReLU())
    x = images((4, 21, 6, 7), layout)
    a, b = m.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = pair(a), theirs(b)
    (y * y).sum().backward()
    (z * z).sum().backward()
    np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-4, atol=1e-4)
    for p, q in zip(pair.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-4, atol=1e-4)
    assert y._node.name != "relu"


@pytest.mark.parametrize("training", [True, False])
def test_the_end_of_a_residual_block(training):
    x, identity = images((4, 21, 6, 7), "channels-last"), images((4, 21, 6, 7), "channels-last", 1)
    layer, theirs = m.nn.BatchNorm2d(21).train(training), torch.nn.BatchNorm2d(21).train(training)
    a, r = m.tensor(x, requires_grad=True), m.tensor(identity, requires_grad=True)
    b, s = torch.tensor(x, requires_grad=True), torch.tensor(identity, requires_grad=True)
    y, z = layer(a, "relu", r), torch.relu(theirs(b) + s)
    (y * y).sum().backward()
    (z * z).sum().backward()
    np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(r.grad.numpy(), s.grad.numpy(), rtol=1e-4, atol=1e-4)
