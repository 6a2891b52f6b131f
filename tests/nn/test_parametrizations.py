"""nn.utils.parametrizations against PyTorch's, and by what they promise."""
import copy

import numpy as np
import pytest

import minidl as ml
from minidl import nn
from minidl.nn.utils import parametrizations, parametrize

random = np.random.default_rng(0)
CASES = [("weight_norm", {}), ("weight_norm", {"dim": None}), ("spectral_norm", {}),
         ("spectral_norm", {"n_power_iterations": 3}), ("orthogonal", {}), ("orthogonal", {"orthogonal_map": "cayley"}),
         ("orthogonal", {"orthogonal_map": "householder"}), ("orthogonal", {"orthogonal_map": "matrix_exp"}),
         ("orthogonal", {"orthogonal_map": "householder", "use_trivialization": False})]


@pytest.mark.parametrize("sizes", [(4, 4), (5, 3), (3, 5)])
@pytest.mark.parametrize("name, options", CASES)
def test_training_is_pytorchs(name, options, sizes):
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    theirs = getattr(torch.nn.utils.parametrizations, name)(torch.nn.Linear(*sizes).double(), **options)
    ours = getattr(parametrizations, name)(nn.Linear(*sizes).double(), **options)
    state = theirs.state_dict()
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: tuple(v.shape) for k, v in state.items()}
    ours.load_state_dict({k: v.numpy().copy() for k, v in state.items()})
    ours = copy.deepcopy(ours)
    optimizers = ml.optim.SGD(ours.parameters(), lr=0.1), torch.optim.SGD(theirs.parameters(), lr=0.1)
    for training in (True, True, False):
        x, g = random.standard_normal((6, sizes[0])), random.standard_normal((6, sizes[1]))
        found = []
        for lib, layer, optimizer in zip((ml, torch), (ours, theirs), optimizers):
            layer.train(training)
            y = layer(lib.tensor(x))
            optimizer.zero_grad()
            (y * lib.tensor(g)).sum().backward()
            optimizer.step()
            found.append([y.detach().numpy(), *(p.detach().numpy() for p in layer.parameters())])
        for a, b in zip(*found, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("orthogonal_map", ["matrix_exp", "cayley", "householder"])
@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5), (2, 4, 3)])
def test_orthogonal_weights_stay_so_and_can_be_assigned(orthogonal_map, shape):
    layer = nn.Module()
    layer.weight = nn.Parameter(random.standard_normal(shape))
    parametrizations.orthogonal(layer, orthogonal_map=orthogonal_map)

    def orthogonal(w):
        w = w if w.shape[-2] >= w.shape[-1] else np.swapaxes(w, -1, -2)
        return np.abs(np.swapaxes(w, -1, -2) @ w - np.eye(w.shape[-1])).max() < 1e-12
    with ml.no_grad():
        noise = np.tril(random.standard_normal((*shape[:-2], max(shape[-2:]), min(shape[-2:]))), -1)
        layer.parametrizations.weight.original.add_(ml.tensor(noise if noise.shape == shape else np.swapaxes(noise, -1, -2)))
    given = layer.weight.detach().numpy().copy()
    assert orthogonal(given)
    layer.weight = ml.tensor(given)
    np.testing.assert_allclose(layer.weight.detach().numpy(), given, atol=1e-12)
    parametrize.remove_parametrizations(layer, "weight")
    assert isinstance(layer.weight, nn.Parameter) and orthogonal(layer.weight.detach().numpy())


def test_a_spectral_norm_of_one_and_of_vectors():
    layer = parametrizations.spectral_norm(nn.Conv2d(3, 4, 3), n_power_iterations=50)
    w = layer.weight.detach().numpy().reshape(4, -1)
    np.testing.assert_allclose(np.linalg.norm(w, 2), 1, rtol=1e-4)
    parametrizations.spectral_norm(layer, "bias")
    np.testing.assert_allclose(np.linalg.norm(layer.bias.detach().numpy()), 1, rtol=1e-5)


def test_weight_norm_loads_the_names_of_its_older_form():
    old, new = nn.utils.weight_norm(nn.Linear(3, 2)), parametrizations.weight_norm(nn.Linear(3, 2))
    new.load_state_dict(old.state_dict())
    np.testing.assert_allclose(new.weight.detach().numpy(), old.weight.detach().numpy(), rtol=1e-6)


def test_what_is_refused():
    for call, what in ((lambda: parametrizations.orthogonal(nn.Linear(2, 2), "bias"), "two axes"),
                       (lambda: parametrizations.orthogonal(nn.Linear(2, 2), orthogonal_map="qr"), "orthogonal_map='qr'"),
                       (lambda: parametrizations.orthogonal(nn.ReLU()), "no parameter or buffer 'weight'"),
                       (lambda: parametrizations.spectral_norm(nn.Linear(2, 2), "w"), "no parameter or buffer 'w'"),
                       (lambda: parametrizations.spectral_norm(nn.Linear(2, 2), n_power_iterations=0), "at least 1")):
        with pytest.raises(ValueError, match=what):
            call()
    with pytest.raises(NotImplementedError, match="use_trivialization"):
        parametrizations.orthogonal(nn.Linear(2, 2), use_trivialization=False).weight = ml.eye(2)
