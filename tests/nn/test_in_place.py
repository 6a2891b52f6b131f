"""Functions whose names end in _ change their input: PyTorch's values and gradients, and the tape's rules."""
import numpy as np
import pytest

import minidl as ml
import minidl.nn.functional as F

X = np.random.default_rng(0).standard_normal((3, 4))
CALLS = {"relu_": (), "elu_": (0.7,), "selu_": (), "celu_": (0.5,), "leaky_relu_": (0.2,), "hardtanh_": (-0.5, 0.6),
         "rrelu_": (0.1, 0.3), "threshold_": (0.1, -2.0)}


@pytest.mark.parametrize("name", CALLS)
def test_it_is_pytorchs(name):
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    results = []
    for lib, functions in ((ml, F), (torch, torch.nn.functional)):
        x = lib.tensor(X, requires_grad=True)
        y = x * 2
        other = y[0].detach()  # the same memory
        z = getattr(functions, name)(y, *CALLS[name])
        assert z is y and other.tolist() == y[0].tolist()
        (y * y).sum().backward()
        results.append((y.detach().numpy(), x.grad.numpy()))
    for ours, theirs in zip(*results):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize("name", CALLS)
def test_it_is_the_function_that_makes_a_new_tensor(name):
    x = ml.tensor(X)
    expected = getattr(F, name[:-1])(x, *CALLS[name])
    assert (x == ml.tensor(X)).all()
    assert getattr(F, name)(x, *CALLS[name]) is x and (x == expected).all()


def test_the_tape_stays_true():
    x = ml.tensor(X, requires_grad=True)
    with pytest.raises(RuntimeError, match="relu_: in-place change of a leaf that requires a gradient"):
        F.relu_(x)
    y = x * 2
    F.relu_(y[0])
    y.sum().backward()
    np.testing.assert_array_equal(x.grad[0].numpy(), 2.0 * (X[0] > 0))
    np.testing.assert_array_equal(x.grad[1].numpy(), 2.0)
    with ml.no_grad():
        F.relu_(x)
    np.testing.assert_array_equal(x.detach().numpy(), np.maximum(X, 0))
    y = ml.exp(x)  # needs its result at backward
    F.relu_(y)
    with pytest.raises(RuntimeError, match="was changed in place since"):
        y.sum().backward()


LAYERS = [(name, args) for name, args in (
    ("ReLU", ()), ("ReLU6", ()), ("Hardtanh", ()), ("LeakyReLU", (0.1,)), ("ELU", (0.7,)), ("SELU", ()), ("CELU", (0.5,)),
    ("SiLU", ()), ("Mish", ()), ("Hardsigmoid", ()), ("Hardswish", ()), ("Threshold", (0.1, 20.0)), ("RReLU", ()))]


@pytest.mark.parametrize(("name", "args"), LAYERS, ids=lambda x: x if isinstance(x, str) else "")
def test_inplace_changes_the_input_as_in_pytorch(name, args):
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    results = []
    for lib in (ml, torch):
        layer, x = getattr(lib.nn, name)(*args, inplace=True).eval(), lib.tensor(X, requires_grad=True)
        y = x * 3
        z = layer(y)
        assert z is y
        (z * z).sum().backward()
        with pytest.raises(RuntimeError):
            layer(x)  # a leaf
        results.append((y.detach().numpy(), x.grad.numpy()))
    for ours, theirs in zip(*results):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_dropout_in_place():
    x = ml.ones(50, 50)
    assert ml.nn.Dropout(0.5, inplace=True)(x) is x and set(np.unique(x.numpy())) == {0, 2}
    y = ml.ones(4, requires_grad=True)
    assert ml.nn.Dropout(0.5, inplace=True).eval()(y) is y  # nothing is changed


def residual_block(lib, conv, norm, x):
    """A block as torchvision writes them, and a result that is changed while it has another name."""
    functional = lib.nn.functional
    out = functional.relu(norm(conv(x)), inplace=True)
    out = norm(conv(out))
    out += x
    out = functional.relu(out, inplace=True)
    named = conv(out)
    functional.relu(named, inplace=True)
    return out.sum() + (named * named).sum()


def test_a_residual_block_written_in_place_is_pytorchs():
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    values = np.random.default_rng(0).standard_normal((2, 8, 20, 20)).astype(np.float32)  # large enough to wait
    theirs = torch.nn.Conv2d(8, 8, 3, padding=1), torch.nn.BatchNorm2d(8)
    ours = ml.nn.Conv2d(8, 8, 3, padding=1), ml.nn.BatchNorm2d(8)
    for a, b in zip(ours, theirs):
        a.load_state_dict({name: value.numpy() for name, value in b.state_dict().items()})
    found = []
    for lib, parts in ((ml, ours), (torch, theirs)):
        x = lib.tensor(values, requires_grad=True)
        residual_block(lib, *parts, x).backward()
        found.append([x.grad.numpy(), *(p.grad.numpy() for part in parts for p in part.parameters())])
    for a, b in zip(*found):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3 * np.abs(b).max())


@pytest.mark.parametrize("layer", ["LayerNorm", "RMSNorm", "GroupNorm", "BatchNorm1d", "InstanceNorm1d"])
def test_the_result_of_a_norm_may_be_changed_in_place(layer):
    module = getattr(ml.nn, layer)(*((2, 4) if layer == "GroupNorm" else (4,)))
    grads = []
    for change in True, False:
        x = ml.tensor(np.arange(48.0).reshape(3, 4, 4) ** 2, requires_grad=True)
        y = module.double()(x)
        if change:
            y += x
        else:
            y = y + x
        (y * y).sum().backward()
        grads.append(x.grad.numpy())
    np.testing.assert_array_equal(*grads)


def test_a_loss_may_be_added_to():
    x = ml.tensor(X, requires_grad=True)
    loss = F.cross_entropy(x, ml.tensor([0, 1, 2]))
    loss += 0.5 * (x * x).sum()
    loss.backward()
    p = np.exp(X) / np.exp(X).sum(1, keepdims=True)
    np.testing.assert_allclose(x.grad.numpy(), (p - np.eye(3, 4)) / 3 + X, rtol=1e-12)


@pytest.mark.parametrize("shared", [False, True])
def test_what_was_changed_in_place_may_be_changed_again(shared):
    x = ml.tensor(X, requires_grad=True)
    for layer, allowed in ((F.relu, False), (F.silu, True), (lambda y, inplace: F.dropout(y, 0.5, True, inplace), True)):
        y = x * 2
        held = y.array if shared else None
        layer(y, inplace=True)
        if shared:
            np.testing.assert_array_equal(held, y.detach().numpy())
        y += 1
        if allowed or shared:
            y.sum().backward()
        else:  # the derivative needs the result, whose memory it is
            with pytest.raises(RuntimeError, match="changed in place"):
                y.sum().backward()
    y = x * 2
    z = y * x  # needs y as it was
    F.relu(y, inplace=True)
    with pytest.raises(RuntimeError, match="changed in place"):
        z.sum().backward()
    y = ml.tensor(X)
    row = y[0]
    F.relu(y, inplace=True)
    np.testing.assert_array_equal(row.numpy(), np.maximum(X[0], 0))
