"""L-BFGS against PyTorch's, on functions of two kinds of parameters."""
import numpy as np
import pytest

import minidl as ml
from minidl import nn, optim

torch = pytest.importorskip("torch", reason="PyTorch is the peer that L-BFGS is compared with")


def rosenbrock(x, y):
    return ((1 - x) ** 2).sum() + (100 * (y - x ** 2) ** 2).sum()


def closure(optimizer, x, y, losses):
    def evaluate():
        optimizer.zero_grad()
        loss = rosenbrock(x, y)
        loss.backward()
        losses.append(float(loss.detach()))
        return loss
    return evaluate


@pytest.mark.parametrize("options", [
    {}, {"lr": 0.1, "max_iter": 7}, {"line_search_fn": "strong_wolfe"}, {"line_search_fn": "strong_wolfe", "history_size": 2},
    {"line_search_fn": "strong_wolfe", "max_iter": 8, "max_eval": 5, "lr": 3.0},
    {"line_search_fn": "strong_wolfe", "tolerance_grad": 1e-2}, {"lr": 1e-3, "tolerance_change": 1e-2}])
def test_the_same_evaluations_as_pytorch_and_after_a_restart_too(options):
    random = np.random.default_rng(0)
    values = random.standard_normal((2, 3)), random.standard_normal((2, 3))
    ours, theirs = [nn.Parameter(ml.tensor(v)) for v in values], [torch.nn.Parameter(torch.tensor(v)) for v in values]
    mine, peer = optim.LBFGS(ours, **options), torch.optim.LBFGS(theirs, **options)
    for step in range(4):
        if step == 2:
            fresh = optim.LBFGS(ours)
            fresh.load_state_dict(mine.state_dict())
            mine = fresh
        if step == 3:
            fresh = optim.LBFGS(ours)
            fresh.load_state_dict(peer.state_dict())
            mine = fresh
        found = [], []
        first = mine.step(closure(mine, *ours, found[0])), peer.step(closure(peer, *theirs, found[1]))
        np.testing.assert_allclose(*[float(loss.detach()) for loss in first], rtol=1e-2, atol=1e-12)
        assert len(found[0]) == len(found[1])
        np.testing.assert_allclose(*found, rtol=1e-2, atol=1e-12)  # rounding grows from step to step
        for key in ("func_evals", "n_iter"):
            assert mine.state[ours[0]][key] == peer.state[theirs[0]][key]
    assert set(mine.state[ours[0]]) - {"al"} == set(peer.state[theirs[0]]) - {"al"}


def test_a_parameter_without_gradient_stays():
    x, unused = nn.Parameter(ml.tensor([1.0, -2.0])), nn.Parameter(ml.tensor([3.0]))
    optimizer = optim.LBFGS([x, unused], line_search_fn="strong_wolfe")

    def evaluate():
        optimizer.zero_grad()
        loss = ((x - 5) ** 4).sum()
        loss.backward()
        return loss
    optimizer.step(evaluate)
    np.testing.assert_allclose(x.detach().numpy(), 5, atol=0.05)
    assert unused.item() == 3


def test_refuses_what_makes_no_sense():
    x, y = nn.Parameter(ml.zeros(2)), nn.Parameter(ml.zeros(2))
    with pytest.raises(ValueError, match="line_search_fn='armijo'"):
        optim.LBFGS([x], line_search_fn="armijo")
    with pytest.raises(ValueError, match="one group expected"):
        optim.LBFGS([{"params": [x]}, {"params": [y]}])
