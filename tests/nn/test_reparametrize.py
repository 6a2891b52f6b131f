"""Weight and spectral normalisation against PyTorch's, over steps of training."""
import copy

import numpy as np
import pytest

import minidl as ml
from minidl import nn, optim
from minidl.nn import utils

random = np.random.default_rng(0)
LAYERS = [("Linear", (5, 4), (3, 5)), ("Conv2d", (3, 4, 3), (2, 3, 6, 6)), ("ConvTranspose1d", (3, 4, 3), (2, 3, 6))]


@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")
@pytest.mark.parametrize("layer, arguments, shape", LAYERS)
@pytest.mark.parametrize("name, options", [("weight_norm", {}), ("weight_norm", {"dim": 1}), ("weight_norm", {"dim": None}),
                                           ("spectral_norm", {}), ("spectral_norm", {"n_power_iterations": 3})])
def test_training_is_pytorchs(name, options, layer, arguments, shape):
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    theirs = getattr(torch.nn.utils, name)(getattr(torch.nn, layer)(*arguments), **options)
    ours = getattr(utils, name)(getattr(nn, layer)(*arguments), **options)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    ours = copy.deepcopy(ours)
    a, b = optim.SGD(ours.parameters(), lr=0.1), torch.optim.SGD(theirs.parameters(), lr=0.1)
    for training in (True, True, False):
        x = random.standard_normal(shape).astype("f")
        y, expected = ours.train(training)(ml.tensor(x)), theirs.train(training)(torch.tensor(x))
        np.testing.assert_allclose(y.detach().numpy(), expected.detach().numpy(), rtol=1e-4, atol=1e-5)
        for optimizer, result in ((a, y), (b, expected)):
            optimizer.zero_grad()
            (result * result).mean().backward()
            optimizer.step()
    for key, value in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[key].numpy(), value.numpy(), rtol=1e-4, atol=1e-5, err_msg=key)
    removed = getattr(utils, f"remove_{name}")(ours)
    assert sorted(removed.state_dict()) == ["bias", "weight"] and removed._hooks is None


def test_the_largest_singular_value_becomes_1():
    layer = utils.spectral_norm(nn.Linear(20, 10), n_power_iterations=200)
    layer(ml.zeros(1, 20))
    assert np.linalg.norm(layer.weight.detach().numpy(), 2) == pytest.approx(1, rel=1e-4)


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match="Linear has no parameter 'w': it has weight, bias"):
        utils.weight_norm(nn.Linear(2, 3), "w")
    with pytest.raises(ValueError, match="Linear has no 'weight' that is normalised so"):
        utils.remove_weight_norm(utils.spectral_norm(nn.Linear(2, 3)))
    with pytest.raises(ValueError, match="n_power_iterations=0"):
        utils.spectral_norm(nn.Linear(2, 3), n_power_iterations=0)
