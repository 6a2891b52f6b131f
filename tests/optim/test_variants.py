"""The optimizers that are written in array operations, against PyTorch."""
import numpy as np
import pytest

import minidl as ml
from minidl import nn, optim

torch = pytest.importorskip("torch", reason="PyTorch is the peer these optimizers are compared with")


@pytest.mark.parametrize("name, options", [
    ("RMSprop", {}), ("RMSprop", {"momentum": 0.9, "centered": True, "weight_decay": 0.1, "maximize": True}),
    ("Adagrad", {}), ("Adagrad", {"lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.5}),
    ("Adadelta", {}), ("Adadelta", {"weight_decay": 0.1, "rho": 0.8, "maximize": True}),
    ("Adamax", {}), ("Adamax", {"weight_decay": 0.1, "betas": (0.8, 0.9)}),
    ("NAdam", {}), ("NAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True, "momentum_decay": 0.1}),
    ("RAdam", {}), ("RAdam", {"weight_decay": 0.1, "betas": (0.8, 0.9)}),
    ("RAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True})])
def test_the_same_steps_as_pytorch_and_after_a_restart_too(name, options):
    random = np.random.default_rng(0)
    values = [random.standard_normal(shape) for shape in [(4, 3), (5,), ()]]
    ours, theirs = [nn.Parameter(ml.tensor(v)) for v in values], [torch.nn.Parameter(torch.tensor(v)) for v in values]
    mine, peer = getattr(optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
    for step in range(12):
        for p, q in zip(ours, theirs):
            g = random.standard_normal(p.shape)
            p.grad, q.grad = ml.tensor(g), torch.tensor(g)
        if step == 7:
            fresh = getattr(optim, name)(ours, **options)
            fresh.load_state_dict(mine.state_dict())
            mine = fresh
        mine.step()
        peer.step()
        for p, q in zip(ours, theirs):
            np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name, options", [
    ("RMSprop", {"alpha": -1}), ("Adagrad", {"lr_decay": -1}), ("Adadelta", {"rho": 1.5}), ("Adamax", {"betas": (1.0, 0.5)}),
    ("NAdam", {"eps": -1}), ("RAdam", {"lr": -1})])
def test_options_out_of_range(name, options):
    with pytest.raises(ValueError, match=name):
        getattr(optim, name)([nn.Parameter(ml.zeros(2))], **options)
