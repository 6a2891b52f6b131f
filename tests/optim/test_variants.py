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
    ("RAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("Rprop", {}), ("Rprop", {"etas": (0.3, 1.5), "step_sizes": (1e-3, 0.02), "maximize": True}),
    ("ASGD", {}), ("ASGD", {"lr": 0.1, "lambd": 0.1, "alpha": 0.5, "t0": 3, "weight_decay": 0.1, "maximize": True}),
    ("Adafactor", {}), ("Adafactor", {"lr": 0.3, "eps": (1e-2, 0.1), "d": 2.0, "weight_decay": 0.1, "maximize": True})])
def test_the_same_steps_as_pytorch_and_after_a_restart_too(name, options):
    random = np.random.default_rng(0)
    values = [random.standard_normal(shape) for shape in [(4, 3), (5,), (), (2, 3, 4)]]
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
            # PyTorch keeps the numbers in a state as float32.
            np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-6, atol=2e-8)


@pytest.mark.parametrize("name, options", [
    ("RMSprop", {"alpha": -1}), ("Adagrad", {"lr_decay": -1}), ("Adadelta", {"rho": 1.5}), ("Adamax", {"betas": (1.0, 0.5)}),
    ("NAdam", {"eps": -1}), ("RAdam", {"lr": -1}), ("Rprop", {"etas": (1.1, 1.2)}), ("ASGD", {"weight_decay": -1}),
    ("Adafactor", {"d": 0.5}), ("Lion", {"betas": (1.0, 0.5)}), ("Muon", {"adjust_lr_fn": "none"}), ("Muon", {})])
def test_options_out_of_range(name, options):
    with pytest.raises(ValueError, match=name):
        getattr(optim, name)([nn.Parameter(ml.zeros(2))], **options)


@pytest.mark.parametrize("options", [{}, {"nesterov": False, "adjust_lr_fn": "match_rms_adamw", "lr": 0.1, "momentum": 0.8}])
def test_muon_is_pytorchs_but_for_bfloat16(options, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)
    random = np.random.default_rng(0)
    values = [random.standard_normal(shape) for shape in [(4, 3), (5, 9)]]
    ours, theirs = [nn.Parameter(ml.tensor(v)) for v in values], [torch.nn.Parameter(torch.tensor(v)) for v in values]
    mine, peer = optim.Muon(ours, **options), torch.optim.Muon(theirs, **options)
    for _ in range(5):
        for p, q in zip(ours, theirs):
            g = random.standard_normal(p.shape)
            p.grad, q.grad = ml.tensor(g), torch.tensor(g)
        mine.step()
        peer.step()
    for p, q in zip(ours, theirs):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-9)
    assert [list(s) for s in mine.state_dict()["state"].values()] == [list(s) for s in peer.state_dict()["state"].values()]


def test_lion_is_the_papers_algorithm_2():
    random = np.random.default_rng(0)
    p = nn.Parameter(ml.tensor(random.standard_normal((3, 4))))
    theta, m = p.detach().numpy().copy(), np.zeros((3, 4))
    optimizer = optim.Lion([p], lr=0.1, betas=(0.8, 0.95), weight_decay=0.2)
    for _ in range(6):
        g = random.standard_normal((3, 4))
        p.grad = ml.tensor(g)
        optimizer.step()
        theta -= 0.1 * (np.sign(0.8 * m + 0.2 * g) + 0.2 * theta)
        m = 0.95 * m + 0.05 * g
        np.testing.assert_allclose(p.detach().numpy(), theta, rtol=1e-12)


def test_sparse_adam_is_pytorchs_where_the_gradient_has_rows():
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    weights, rows = np.random.default_rng(0).standard_normal((6, 3)), ([1, 3], [3, 3, 5], [1], [0, 1, 5])
    ours, theirs = ml.nn.Embedding(6, 3, sparse=True).double(), torch.nn.Embedding(6, 3, sparse=True).double()
    ours.weight.data, theirs.weight.data = ml.tensor(weights), torch.tensor(weights)
    for lib, layer in ((ml, ours), (torch, theirs)):
        optimizer = lib.optim.SparseAdam(layer.parameters(), lr=0.1)
        for step in rows:
            optimizer.zero_grad()
            (layer(lib.tensor(step)) ** 2).sum().backward()
            optimizer.step()
    np.testing.assert_allclose(ours.weight.detach().numpy(), theirs.weight.detach().numpy(), rtol=1e-12)
    assert ours.weight[2].tolist() == weights[2].tolist()


def test_parameters_with_names():
    layer = ml.nn.Linear(2, 2)
    optimizer = ml.optim.SGD(layer.named_parameters(), lr=0.1)
    assert optimizer.param_groups[0]["params"] == [layer.weight, layer.bias]
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == ["weight", "bias"]


def test_an_optimizer_of_ones_own_in_pytorchs_way():
    """Its state appears when it is asked for, and tensors have the methods in which such optimizers are written."""
    torch = pytest.importorskip("torch", reason="compares with PyTorch")

    def run(lib):
        class Own(lib.optim.Optimizer):
            def step(self):
                for group in self.param_groups:
                    for p in group["params"]:
                        state, g = self.state[p], p.grad.data
                        if not state:
                            state["m"], state["v"] = lib.zeros_like(p.data), lib.zeros_like(p.data)
                        state["m"].mul_(0.9).add_(g, alpha=0.1)
                        state["v"].lerp_(g * g, 0.01).addcmul_(g, g, value=0.001)
                        p.data.addcdiv_(state["m"], state["v"].sqrt().add_(1e-8), value=-group["lr"])
                        p.data.sub_(p.data, alpha=0.01)
        x = lib.tensor(np.arange(1.0, 4.0), requires_grad=True)
        optimizer = Own([x], {"lr": 0.1})
        for _ in range(3):
            x.grad = None
            (x ** 3).sum().backward()
            optimizer.step()
        assert x.add(x, alpha=2).tolist() == (3 * x).tolist() and x.sub(x, alpha=1.0).tolist() == [0, 0, 0]
        return x.tolist()
    np.testing.assert_allclose(run(ml), run(torch), rtol=1e-12)
