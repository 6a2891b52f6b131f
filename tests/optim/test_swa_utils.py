"""Averages of weights: their formulas, and PyTorch's."""
import numpy as np
import pytest

import minidl as ml
from minidl import nn, optim
from minidl.optim import swa_utils

random = np.random.default_rng(0)


def network(library):
    return library.Sequential(library.Linear(3, 4), library.BatchNorm1d(4), library.ReLU(), library.Linear(4, 2))


def follow(averaged, model, steps=4):
    """Averages of a model whose state changes at random; the states it had."""
    states = []
    for _ in range(steps):
        states.append({k: np.asarray(random.standard_normal(v.shape) if v.dtype.kind == "f" else random.integers(5, 99))
                       .astype(v.dtype) for k, v in model.state_dict().items()})
        model.load_state_dict(states[-1])
        averaged.update_parameters(model)
    return states


def test_the_mean_of_all_states():
    model = network(nn)
    averaged = swa_utils.AveragedModel(model)
    assert averaged.module is not model and next(iter(averaged.state_dict())) == "n_averaged"
    states = follow(averaged, model)
    assert averaged.n_averaged.item() == 4
    for name, parameter in averaged.module.named_parameters():
        np.testing.assert_allclose(parameter.detach().numpy(), np.mean([s[name] for s in states], 0), rtol=1e-5, atol=1e-6)
    for name, buffer in averaged.module.named_buffers():
        np.testing.assert_array_equal(buffer.numpy(), states[-1][name])
    x = ml.tensor(random.standard_normal((5, 3)).astype("float32"))
    np.testing.assert_array_equal(averaged.eval()(x).detach().numpy(), averaged.module(x).detach().numpy())


OPTIONS = [(None, None), ("avg_fn", "get_swa_avg_fn"), ("avg_fn", "get_ema_avg_fn"), ("multi_avg_fn", "get_swa_multi_avg_fn"),
           ("multi_avg_fn", "get_ema_multi_avg_fn")]


@pytest.mark.parametrize("option, name, use_buffers", [
    (*o, b) for o in OPTIONS for b in (False, True) if o[1] != "get_swa_multi_avg_fn" or not b])  # PyTorch's takes no integers
def test_averages_are_pytorchs(option, name, use_buffers):
    torch = pytest.importorskip("torch", reason="compares with PyTorch, an optional peer")
    arguments = (0.7,) if name and "ema" in name else ()
    made = []
    for library, utils in ((nn, swa_utils), (torch.nn, torch.optim.swa_utils)):
        model = network(library)
        options = {option: getattr(utils, name)(*arguments)} if name else {}
        made.append((utils.AveragedModel(model, use_buffers=use_buffers, **options), model))
    (ours, model), (theirs, other) = made
    for state in follow(ours, model):
        other.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()})
        theirs.update_parameters(other)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for key, value in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[key].numpy(), value.numpy(), rtol=1e-5, atol=1e-6, err_msg=key)


def test_batch_norms_take_the_statistics_of_a_loader():
    torch = pytest.importorskip("torch", reason="compares with PyTorch, an optional peer")
    ours, theirs = network(nn), network(torch.nn)
    theirs.load_state_dict({k: torch.from_numpy(v.numpy().copy()) for k, v in ours.state_dict().items()})
    batches = [random.standard_normal((n, 3)).astype("float32") for n in (8, 4, 6)]
    ours[1].running_mean.fill_(7)
    swa_utils.update_bn([(ml.tensor(b), None) for b in batches], ours.eval())
    torch.optim.swa_utils.update_bn([(torch.tensor(b), None) for b in batches], theirs.eval())
    assert not ours.training and ours[1].momentum == 0.1
    for key, value in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[key].numpy(), value.numpy(), rtol=1e-5, atol=1e-6, err_msg=key)
    swa_utils.update_bn([None], nn.Linear(3, 4))  # nothing to do


@pytest.mark.parametrize("options", [{"anneal_epochs": 5}, {"anneal_epochs": 7, "anneal_strategy": "linear"},
                                     {"anneal_epochs": 0}, {"swa_lr": [0.3, 0.001]}])
@pytest.mark.parametrize("beside", [False, True])
def test_rates_are_pytorchs(options, beside):
    torch = pytest.importorskip("torch", reason="compares with PyTorch, an optional peer")
    options = {"swa_lr": 0.05, **options}
    rates = []
    for library, weight in ((optim, ml.ones), (torch.optim, torch.ones)):
        o = library.SGD([{"params": [weight(1, requires_grad=True)], "lr": lr} for lr in (0.1, 0.02)])
        schedulers = [library.lr_scheduler.ExponentialLR(o, 0.9)] if beside else []
        schedulers.append(library.swa_utils.SWALR(o, **options))
        rates.append([])
        for _ in range(15):
            rates[-1].append([g["lr"] for g in o.param_groups])
            if library is torch.optim:
                o.step()
            for scheduler in schedulers:
                scheduler.step()
    np.testing.assert_allclose(rates[0], rates[1], rtol=1e-9)


def test_what_does_not_fit_is_refused():
    o = optim.SGD([ml.ones(1, requires_grad=True)], lr=0.1)
    for wrong in (lambda: swa_utils.get_ema_avg_fn(1.5), lambda: swa_utils.get_ema_multi_avg_fn(-0.1),
                  lambda: swa_utils.AveragedModel(nn.Identity(), avg_fn=max, multi_avg_fn=max),
                  lambda: swa_utils.SWALR(o, 0.1, anneal_strategy="steps"), lambda: swa_utils.SWALR(o, 0.1, -1),
                  lambda: swa_utils.SWALR(o, [0.1, 0.2])):
        with pytest.raises(ValueError, match="expected"):
            wrong()
