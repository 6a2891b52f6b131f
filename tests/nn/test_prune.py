"""Pruning against PyTorch's where nothing is random, and by what it promises."""
import copy

import numpy as np
import pytest

import minidl as ml
from minidl import nn
from minidl.nn.utils import prune

random = np.random.default_rng(0)


def both(script):
    """The values that a script of a library, its prune and a layer returns: the same in both."""
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    import torch.nn.utils.prune as theirs
    weights, x = random.standard_normal((4, 6)).astype(np.float32), random.standard_normal((2, 6)).astype(np.float32)
    found = []
    for lib, library in ((ml, prune), (torch, theirs)):
        layer = lib.nn.Linear(6, 4)
        layer.weight.data = lib.tensor(weights)
        layer.bias.data = lib.tensor(weights[:, 0])
        script(lib, library, layer)
        assert prune.is_pruned(layer) if lib is ml else True
        y = layer(lib.tensor(x))
        (y * y).sum().backward()
        found.append({name: np.asarray(t.detach()) for name, t in (*layer.named_parameters(), *layer.named_buffers())}
                     | {"y": y.detach().numpy(), "g": layer.weight_orig.grad.numpy()})
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        np.testing.assert_allclose(value, found[1][name], rtol=1e-5, atol=1e-6, err_msg=name)


SCRIPTS = {
    "l1": lambda lib, p, m: p.l1_unstructured(m, "weight", 5),
    "l1 of what is left": lambda lib, p, m: p.l1_unstructured(p.l1_unstructured(m, "weight", 0.3), "weight", 0.5),
    "l1 by scores": lambda lib, p, m: p.l1_unstructured(m, "weight", 7, importance_scores=-m.weight * m.weight),
    "rows": lambda lib, p, m: p.ln_structured(m, "weight", 2, n=2, dim=0),
    "columns, then elements": lambda lib, p, m: p.l1_unstructured(p.ln_structured(m, "weight", 0.5, n=1, dim=1), "weight", 3),
    "elements, then rows": lambda lib, p, m: p.ln_structured(p.l1_unstructured(m, "weight", 9), "weight", 1, float("inf"), 0),
    "a mask": lambda lib, p, m: p.custom_from_mask(m, "weight", lib.tensor(np.tri(4, 6, dtype=np.float32))),
    "nothing": lambda lib, p, m: p.identity(p.identity(m, "weight"), "bias"),
    "all at once": lambda lib, p, m: p.global_unstructured([(m, "weight"), (m, "bias")], p.L1Unstructured, amount=0.4),
    "again": lambda lib, p, m: p.global_unstructured([(p.l1_unstructured(m, "weight", 4), "weight"), (m, "bias")],
                                                     p.L1Unstructured, amount=6),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_pruning_is_pytorchs(name):
    both(SCRIPTS[name])


def test_random_pruning_takes_as_many_as_it_says():
    layer = nn.Linear(10, 8)
    prune.random_unstructured(layer, "weight", 0.25)
    assert (layer.weight_mask == 0).sum().item() == 20
    prune.random_unstructured(layer, "weight", 0.5)
    assert (layer.weight_mask == 0).sum().item() == 50
    prune.random_structured(layer, "weight", 3, dim=0)
    assert (layer.weight_mask == 0).all(axis=1).sum().item() >= 3
    assert len(prune.hook_of(layer, "weight")) == 3


def test_a_model_learns_saves_and_forgets_its_pruning():
    layer = nn.Linear(6, 4)
    parameter = layer.weight
    prune.l1_unstructured(layer, "weight", 12)
    optimizer = ml.optim.SGD(layer.parameters(), lr=0.1)
    layer(ml.ones(2, 6)).sum().backward()
    optimizer.step()
    layer(ml.ones(2, 6))
    assert (layer.weight[layer.weight_mask == 0] == 0).all()
    other = prune.identity(nn.Linear(6, 4), "weight")
    other.load_state_dict(layer.state_dict())
    x = ml.rand(3, 6)
    np.testing.assert_array_equal(other(x).detach().numpy(), layer(x).detach().numpy())
    before = layer(x).detach().numpy()
    prune.remove(layer, "weight")
    assert layer.weight is parameter and list(layer.state_dict()) == ["bias", "weight"] and not prune.is_pruned(layer)
    np.testing.assert_array_equal(copy.deepcopy(layer)(x).detach().numpy(), before)


def test_a_method_of_ones_own():
    class Every(prune.BasePruningMethod):
        PRUNING_TYPE = "unstructured"

        def compute_mask(self, t, default_mask):
            mask = default_mask.clone()
            mask.reshape(-1)[::2] = 0
            return mask
    layer = nn.Linear(4, 2)
    Every.apply(layer, "weight")
    assert layer.weight_mask.tolist() == [[0, 1, 0, 1], [0, 1, 0, 1]]
    Every.apply(layer, "weight")  # of what is left
    assert layer.weight_mask.tolist() == [[0, 0, 0, 1], [0, 0, 0, 1]]
    assert Every().prune(ml.ones(4)).tolist() == [0, 1, 0, 1]


def test_what_is_refused_changes_nothing():
    layer = nn.Linear(4, 2)
    for call, kind, what in ((lambda: prune.l1_unstructured(layer, "weight", "x"), TypeError, "amount='x'"),
                             (lambda: prune.l1_unstructured(layer, "weight", 1.5), ValueError, "amount=1.5"),
                             (lambda: prune.l1_unstructured(layer, "weight", 9), ValueError, "at most 8"),
                             (lambda: prune.ln_structured(layer, "bias", 1, 2, 0), ValueError, "two axes"),
                             (lambda: prune.l1_unstructured(layer, "weight", 1, ml.ones(3)), ValueError, "importance_scores"),
                             (lambda: prune.identity(layer, "w"), ValueError, "no parameter 'w'"),
                             (lambda: prune.remove(layer, "weight"), ValueError, "no 'weight' that is pruned"),
                             (lambda: prune.global_unstructured([(layer, "weight")], prune.LnStructured, amount=1, n=1),
                              TypeError, "unstructured"),
                             (lambda: prune.PruningContainer(3), AttributeError, "int"),
                             (lambda: prune.BasePruningMethod().compute_mask(0, 0), NotImplementedError, "compute_mask")):
        with pytest.raises(kind, match=what):
            call()
    assert list(layer.state_dict()) == ["weight", "bias"] and layer._hooks is None
