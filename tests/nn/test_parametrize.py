"""nn.utils: parametrizations, batch norms fused into layers, modules without initial values."""
import copy

import numpy as np
import pytest

import minidl as ml
from minidl import nn, optim
from minidl.nn import utils
from minidl.nn.utils import parametrize

random = np.random.default_rng(0)


def symmetric(base, **more):
    """A module, of minidl's or PyTorch's base class, that makes a matrix symmetric."""
    def forward(self, X):
        return X.triu() + X.triu(1).mT
    return type("Symmetric", (base,), {"forward": forward, **more})()


def doubled(base):
    return type("Doubled", (base,), {"forward": lambda self, X: 2 * X, "right_inverse": lambda self, X: X / 2})()


def product(base):
    """Two originals: a length and a direction."""
    return type("Product", (base,), {"forward": lambda self, a, b: a * b,
                                     "right_inverse": lambda self, X: (X * 0 + 2, X / 2)})()


def trained(layer, optimizer, x, steps=3):
    for _ in range(steps):
        optimizer.zero_grad()
        (layer(x) ** 2).mean().backward()
        optimizer.step()
    return layer


@pytest.mark.parametrize("parts", [[symmetric], [doubled], [product], [symmetric, doubled], [product, doubled]])
def test_training_is_pytorchs(parts):
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    theirs, ours = torch.nn.Linear(3, 3).double(), nn.Linear(3, 3).double()
    ours.load_state_dict({k: v.numpy().copy() for k, v in theirs.state_dict().items()})
    for part in parts:
        torch.nn.utils.parametrize.register_parametrization(theirs, "weight", part(torch.nn.Module))
        parametrize.register_parametrization(ours, "weight", part(nn.Module))
    x = random.standard_normal((5, 3))
    trained(theirs, torch.optim.SGD(theirs.parameters(), lr=0.1), torch.tensor(x))
    trained(ours, optim.SGD(ours.parameters(), lr=0.1), ml.tensor(x))
    state = theirs.state_dict()
    assert sorted(ours.state_dict()) == sorted(state)
    for key, value in ours.state_dict().items():
        np.testing.assert_allclose(value.numpy(), state[key].numpy(), rtol=1e-9, err_msg=key)
    weight = ours.weight.detach().numpy()
    np.testing.assert_allclose(weight, theirs.weight.detach().numpy(), rtol=1e-9)
    fresh = nn.Linear(3, 3).double()
    for part in parts:
        parametrize.register_parametrization(fresh, "weight", part(nn.Module))
    fresh.load_state_dict({k: v.numpy() for k, v in state.items()})
    np.testing.assert_allclose(fresh(ml.tensor(x)).detach().numpy(), theirs(torch.tensor(x)).detach().numpy(), rtol=1e-9)
    parametrize.remove_parametrizations(ours, "weight")
    assert type(ours) is nn.Linear and isinstance(ours.weight, nn.Parameter)
    assert sorted(ours.state_dict()) == ["bias", "weight"]
    np.testing.assert_array_equal(ours.weight.detach().numpy(), weight)


def test_assigning_and_removing():
    layer = parametrize.register_parametrization(nn.Linear(2, 2), "weight", doubled(nn.Module))
    original = layer.parametrizations.weight.original
    layer.weight = ml.full((2, 2), 6.0)
    assert original.tolist() == [[3, 3], [3, 3]] and layer.weight.tolist() == [[6, 6], [6, 6]]
    other = copy.deepcopy(layer)
    parametrize.remove_parametrizations(other, "weight", leave_parametrized=False)
    assert other.weight.tolist() == [[3, 3], [3, 3]] and layer.weight.tolist() == [[6, 6], [6, 6]]
    parametrize.register_parametrization(layer, "bias", doubled(nn.Module))
    assert parametrize.is_parametrized(layer, "bias") and parametrize.type_before_parametrizations(layer) is nn.Linear
    parametrize.remove_parametrizations(layer, "weight")
    assert layer.weight is original and not parametrize.is_parametrized(layer, "weight")
    assert parametrize.is_parametrized(layer) and layer.state_dict().keys() == {"weight", "parametrizations.bias.original"}


def test_buffers_and_shapes_that_change():
    norm = parametrize.register_parametrization(nn.BatchNorm1d(2), "running_mean", doubled(nn.Module))
    assert "parametrizations.running_mean.original" in dict(norm.named_buffers())
    first = type("First", (nn.Module,), {"forward": lambda self, X: X[:1]})
    with pytest.raises(ValueError, match=r"float32\(3, 2\) becomes float32\(1, 2\): the same expected, or unsafe=True"):
        parametrize.register_parametrization(nn.Linear(2, 3), "weight", first())
    layer = parametrize.register_parametrization(nn.Linear(2, 3, bias=False), "weight", first(), unsafe=True)
    assert layer(ml.ones((4, 2))).shape == (4, 1)


def test_cached_computes_once():
    calls = []
    part = type("Counted", (nn.Module,), {"forward": lambda self, X: calls.append(1) or X + 0})()
    layer = parametrize.register_parametrization(nn.Linear(2, 2), "weight", part)
    calls.clear()
    with parametrize.cached():
        assert layer.weight is layer.weight
        with parametrize.cached():
            layer(ml.ones((1, 2))).sum().backward()
    assert len(calls) == 1 and layer.parametrizations.weight.original.grad is not None
    assert layer.weight is not layer.weight


def parametrized(part):
    return parametrize.register_parametrization(nn.Linear(2, 2), "weight", part(nn.Module))


@pytest.mark.parametrize("call, error, message", [
    (lambda: parametrize.register_parametrization(nn.ReLU(), "weight", nn.Identity()), ValueError, "no parameter or buffer"),
    (lambda: parametrize.remove_parametrizations(nn.Linear(2, 2), "weight"), ValueError, "has no parametrized 'weight'"),
    (lambda: setattr(parametrized(symmetric), "weight", ml.eye(2)), RuntimeError, "has no right_inverse"),
    (lambda: parametrize.remove_parametrizations(parametrized(product), "weight", False), ValueError,
     "leave_parametrized=False with several originals")])
def test_errors_say_what_is_wrong(call, error, message):
    with pytest.raises(error, match=message):
        call()


# ---- fused batch norms ----
FUSED = [("Conv1d", (3, 4, 2), "BatchNorm1d", (2, 3, 5)),
         ("Conv2d", (3, 4, 2, 1, 0, 1, 1, False), "BatchNorm2d", (2, 3, 5, 5)),
         ("ConvTranspose2d", (3, 4, 2), "BatchNorm2d", (2, 3, 5, 5)), ("Linear", (3, 4), "BatchNorm1d", (2, 3))]


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("layer, arguments, norm, shape", FUSED)
def test_a_fused_batch_norm_computes_the_same(layer, arguments, norm, shape, affine):
    layer, norm = getattr(nn, layer)(*arguments).double(), getattr(nn, norm)(4, affine=affine).double()
    for tensor in (*norm.parameters(), norm.running_mean, norm.running_var):
        nn.init.uniform_(tensor, 0.5, 1.5)
    x = ml.tensor(random.standard_normal(shape))
    pair = nn.Sequential(layer, norm).eval()
    if isinstance(layer, nn.Linear):
        one = utils.fuse_linear_bn_eval(layer, norm)
    else:
        one = utils.fuse_conv_bn_eval(layer, norm, transpose=isinstance(layer, nn.ConvTranspose2d))
    assert type(one) is type(layer) and one is not layer
    np.testing.assert_allclose(one(x).detach().numpy(), pair(x).detach().numpy(), rtol=1e-10)
    with pytest.raises(ValueError, match="evaluation mode"):
        utils.fuse_conv_bn_eval(layer.train(), norm)


def test_skip_init_draws_nothing():
    ml.manual_seed(0)
    expected = ml.rand(1).item()
    ml.manual_seed(0)
    layer = utils.skip_init(nn.Linear, 3, 4, bias=False)
    assert type(layer) is nn.Linear and layer.weight.shape == (4, 3) and ml.rand(1).item() == expected
    assert nn.Linear(3, 4).weight.detach().numpy().std() > 0.1, "others are drawn again"
