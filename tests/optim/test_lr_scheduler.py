"""Every scheduler against torch's over 50 steps, alone and combined."""
import numpy as np
import pytest

from minidl import optim
from minidl.autograd import Tensor
from minidl.optim import lr_scheduler as ours

PLANS = [
    ("StepLR", {"step_size": 7, "gamma": 0.5}),
    ("MultiStepLR", {"milestones": [30, 3, 9, 9], "gamma": 0.3}),
    ("ExponentialLR", {"gamma": 0.93}),
    ("CosineAnnealingLR", {"T_max": 20, "eta_min": 0.001}),
    ("CosineAnnealingLR", {"T_max": 60}),
    ("LinearLR", {"start_factor": 0.1, "total_iters": 11}),
    ("LambdaLR", {"lr_lambda": lambda t: 1 / (1 + t)}),
    ("LambdaLR", {"lr_lambda": [lambda t: 0.9 ** t, lambda t: 1 + t]}),
    ("MultiplicativeLR", {"lr_lambda": lambda t: 0.95 if t % 3 else 1.01}),
    ("ConstantLR", {"factor": 0.2, "total_iters": 7}),
    ("PolynomialLR", {"total_iters": 20, "power": 1.5}),
    ("CosineAnnealingWarmRestarts", {"T_0": 7, "eta_min": 0.001}),
    ("CosineAnnealingWarmRestarts", {"T_0": 3, "T_mult": 2}),
    ("CyclicLR", {"base_lr": [0.01, 0.02], "max_lr": 0.3, "step_size_up": 5, "step_size_down": 8}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.3, "step_size_up": 6, "mode": "triangular2"}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.3, "step_size_up": 6, "mode": "exp_range", "gamma": 0.97}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.3, "step_size_up": 6, "scale_fn": lambda n: 1 / n, "cycle_momentum": False}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 51}),
    ("OneCycleLR", {"max_lr": [0.5, 0.2], "epochs": 5, "steps_per_epoch": 12, "three_phase": True,
                    "anneal_strategy": "linear", "pct_start": 0.4}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 60, "cycle_momentum": False, "pct_start": 0.1}),
]


def optimizer(name="SGD", **options):
    groups = [{"params": [Tensor(np.ones(1), requires_grad=True)], "lr": lr} for lr in (0.1, 0.02)]
    return getattr(optim, name)(groups, **options)


def torch_pair(name="SGD", **options):
    torch = pytest.importorskip("torch", reason="compares with torch.optim.lr_scheduler")
    theirs = getattr(torch.optim, name)([{"params": [torch.ones(1, requires_grad=True)], "lr": lr} for lr in (0.1, 0.02)],
                                        **options)
    return optimizer(name, **options), theirs, torch.optim.lr_scheduler


def rates(o):
    return [g["lr"] for g in o.param_groups]


def close(a, b):
    np.testing.assert_allclose(rates(a), rates(b), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("name, options", PLANS)
@pytest.mark.parametrize("kind, more", [("SGD", {"momentum": 0.5}), ("Adam", {})])
def test_fifty_steps_equal_torch(name, options, kind, more):
    mine, reference, theirs = torch_pair(kind, **more)
    a, b = getattr(ours, name)(mine, **options), getattr(theirs, name)(reference, **options)
    close(mine, reference)
    for _ in range(50):
        reference.step()
        a.step()
        b.step()
        close(mine, reference)
        np.testing.assert_allclose(a.get_last_lr(), b.get_last_lr(), rtol=1e-9, atol=1e-15)
        for g, h in zip(mine.param_groups, reference.param_groups):
            np.testing.assert_allclose(g.get("momentum", 0) or g["betas"], h.get("momentum", 0) or h["betas"], rtol=1e-12)
    assert a.last_epoch == 50


@pytest.mark.parametrize("options", [
    {"patience": 3}, {"patience": 1, "factor": 0.5, "cooldown": 2, "min_lr": [0.01, 0.001]},
    {"mode": "max", "patience": 2, "threshold": 0.05}, {"threshold_mode": "abs", "threshold": 0.1, "patience": 2},
    {"mode": "max", "threshold_mode": "abs", "threshold": 0.1, "patience": 0, "eps": 1e-3},
])
def test_plateau_equals_torch(options):
    mine, reference, theirs = torch_pair()
    a, b = ours.ReduceLROnPlateau(mine, **options), theirs.ReduceLROnPlateau(reference, **options)
    for value in np.random.default_rng(1).standard_normal(50) + np.linspace(2, 0, 50):
        a.step(value)
        b.step(value)
        close(mine, reference)
        assert (a.best, a.num_bad_epochs, a.cooldown_counter) == (b.best, b.num_bad_epochs, b.cooldown_counter)
    assert rates(mine)[0] < 0.1 and a.get_last_lr() == rates(mine)


def test_combined_schedulers_equal_torch():
    mine, reference, theirs = torch_pair()
    a = [ours.LinearLR(mine, total_iters=4), ours.ExponentialLR(mine, 0.9), ours.StepLR(mine, 6)]
    b = [theirs.LinearLR(reference, total_iters=4), theirs.ExponentialLR(reference, 0.9), theirs.StepLR(reference, 6)]
    for _ in range(20):
        reference.step()
        for one, other in zip(a, b):
            one.step()
            other.step()
        close(mine, reference)


def test_a_rate_set_by_hand_is_kept():
    mine, reference, theirs = torch_pair()
    a, b = ours.StepLR(mine, 4, 0.5), theirs.StepLR(reference, 4, 0.5)
    for step in range(12):
        if step == 5:
            mine.param_groups[0]["lr"] = reference.param_groups[0]["lr"] = 3.0
        reference.step()
        a.step()
        b.step()
        close(mine, reference)
    assert rates(mine)[0] == 3.0 / 4


def test_alone_a_scheduler_is_exact():
    o = optimizer()
    scheduler = ours.CosineAnnealingLR(o, 10)
    for _ in range(20):
        scheduler.step()
    assert rates(o) == [0.1, 0.02]


@pytest.mark.parametrize("name, options", [*PLANS, ("ReduceLROnPlateau", {"patience": 1})])
def test_state_dict_goes_on(name, options):
    def step(scheduler, t):
        scheduler.step(*([1.0 + t % 3] if name == "ReduceLROnPlateau" else []))
    whole, first, second = (optimizer(momentum=0.5) for _ in range(3))
    a, b = getattr(ours, name)(whole, **options), getattr(ours, name)(first, **options)
    for t in range(20):
        step(a, t)
    for t in range(9):
        step(b, t)
    c = getattr(ours, name)(second, **options)
    second.load_state_dict(first.state_dict())
    c.load_state_dict(b.state_dict())
    for t in range(9, 20):
        step(c, t)
    assert rates(second) == rates(whole) and second.param_groups[0]["momentum"] == whole.param_groups[0]["momentum"]
    with pytest.raises(ValueError, match=r"load_state_dict: .*last_epoch.* missing"):
        c.load_state_dict({})


def test_last_epoch_goes_on():
    o, p = optimizer(), optimizer()
    a = ours.StepLR(o, 3)
    for _ in range(5):
        a.step()
    p.load_state_dict(o.state_dict())
    assert ours.StepLR(p, 3, last_epoch=4).last_epoch == 5 and rates(p) == rates(o)
    with pytest.raises(ValueError, match="group 0 has no 'initial_lr'"):
        ours.StepLR(optimizer(), 3, last_epoch=4)


def test_a_scheduler_of_ones_own():
    class Half(ours.LRScheduler):
        def get_lr(self):
            return [lr / (1 + self.last_epoch) for lr in self.base_lrs]
    o = optimizer()
    Half(o).step()
    assert rates(o) == [0.05, 0.01]
    with pytest.raises(NotImplementedError, match="must define formula"):
        ours.LRScheduler(o)


@pytest.mark.parametrize("make, error, message", [
    (lambda o: ours.StepLR(3, 1), TypeError, "StepLR: optimizer is a int"),
    (lambda o: ours.StepLR(o, 0), ValueError, "StepLR: step_size=0"),
    (lambda o: ours.LinearLR(o, start_factor=0), ValueError, "start_factor=0"),
    (lambda o: ours.CosineAnnealingLR(o, 1.5), ValueError, "T_max=1.5"),
    (lambda o: ours.LambdaLR(o, [abs]), ValueError, "1 lr_lambda for 2 parameter groups"),
    (lambda o: ours.OneCycleLR(o, 1.0), ValueError, "total_steps, or epochs and steps_per_epoch"),
    (lambda o: ours.OneCycleLR(o, 1.0, -3), ValueError, "total_steps=-3"),
    (lambda o: ours.OneCycleLR(o, 1.0, 10, pct_start=2), ValueError, "pct_start=2"),
    (lambda o: ours.OneCycleLR(o, 1.0, 10, anneal_strategy="up"), ValueError, "anneal_strategy='up'"),
    (lambda o: ours.OneCycleLR(o, [1.0], 10), ValueError, "1 max_lr for 2"),
    (lambda o: ours.ReduceLROnPlateau(o, factor=1.0), ValueError, "factor=1.0"),
    (lambda o: ours.ReduceLROnPlateau(o, mode="up"), ValueError, "mode='up'"),
    (lambda o: ours.ReduceLROnPlateau(o, threshold_mode="x"), ValueError, "threshold_mode='x'"),
    (lambda o: ours.ReduceLROnPlateau(o, min_lr=[1.0]), ValueError, "1 min_lr for 2"),
])
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make(optimizer())


def test_one_cycle_beyond_its_end_and_without_momentum():
    scheduler = ours.OneCycleLR(optimizer(), 1.0, total_steps=3, cycle_momentum=False)
    for _ in range(3):
        scheduler.step()
    with pytest.raises(ValueError, match="step 4: at most total_steps=3"):
        scheduler.step()
    plain = optim.Optimizer([Tensor(np.ones(1))], {"lr": 0.1})
    with pytest.raises(ValueError, match="neither momentum nor betas"):
        ours.OneCycleLR(plain, 1.0, total_steps=3)


def parts(kind, optimizer):
    return [kind.ConstantLR(optimizer, 0.1, 3), kind.ExponentialLR(optimizer, 0.9),
            kind.LinearLR(optimizer, 0.5, total_iters=4), kind.CosineAnnealingLR(optimizer, 6, 0.001)]


def test_chains_and_sequences_equal_torch():
    for make in (lambda kind, o: kind.ChainedScheduler(parts(kind, o)),
                 lambda kind, o: kind.SequentialLR(o, parts(kind, o), [5, 11, 20])):
        mine, reference, theirs = torch_pair()
        a, b = make(ours, mine), make(theirs, reference)
        for step in range(40):
            close(mine, reference)
            np.testing.assert_allclose(a.get_last_lr(), b.get_last_lr(), rtol=1e-9)
            reference.step()
            a.step()
            b.step()
            if step == 13:  # go on from a state
                kept, state, now = mine.state_dict(), a.state_dict(), optimizer()
                a, mine = make(ours, now), now
                mine.load_state_dict(kept)
                a.load_state_dict(state)


def test_sequences_say_what_does_not_fit():
    o = optimizer()
    with pytest.raises(ValueError, match="2 milestones for 4 schedulers"):
        ours.SequentialLR(o, parts(ours, o), [1, 2])
    with pytest.raises(ValueError, match="different optimizers"):
        ours.ChainedScheduler([ours.ConstantLR(o), ours.ConstantLR(optimizer())])
    with pytest.raises(ValueError, match="mode='square'"):
        ours.CyclicLR(o, 0.1, 0.2, mode="square")
