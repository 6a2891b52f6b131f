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
    with pytest.raises(RuntimeError, match="relu_: in-place change of a view, recorded"):
        F.relu_((x * 2)[0])
    with ml.no_grad():
        F.relu_(x)
    np.testing.assert_array_equal(x.detach().numpy(), np.maximum(X, 0))
    y = ml.exp(x)  # needs its result at backward
    F.relu_(y)
    with pytest.raises(RuntimeError, match="was changed in place since"):
        y.sum().backward()
