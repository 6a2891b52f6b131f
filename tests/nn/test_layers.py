"""Every layer against PyTorch's, forward and backward, from the same weights; and those that fuse, against themselves."""
import numpy as np
import pytest

import minidl as ml
import minidl.nn.functional as F
from minidl import nn
from tests.nn.layer_cases import LAYERS

torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
random = np.random.default_rng(0)


def close(ours, theirs, tolerance=2e-6):
    assert ours.shape == tuple(theirs.shape)
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=tolerance, atol=tolerance)


def check_step(ours, theirs, shape):
    """One step forward and back through both, on the same input."""
    array = random.standard_normal(shape).astype(np.float32)
    x, x2 = ml.tensor(array, requires_grad=True), torch.tensor(array, requires_grad=True)
    y, y2 = ours(x.clone()), theirs(x2.clone())  # some change what they are given
    close(y, y2)
    g = random.standard_normal(y.shape).astype(np.float32)
    y.backward(ml.tensor(g))
    y2.backward(torch.tensor(g))
    close(x.grad, x2.grad, 1e-5)
    for (name, p), (name2, p2) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert name == name2
        close(p.grad, p2.grad, 1e-5)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")  # PyTorch copies there
@pytest.mark.parametrize("name, args, kwargs, shape", LAYERS)
def test_layer_is_pytorchs(name, args, kwargs, shape):
    ours, theirs = getattr(nn, name)(*args, **kwargs), getattr(torch.nn, name)(*args, **kwargs)
    keys = ours.load_state_dict(theirs.state_dict())
    assert keys == ([], [])
    assert repr(ours).startswith(f"{name}(")
    for _ in range(2):  # running statistics move on
        check_step(ours, theirs, shape)
        ours.zero_grad()
        theirs.zero_grad()
    for (key, value), (key2, value2) in zip(ours.state_dict().items(), theirs.state_dict().items(), strict=True):
        assert key == key2
        close(value, value2)
    check_step(ours.eval(), theirs.eval(), shape)


@pytest.mark.parametrize("layer", ["Linear(3, 4, bias=False)", "Conv2d(4, 8, (3, 2), 2, padding=1, groups=2, bias=False)",
                                   "Conv2d(1, 2, 3, dilation=2, padding='same')", "Flatten()", "Unflatten(1, (2, 3))",
                                   "Dropout(0.3)", "BatchNorm2d(3)", "LayerNorm((2, 3))", "RMSNorm(4, 0.1)",
                                   "GroupNorm(2, 6, affine=False)", "InstanceNorm1d(3)", "Embedding(4, 3)",
                                   "Embedding(4, 3, -1)", "LeakyReLU(0.2, True)", "ELU()", "ReLU(True)", "ReLU()",
                                   "ReLU6(True)", "SiLU()", "Hardtanh()", "GELU()", "Softmax(1)", "LogSoftmax(0)",
                                   "Softplus()", "MaxPool2d(2)", "AvgPool2d((2, 3), 1)", "AdaptiveAvgPool2d((1, 2))",
                                   "Identity()", "CrossEntropyLoss()", "Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU()))",
                                   "ModuleDict({'a': nn.Tanh()})"])
def test_repr_is_pytorchs(layer):
    assert repr(eval(f"nn.{layer}", {"nn": nn})) == repr(eval(f"nn.{layer}", {"nn": torch.nn}))


def test_the_places_of_the_largest_are_pytorchs():
    x = random.standard_normal((2, 3, 8, 9)).astype(np.float32)
    for args in [(2,), (3, 2, 1), ((2, 3), (2, 1), (1, 0), (2, 1))]:
        y, places = nn.MaxPool2d(*args, return_indices=True)(x)
        y2, places2 = torch.nn.MaxPool2d(*args, return_indices=True)(torch.tensor(x))
        close(y, y2)
        np.testing.assert_array_equal(places.numpy(), places2.numpy())
    y, places = nn.MaxPool2d(2, return_indices=True)(x[0])
    assert y.shape == places.shape == (3, 4, 4)


def test_functions_take_pytorchs_names():
    x = random.standard_normal((2, 4, 6, 6)).astype(np.float32)
    t, w = torch.tensor(x), torch.randn(6, 4, 3, 3)
    ours, b = ml.tensor(x), torch.randn(6)
    for padding in ("same", "valid", 1, (0, 2)):
        close(F.conv2d(input=ours, weight=ml.tensor(w.numpy()), bias=ml.tensor(b.numpy()), padding=padding),
              torch.nn.functional.conv2d(input=t, weight=w, bias=b, padding=padding), 1e-5)
    close(F.conv2d(ours[0], ml.tensor(w.numpy())), torch.nn.functional.conv2d(t[0], w), 1e-5)
    for name, options in [("relu", {"inplace": False}), ("relu6", {}), ("hardtanh", {"min_val": -0.1}), ("sigmoid", {}),
                          ("leaky_relu", {"negative_slope": 0.3}), ("elu", {"alpha": 0.5}), ("silu", {}),
                          ("softplus", {"beta": 2}), ("gelu", {"approximate": "tanh"}), ("tanh", {}), ("softmax", {"dim": 1}),
                          ("log_softmax", {"dim": -1}), ("max_pool2d", {"kernel_size": 2}), ("avg_pool2d", {"kernel_size": 3}),
                          ("adaptive_avg_pool2d", {"output_size": 2}), ("dropout", {"training": False}),
                          ("dropout2d", {"p": 0.0})]:
        close(getattr(F, name)(input=ours, **options), getattr(torch.nn.functional, name)(input=t, **options), 1e-5)
    x = ml.tensor(x)
    for method in ("relu", "sigmoid", "tanh"):
        close(getattr(x, method)(), getattr(t, method)())
    for method in ("softmax", "log_softmax"):
        close(getattr(x, method)(dim=1), getattr(t, method)(dim=1))


def seed_cnn(nn):
    return nn.Sequential(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
                         nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Flatten(), nn.Linear(576, 64), nn.ReLU(), nn.Linear(64, 10))


def test_a_cnn_trains_as_pytorchs_does():
    ours, theirs = seed_cnn(nn), seed_cnn(torch.nn)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert repr(ours) == repr(theirs)
    ours.load_state_dict(theirs.state_dict())
    optimizers = ml.optim.SGD(ours.parameters(), lr=0.1), torch.optim.SGD(theirs.parameters(), lr=0.1)
    for _ in range(3):
        x, y = random.standard_normal((8, 1, 28, 28)).astype(np.float32), random.integers(0, 10, 8)
        losses = F.cross_entropy(ours(x), y), torch.nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.tensor(y))
        for optimizer, loss in zip(optimizers, losses):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        close(*losses, 1e-5)
    for ours_p, theirs_p in zip(ours.parameters(), theirs.parameters()):
        close(ours_p, theirs_p, 1e-4)


def test_a_state_dict_goes_back_to_pytorch():
    ours, theirs = seed_cnn(nn), seed_cnn(torch.nn)
    theirs.load_state_dict({name: torch.from_numpy(value.numpy()) for name, value in ours.state_dict().items()})
    x = random.standard_normal((2, 1, 28, 28)).astype(np.float32)
    close(ours(x), theirs(torch.tensor(x)), 1e-5)
