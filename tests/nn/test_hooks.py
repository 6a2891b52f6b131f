"""Hooks that PyTorch has: with keyword arguments, before backward, around state dicts, around an optimizer's step."""
import numpy as np
import pytest

import minidl as ml
from minidl import nn, optim


class Scaled(nn.Module):
    def forward(self, x, *, by=1):
        if by is None:
            raise RuntimeError("by what?")
        return x * by


def both():
    """(array to tensor, nn, optim) of minidl, and of PyTorch where it is installed."""
    yield ml.tensor, nn, optim
    try:
        import torch
    except ImportError:
        return
    yield torch.tensor, torch.nn, torch.optim


def test_forward_hooks_with_keyword_arguments():
    layer, seen = Scaled(), []
    layer.register_forward_pre_hook(lambda m, args, kwargs: (args, {"by": kwargs["by"] + 1}), with_kwargs=True)
    layer.register_forward_hook(lambda m, args, kwargs, y: seen.append(kwargs["by"]), with_kwargs=True)
    assert layer(ml.ones(2), by=3).tolist() == [4, 4] and seen == [4]
    layer.register_forward_pre_hook(lambda m, args, kwargs: kwargs, with_kwargs=True)
    with pytest.raises(TypeError, match=r"a dict returned: None or \(args, kwargs\) expected"):
        layer(ml.ones(2), by=3)


def test_a_hook_that_is_always_called_sees_errors():
    layer, seen = Scaled(), []
    layer.register_forward_hook(lambda m, args, y: seen.append("usual"))
    layer.register_forward_hook(lambda m, args, y: seen.append(y), always_call=True)
    with pytest.raises(RuntimeError, match="by what"):
        layer(ml.ones(1), by=None)
    assert seen == [None]
    layer(ml.ones(1), by=2)
    assert seen[1] == "usual" and seen[2].tolist() == [2]


def test_hooks_before_backward_are_pytorchs():
    results = []
    for tensor, modules, _ in both():
        layer, seen = modules.Linear(2, 2), []
        layer.weight.data, layer.bias.data = tensor([[1.0, 2], [3, 4]]), tensor([0.0, 0])
        layer.register_full_backward_hook(lambda m, gi, go, seen=seen: seen.append((gi[0].tolist(), go[0].tolist())))
        handle = layer.register_full_backward_pre_hook(lambda m, go: (go[0] * 10,))
        layer.register_full_backward_pre_hook(lambda m, go, seen=seen: seen.append(go[0].tolist()), prepend=True)
        x = tensor([[1.0, 1.0]], requires_grad=True)
        layer(x).sum().backward()
        handle.remove()
        layer(x).sum().backward()
        results.append((seen, x.grad.tolist(), layer.weight.grad.tolist()))
    assert results[0][0][0] == [[1, 1]] and results[0][0][1] == ([[40, 60]], [[10, 10]])
    assert results[0][1] == [[44, 66]] and all(result == results[0] for result in results)


def test_a_hook_before_backward_gives_as_many_gradients():
    layer = nn.Linear(2, 2)
    layer.register_full_backward_pre_hook(lambda m, go: go + go)
    with pytest.raises(ValueError, match="2 gradients returned for 1 outputs"):
        layer(ml.ones((1, 2))).sum().backward()


def test_hooks_around_state_dicts_are_pytorchs():
    results = []
    for _, modules, _ in both():
        net, seen = modules.Sequential(modules.Linear(2, 1), modules.BatchNorm1d(1)), []
        for name, module in (("net", net), ("layer", net[0])):
            module.register_state_dict_pre_hook(lambda m, prefix, keep, n=name, seen=seen: seen.append((n, prefix, keep)))
            module.register_state_dict_post_hook(lambda m, state, prefix, _, n=name, seen=seen: seen.append((
                n, prefix, sorted(k for k in state if k.startswith(prefix)))) or state.update({prefix + n: 1}))
        state = net.state_dict(prefix="a.")
        results.append((seen, list(state)))
    assert [entry[:2] for entry in results[0][0]] == [("net", "a."), ("layer", "a.0."), ("layer", "a.0."), ("net", "a.")]
    assert results[0][1][-2:] == ["a.0.layer", "a.net"]
    for seen, names in results[1:]:
        assert seen == results[0][0] and sorted(names) == sorted(results[0][1])


def test_hooks_around_loading_rename_and_forgive():
    results = []
    for tensor, modules, _ in both():
        net, seen = modules.Sequential(modules.Linear(1, 1)), []

        def rename(module, state, prefix, _, strict, missing, unexpected, errors):
            state[prefix + "weight"] = state.pop(prefix + "w")
        net[0].register_load_state_dict_pre_hook(rename)
        net.register_load_state_dict_post_hook(
            lambda module, keys, seen=seen: seen.append(list(keys.missing_keys)) or keys.missing_keys.clear())
        given = {"0.w": tensor([[7.0]])}
        net.load_state_dict(given)
        assert list(given) == ["0.w"], "the dict that was given stays"
        results.append((net[0].weight.item(), seen))
    assert results[0] == (7.0, [["0.bias"]]) and all(result == results[0] for result in results)


def test_loading_is_strict_behind_the_hooks_and_takes_their_errors():
    layer = nn.Linear(1, 1)
    seen = []
    handle = layer.register_load_state_dict_post_hook(lambda module, keys: seen.append(keys))
    with pytest.raises(RuntimeError, match="missing: bias"):
        layer.load_state_dict({"weight": np.full((1, 1), 5.0)})
    assert seen[0].missing_keys == ["bias"]
    handle.remove()
    layer.register_load_state_dict_pre_hook(lambda *arguments: arguments[-1].append("no!"))
    before = layer.weight.item()
    with pytest.raises(RuntimeError, match="nothing was loaded into Linear:\n  no!"):
        layer.load_state_dict({"weight": np.full((1, 1), 9.0), "bias": np.zeros(1)})
    assert layer.weight.item() == before


def test_hooks_around_an_optimizers_step_are_pytorchs():
    results = []
    for tensor, _, optimizers in both():
        x, seen = tensor([1.0], requires_grad=True), []
        optimizer = optimizers.SGD([x], lr=0.5)
        before = optimizer.register_step_pre_hook(lambda o, args, kwargs, x=x, seen=seen: seen.append((x.item(), len(args))))
        optimizer.register_step_post_hook(lambda o, args, kwargs, x=x, seen=seen: seen.append(x.item()))
        x.grad = tensor([1.0])
        optimizer.step()
        before.remove()
        optimizer.step()
        results.append(seen)
    assert results[0] == [(1.0, results[0][0][1]), 0.5, 0.0] and [r[1:] for r in results] == [results[0][1:]] * len(results)


def test_a_step_hook_may_replace_the_closure():
    x = ml.tensor([1.0], requires_grad=True)
    optimizer = optim.LBFGS([x], lr=0.1, max_iter=1)

    def closure():
        optimizer.zero_grad()
        loss = (x * x).sum()
        loss.backward()
        return loss
    optimizer.register_step_pre_hook(lambda o, args, kwargs: ((closure,), {}))
    assert optimizer.step(lambda: 1 / 0).item() == 1 and x.item() < 1
    optimizer.register_step_pre_hook(lambda o, args, kwargs: closure)
    with pytest.raises(TypeError, match="a function returned"):
        optimizer.step(closure)
    with pytest.raises(TypeError, match="step without a closure"):
        optim.LBFGS([ml.tensor([1.0], requires_grad=True)]).step()


def test_hooks_around_an_optimizers_state_are_pytorchs():
    results = []
    for tensor, _, optimizers in both():
        optimizer, seen = optimizers.SGD([tensor([1.0], requires_grad=True)], lr=0.5), []
        optimizer.register_state_dict_pre_hook(lambda o, seen=seen: seen.append("saving"))
        optimizer.register_state_dict_post_hook(lambda o, state: {**state, "more": 1})
        optimizer.register_load_state_dict_pre_hook(
            lambda o, state: {**state, "param_groups": [{**state["param_groups"][0], "lr": 2}]})
        optimizer.register_load_state_dict_post_hook(lambda o, seen=seen: seen.append(o.param_groups[0]["lr"]))
        state = optimizer.state_dict()
        optimizer.load_state_dict(state)
        results.append((seen, state["more"], state["param_groups"][0]["lr"]))
    assert results[0] == (["saving", 2], 1, 0.5) and all(result == results[0] for result in results)


def test_hooks_that_are_always_called_leave_the_first_error():
    class Fails(nn.Module):
        def forward(self, x):
            raise ZeroDivisionError("the module's")
    module, seen = Fails(), []

    def throw(*args):
        raise KeyError("a hook's")
    module.register_forward_hook(throw, always_call=True)
    module.register_forward_hook(lambda *args: seen.append(args[-1]), always_call=True)
    with pytest.warns(UserWarning, match="a hook's"), pytest.raises(ZeroDivisionError, match="the module's"):
        module(1)
    assert seen == [None]
