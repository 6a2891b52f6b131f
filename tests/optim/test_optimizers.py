"""Every optimizer against torch.optim, step by step, and what they refuse."""
import numpy as np
import pytest

from minidl import optim
from minidl.autograd import Tensor

SHAPES = [(3, 4), (5,), (), (2, 3, 3, 3)]
VARIANTS = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.5, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "maximize": True}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.1, "maximize": True}),
    ("Adam", {}),
    ("Adam", {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.05, "amsgrad": True, "maximize": True}),
    ("Adam", {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("AdamW", {"lr": 0.05}),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.3, "amsgrad": True}),
]


def parameters(dtype="float64", seed=0):
    draw = np.random.default_rng(seed)
    return [Tensor(np.asarray(draw.standard_normal(s), dtype), requires_grad=True) for s in SHAPES]


def gradients(step, dtype="float64"):
    draw = np.random.default_rng(100 + step)
    return [np.asarray(draw.standard_normal(s), dtype) for s in SHAPES]


def give(params, grads):
    for p, g in zip(params, grads):
        p.grad = None if g is None else Tensor(g.copy())


def torch_pair(name, options, dtype="float64"):
    torch = pytest.importorskip("torch", reason="compares with torch.optim")
    ours = parameters(dtype)
    theirs = [torch.tensor(p.array, requires_grad=True) for p in ours]
    return torch, ours, theirs, getattr(optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)


@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-12), ("float32", 2e-6)])
@pytest.mark.parametrize("name, options", VARIANTS)
def test_steps_equal_torch(name, options, dtype, tolerance):
    torch, ours, theirs, mine, reference = torch_pair(name, options, dtype)
    for step in range(12):
        grads = gradients(step, dtype)
        if step in (0, 4):
            grads[1] = None  # a parameter that was not used: it keeps its value and its own count of steps
        give(ours, grads)
        for p, g in zip(theirs, grads):
            p.grad = None if g is None else torch.tensor(g)
        mine.step()
        reference.step()
        for p, q in zip(ours, theirs):
            np.testing.assert_allclose(p.array, q.detach().numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name, options", VARIANTS[2:3] + VARIANTS[8:9])
def test_goes_on_from_the_state_of_torch(name, options):
    torch, ours, theirs, _, reference = torch_pair(name, options)
    for step in range(3):
        for p, g in zip(theirs, gradients(step)):
            p.grad = torch.tensor(g)
        reference.step()
    for p, q in zip(ours, theirs):
        p.array[...] = q.detach().numpy()
    mine = getattr(optim, name)(ours, lr=7.0)
    mine.load_state_dict(reference.state_dict())
    assert mine.param_groups[0]["lr"] == options["lr"]
    give(ours, gradients(3))
    for p, g in zip(theirs, gradients(3)):
        p.grad = torch.tensor(g)
    mine.step()
    reference.step()
    for p, q in zip(ours, theirs):
        np.testing.assert_allclose(p.array, q.detach().numpy(), rtol=1e-12)


@pytest.mark.parametrize("name, options", VARIANTS)
def test_state_dict_goes_on_bit_for_bit(name, options):
    def run(params, optimizer, steps):
        for step in steps:
            give(params, gradients(step, "float32"))
            optimizer.step()
    a = parameters("float32")
    whole = getattr(optim, name)(a, **options)
    run(a, whole, range(6))
    b = parameters("float32")
    first = getattr(optim, name)(b, **options)
    run(b, first, range(3))
    second = getattr(optim, name)(b, lr=3.0)
    second.load_state_dict(first.state_dict())
    run(b, second, range(3, 6))
    assert [p.array.tobytes() for p in a] == [p.array.tobytes() for p in b]


def test_loaded_state_is_a_copy_in_the_layout_of_the_parameter():
    p = Tensor(np.ones((2, 4, 4, 3), np.float32).transpose(0, 3, 1, 2), requires_grad=True)
    p.grad = Tensor(np.ones(p.shape, np.float32))
    first = optim.Adam([p])
    first.step()
    second = optim.Adam([p])
    second.load_state_dict(first.state_dict())
    mine, theirs = second.state[p]["exp_avg"], first.state[p]["exp_avg"]
    assert mine.array.strides == p.array.strides and not np.shares_memory(mine.array, theirs.array)
    np.testing.assert_array_equal(mine.array, theirs.array)


def test_groups_have_options_of_their_own():
    torch = pytest.importorskip("torch", reason="compares with torch.optim")
    ours = parameters()
    theirs = [torch.tensor(p.array, requires_grad=True) for p in ours]

    def groups(p):
        return [{"params": p[:2], "lr": 0.5}, {"params": p[2], "momentum": 0.5}]
    mine, reference = optim.SGD(groups(ours), lr=0.1), torch.optim.SGD(groups(theirs), lr=0.1)
    mine.add_param_group({"params": iter(ours[3:])})
    reference.add_param_group({"params": theirs[3:]})
    for step in range(3):
        give(ours, gradients(step))
        for p, g in zip(theirs, gradients(step)):
            p.grad = torch.tensor(g)
        mine.step()
        reference.step()
    for p, q in zip(ours, theirs):
        np.testing.assert_allclose(p.array, q.detach().numpy(), rtol=1e-12)
    assert [g["params"] for g in mine.state_dict()["param_groups"]] == [[0, 1], [2], [3]]
    assert "group 1: 1 tensors" in repr(mine) and "momentum=0.5" in repr(mine)


def test_step_with_closure_and_the_version_of_the_parameters():
    p = Tensor(np.array([1.0, 2.0]), requires_grad=True)
    optimizer = optim.SGD([p], lr=0.5)

    def closure():
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss
    assert optimizer.step(closure).item() == 5.0
    np.testing.assert_array_equal(p.array, [0.0, 0.0])
    loss = (p * p).sum()
    p.grad = Tensor(np.ones(2))
    optimizer.step()
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()


def test_zero_grad():
    p, q = Tensor(np.ones(2), requires_grad=True), Tensor(np.ones(2), requires_grad=True)
    optimizer = optim.SGD([p, q])
    p.grad = Tensor(np.ones(2))
    optimizer.zero_grad(set_to_none=False)
    assert p.grad.tolist() == [0, 0] and q.grad is None
    optimizer.zero_grad()
    assert p.grad is None


def test_nothing_to_update():
    p = Tensor(np.ones(2), requires_grad=True)
    optimizer = optim.Adam([p])
    assert optimizer.step() is None and p.tolist() == [1, 1] and optimizer.state_dict()["state"] == {}


ONE = Tensor(np.ones(2), requires_grad=True)
USED = iter([ONE])
next(USED)


@pytest.mark.parametrize("make, error, message", [
    (lambda: optim.SGD([]), ValueError, "SGD: params is empty"),
    (lambda: optim.SGD(USED), ValueError, "generator gives its values only once"),
    (lambda: optim.SGD(ONE), TypeError, "params is a Tensor: an iterable of tensors"),
    (lambda: optim.SGD(3), TypeError, "params is a int"),
    (lambda: optim.SGD([ONE, 3]), TypeError, r"params\[1\] of group 0 is a int: a tensor"),
    (lambda: optim.SGD([("weight", ONE, 1)]), TypeError, r"params\[0\] of group 0 is a tuple"),
    (lambda: optim.SGD([ONE, ONE]), ValueError, r"params\[1\] of group 0, shape \(2,\), occurs twice"),
    (lambda: optim.SGD([{"params": ONE}, {"params": [ONE]}]), ValueError, r"params\[0\] of group 1, .* occurs twice"),
    (lambda: optim.SGD([{"params": []}]), ValueError, "params of group 0 is empty"),
    (lambda: optim.SGD([{"lr": 1.0}]), TypeError, "group 0 is a dict: a dict with the key 'params'"),
    (lambda: optim.SGD([{"params": ONE}, ONE]), TypeError, "group 1 is a Tensor"),
    (lambda: optim.SGD([ONE * 2]), ValueError, "was computed from other tensors"),
    (lambda: optim.SGD([ONE], lr=-1), ValueError, "SGD: lr=-1: at least 0"),
    (lambda: optim.SGD([ONE], lr=float("nan")), ValueError, "SGD: lr=nan: at least 0"),
    (lambda: optim.SGD([{"params": ONE, "lr": -2}]), ValueError, "SGD: lr=-2"),
    (lambda: optim.SGD([ONE], momentum=-0.1), ValueError, "momentum=-0.1"),
    (lambda: optim.SGD([ONE], weight_decay=-0.1), ValueError, "weight_decay=-0.1"),
    (lambda: optim.SGD([ONE], nesterov=True), ValueError, "nesterov=True: momentum above 0 and dampening 0"),
    (lambda: optim.Adam([ONE], lr=-1), ValueError, "Adam: lr=-1"),
    (lambda: optim.AdamW([ONE], betas=(0.9, 1.0)), ValueError, r"AdamW: betas=\(0.9, 1.0\): two numbers in \[0, 1\)"),
    (lambda: optim.Adam([ONE], betas=(0.9,)), ValueError, r"betas=\(0.9,\)"),
    (lambda: optim.Adam([ONE], eps=-1), ValueError, "eps=-1"),
    (lambda: optim.Adam([ONE], weight_decay=-1), ValueError, "weight_decay=-1"),
])
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("change, message", [
    (lambda s: s.pop("state"), "state missing"),
    (lambda s: s["param_groups"].append({"params": []}), r"groups of \[2, 0\] parameters: \[2\] expected"),
    (lambda s: s["param_groups"][0]["params"].pop(), r"groups of \[1\] parameters: \[2\] expected"),
    (lambda s: s["param_groups"][0].update(lr=-1), "lr=-1"),
    (lambda s: s["state"].update({7: {}}), r"state of parameter 7: one of \[0, 1\]"),
    (lambda s: s["state"][1].update(exp_avg=np.ones(3)),
     r"'exp_avg' of parameter 1 has shape \(3,\): the parameter's, \(2,\)"),
])
def test_a_state_that_does_not_fit_changes_nothing(change, message):
    params = [Tensor(np.ones(2), requires_grad=True) for _ in range(2)]
    give(params, [np.ones(2)] * 2)
    optimizer = optim.Adam(params, lr=0.5)
    optimizer.step()
    state = optimizer.state_dict()
    state = {"state": {i: dict(s) for i, s in state["state"].items()}, "param_groups": state["param_groups"]}
    change(state)
    before = optimizer.state
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(state)
    assert optimizer.state is before and optimizer.param_groups[0]["lr"] == 0.5


def test_an_optimizer_of_ones_own():
    class SignSGD(optim.Optimizer):
        def __init__(self, params, lr=0.1):
            super().__init__(params, {"lr": lr})

        def update(self, params, grads, group):
            for p, g in zip(params, grads):
                p -= group["lr"] * np.sign(g.array)
    p = Tensor(np.ones(2), requires_grad=True)
    p.grad = Tensor(np.array([3.0, -4.0]))
    SignSGD([p]).step()
    np.testing.assert_allclose(p.array, [0.9, 1.1])
    with pytest.raises(NotImplementedError, match=r"must define update\(params, grads, group\)"):
        optim.Optimizer([p], {}).step()
