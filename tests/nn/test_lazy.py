"""Lazy layers: the same as those that know their size from the start, after the first input or state dict."""
import numpy as np
import pytest

import minidl as ml
from minidl import nn, optim

# (name, options, an input's shape, the same without a batch axis or None)
LAYERS = [("Linear", (4,), (2, 3, 5), (5,)), ("Linear", (4, False), (2, 5), None)]
for n in (1, 2, 3):
    image = 6, *(4,) * n
    LAYERS += [(f"Conv{n}d", (4, 3), (2, *image), image), (f"ConvTranspose{n}d", (4, 3), (2, *image), None),
               (f"BatchNorm{n}d", (), (2, *image), None),
               (f"InstanceNorm{n}d", (1e-4, 0.1, False, False), (2, *image), image),
               (f"InstanceNorm{n}d", (1e-5, 0.2, True, True), (2, *image), None)]


@pytest.mark.parametrize("name, options, shape, single", LAYERS)
def test_it_becomes_the_layer_that_pytorch_makes(name, options, shape, single):
    x = np.random.default_rng(0).standard_normal(shape).astype("f")
    layer = getattr(nn, f"Lazy{name}")(*options)
    parameters = list(layer.parameters())
    made = getattr(nn, name)(shape[-1] if name == "Linear" else shape[1], *options)
    layer(ml.tensor(x))
    assert type(layer) is type(made) and repr(layer) == repr(made)
    assert {name for name, value in vars(layer).items() if value is not None} == {
        name for name, value in vars(made).items() if value is not None}
    assert all(a is b for a, b in zip(parameters, layer.parameters(), strict=True)), "an optimizer may hold them"
    assert [type(p) for p in layer.parameters()] == [nn.Parameter] * len(parameters)
    loaded = getattr(nn, f"Lazy{name}")(*options)
    state = {key: np.random.default_rng(1).uniform(0.5, 1, value.shape).astype(value.dtype)
             for key, value in made.state_dict().items()}
    if state:
        loaded.load_state_dict(state)
        made.load_state_dict(state)
        assert type(loaded) is type(made) and repr(loaded) == repr(made)
        np.testing.assert_array_equal(loaded(ml.tensor(x)).detach().numpy(), made(ml.tensor(x)).detach().numpy())
    if single:
        alone = getattr(nn, f"Lazy{name}")(*options)
        alone(ml.zeros(single))
        assert repr(alone) == repr(made)


@pytest.mark.filterwarnings("ignore:input's size:UserWarning")
@pytest.mark.parametrize("name, options, shape, single", LAYERS)
def test_state_dicts_have_pytorchs_names_and_shapes(name, options, shape, single):
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    required = {"Linear": 1, "Conv": 2}.get(name.partition("Transpose")[0].rstrip("123d"), 0)
    for given in (options, options[:required]):  # the defaults too
        ours, theirs = getattr(nn, f"Lazy{name}")(*given), getattr(torch.nn, f"Lazy{name}")(*given)
        ours(ml.zeros(shape))
        theirs(torch.zeros(shape))
        assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}


def test_a_network_trains_from_its_first_batch_on():
    ml.manual_seed(0)
    net = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2)).double()
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    x = ml.randn(8, 3, 5, 5, dtype="float64")
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), ml.arange(8) % 2)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True) and {p.dtype for p in net.parameters()} == {ml.float64}


def test_a_shape_that_is_not_known_yet_is_an_error():
    layer = nn.LazyLinear(3)
    assert layer.has_uninitialized_params()
    with pytest.raises(RuntimeError, match="before the module has seen an input"):
        _ = layer.weight.shape
