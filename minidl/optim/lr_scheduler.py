"""Learning rates that follow a plan, with PyTorch's names: a scheduler is the formula of its rate at step t.

    scheduler = CosineAnnealingLR(optimizer, T_max=10)
    for epoch in range(10):
        train()
        scheduler.step()

A scheduler that is alone sets its formula's exact value. Where something else changed the rate since its last step (another
scheduler, a callback, the user), it multiplies that rate by its own change, so schedulers can be combined. Those with
`relative = False` set their value in any case, as PyTorch's.
"""
import math
from bisect import bisect_right

from .optimizer import Optimizer


class LRScheduler:
    """The base of all schedulers. A subclass writes `formula(base_lr, t)`, the rate at step t, or `get_lr()`, the list of
    the groups' rates at `self.last_epoch`.

    last_epoch: the step to go on after; -1 begins. Raises TypeError for what is no optimizer.
    """

    relative = True  # a rate that something else changed is multiplied
    eta_min = 0.0  # the rate that only what lies above is multiplied of

    def __init__(self, optimizer, last_epoch=-1):
        check_optimizer(self, optimizer)
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise ValueError(f"{type(self).__name__}: last_epoch={last_epoch} and group {i} has no 'initial_lr': "
                                 "load the optimizer's state first, or last_epoch=-1 expected")
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._formula_lrs = list(self.base_lrs)  # what the formula gave last
        if last_epoch >= 0:
            self._formula_lrs = self.formulas(last_epoch)
        self.step()

    def formula(self, base_lr, t):
        """The rate of a group at step t. To be written by the subclass."""
        raise NotImplementedError(f"{type(self).__name__}: a scheduler must define formula(base_lr, t) or get_lr()")

    def formulas(self, t):
        """The rates of all groups at step t."""
        return [self.formula(base_lr, t) for base_lr in self.base_lrs]

    def get_lr(self):
        """The groups' rates at `self.last_epoch`."""
        before, now = self._formula_lrs, self.formulas(self.last_epoch)
        self._formula_lrs = now
        if not self.relative:
            return now
        rates, low = [group["lr"] for group in self.optimizer.param_groups], self.eta_min
        return [n if rate == b else rate + (n - b) if b == low else low + (rate - low) * ((n - low) / (b - low))
                for rate, b, n in zip(rates, before, now)]

    def get_last_lr(self):
        """The groups' rates as the last step set them."""
        return self._last_lr

    def step(self, epoch=None):
        """Goes on by one step (an epoch, or a batch: as often as it is called), or to another one, and sets the rates."""
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        if epoch is not None and (type(self).formula, type(self).formulas) != (LRScheduler.formula, LRScheduler.formulas):
            rates = self._formula_lrs = self.formulas(epoch)
        else:
            rates = self.get_lr()
        for group, lr in zip(self.optimizer.param_groups, rates):
            group["lr"] = lr
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self):
        """Everything but the optimizer and functions."""
        return {key: value for key, value in self.__dict__.items() if key != "optimizer" and not callable(value)}

    def load_state_dict(self, state_dict):
        """Goes on from `state_dict()`. The rates themselves are in the optimizer's state."""
        if missing := set(self.state_dict()) - set(state_dict):
            raise ValueError(f"{type(self).__name__}.load_state_dict: {', '.join(sorted(missing))} missing")
        self.__dict__.update(state_dict)


_LRScheduler = LRScheduler  # its name of earlier days, from which scripts derive


class LambdaLR(LRScheduler):
    """The initial rate times lr_lambda(t); one function, or a list with one for each group. Functions are not in the state."""

    relative = False

    def __init__(self, optimizer, lr_lambda, last_epoch=-1):
        self.lr_lambdas = for_groups(self, optimizer, "lr_lambda", lr_lambda)
        super().__init__(optimizer, last_epoch)

    def formulas(self, t):
        return [base_lr * f(t) for base_lr, f in zip(self.base_lrs, self.lr_lambdas)]

    def state_dict(self):
        return {key: value for key, value in super().state_dict().items() if key != "lr_lambdas"}


class MultiplicativeLR(LambdaLR):
    """The rate times lr_lambda(t) at every step t; one function, or a list with one for each group."""

    def get_lr(self):
        rates = [group["lr"] for group in self.optimizer.param_groups]
        return [lr * f(self.last_epoch) for lr, f in zip(rates, self.lr_lambdas)] if self.last_epoch > 0 else rates

    def formulas(self, t):
        return list(self.base_lrs)


class StepLR(LRScheduler):
    """The rate times gamma every step_size steps."""

    def __init__(self, optimizer, step_size, gamma=0.1, last_epoch=-1):
        positive("StepLR", step_size=step_size)
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def formula(self, base_lr, t):
        return base_lr * self.gamma ** (t // self.step_size)


class MultiStepLR(LRScheduler):
    """The rate times gamma at every one of the milestones (step numbers)."""

    def __init__(self, optimizer, milestones, gamma=0.1, last_epoch=-1):
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def formula(self, base_lr, t):
        return base_lr * self.gamma ** bisect_right(self.milestones, t)


class ExponentialLR(LRScheduler):
    """The rate times gamma every step."""

    def __init__(self, optimizer, gamma, last_epoch=-1):
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def formula(self, base_lr, t):
        return base_lr * self.gamma ** t


class LinearLR(LRScheduler):
    """From start_factor to end_factor times the rate in total_iters steps, in a straight line: a warm-up."""

    def __init__(self, optimizer, start_factor=1.0 / 3, end_factor=1.0, total_iters=5, last_epoch=-1):
        positive("LinearLR", total_iters=total_iters)
        if not 0 < start_factor <= 1 or not 0 <= end_factor <= 1:
            raise ValueError(f"LinearLR: start_factor={start_factor}, end_factor={end_factor}: in (0, 1] and "
                             "in [0, 1] expected")
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def formula(self, base_lr, t):
        share = min(t, self.total_iters) / self.total_iters
        return base_lr * (self.start_factor + (self.end_factor - self.start_factor) * share)


class ConstantLR(LRScheduler):
    """The rate times factor for total_iters steps, then the rate itself."""

    def __init__(self, optimizer, factor=1.0 / 3, total_iters=5, last_epoch=-1):
        if not 0 <= factor <= 1:
            raise ValueError(f"ConstantLR: factor={factor}: a number in [0, 1] expected")
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def formula(self, base_lr, t):
        return base_lr * (self.factor if t < self.total_iters else 1)


class PolynomialLR(LRScheduler):
    """The rate times (1 - t / total_iters)**power, 0 in the end."""

    def __init__(self, optimizer, total_iters=5, power=1.0, last_epoch=-1):
        positive("PolynomialLR", total_iters=total_iters)
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch)

    def formula(self, base_lr, t):
        return base_lr * (1 - min(t, self.total_iters) / self.total_iters) ** self.power


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from the rate to eta_min in T_max steps, and back (Loshchilov and Hutter 2017, without restarts)."""

    def __init__(self, optimizer, T_max, eta_min=0.0, last_epoch=-1):
        positive("CosineAnnealingLR", T_max=T_max)
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def formula(self, base_lr, t):
        return self.eta_min + (base_lr - self.eta_min) * (1 + math.cos(math.pi * t / self.T_max)) / 2


class CosineAnnealingWarmRestarts(LRScheduler):
    """Half a cosine from the rate to eta_min in T_0 steps, again in T_0 T_mult steps, and so on (Loshchilov and Hutter 2017).

    step(epoch) also takes parts of an epoch.
    """

    relative = False

    def __init__(self, optimizer, T_0, T_mult=1, eta_min=0.0, last_epoch=-1):
        positive("CosineAnnealingWarmRestarts", T_0=T_0, T_mult=T_mult)
        self.T_0, self.T_mult, self.eta_min = T_0, T_mult, eta_min
        super().__init__(optimizer, last_epoch)

    def formula(self, base_lr, t):
        length = self.T_0
        while self.T_mult > 1 and t >= length:
            t, length = t - length, length * self.T_mult
        return self.eta_min + (base_lr - self.eta_min) * (1 + math.cos(math.pi * (t % length) / length)) / 2


class CyclicLR(LRScheduler):
    """Up from base_lr to max_lr and down again, over and over, the momentum the other way (Smith 2017). For every batch.

    step_size_up, step_size_down (None: as up): steps. mode: 'triangular', 'triangular2' (half as high each time) or
    'exp_range' (times gamma each step); scale_fn(cycle or step, by scale_mode 'cycle' or 'iterations') in its place.
    Raises ValueError where cycle_momentum finds neither momentum nor betas.
    """

    relative = False

    def __init__(self, optimizer, base_lr, max_lr, step_size_up=2000, step_size_down=None, mode="triangular", gamma=1.0,
                 scale_fn=None, scale_mode="cycle", cycle_momentum=True, base_momentum=0.8, max_momentum=0.9, last_epoch=-1):
        if mode not in ("triangular", "triangular2", "exp_range") and scale_fn is None:
            raise ValueError(f"CyclicLR: mode={mode!r}: 'triangular', 'triangular2', 'exp_range', or a scale_fn expected")
        lows = for_groups(self, optimizer, "base_lr", base_lr)
        self.max_lrs = for_groups(self, optimizer, "max_lr", max_lr)
        self.base_momentums = for_groups(self, optimizer, "base_momentum", base_momentum)
        self.max_momentums = for_groups(self, optimizer, "max_momentum", max_momentum)
        if cycle_momentum and not {"momentum", "betas"} & set(optimizer.defaults):
            raise ValueError(f"CyclicLR: {type(optimizer).__name__} has neither momentum nor betas: cycle_momentum=False "
                             "expected")
        down = step_size_up if step_size_down is None else step_size_down
        self.total_size, self.step_ratio = step_size_up + down, step_size_up / (step_size_up + down)
        self.mode, self.gamma, self.scale_fn, self.cycle_momentum = mode, gamma, scale_fn, cycle_momentum
        self.scale_mode = scale_mode if scale_fn else "iterations" if mode == "exp_range" else "cycle"
        if last_epoch == -1:
            for group, low in zip(optimizer.param_groups, lows):
                group["lr"] = group["initial_lr"] = low
        super().__init__(optimizer, last_epoch)

    def formulas(self, t):
        height = self._height(t)
        return [low + (high - low) * height for low, high in zip(self.base_lrs, self.max_lrs)]

    def step(self, epoch=None):
        super().step(epoch)
        if self.cycle_momentum:
            height = self._height(self.last_epoch)
            for group, low, high in zip(self.optimizer.param_groups, self.base_momentums, self.max_momentums):
                set_momentum(group, high - (high - low) * height)

    def _height(self, t):
        """How far up step t is: 0 at the bottom, 1 at the top of the first cycle."""
        cycle = math.floor(1 + t / self.total_size)
        x = 1 + t / self.total_size - cycle
        height = x / self.step_ratio if x <= self.step_ratio else (x - 1) / (self.step_ratio - 1)
        at = cycle if self.scale_mode == "cycle" else t
        if self.scale_fn is not None:
            return height * self.scale_fn(at)
        return height * {"triangular": 1.0, "triangular2": 0.5 ** (cycle - 1), "exp_range": self.gamma ** t}[self.mode]


class OneCycleLR(LRScheduler):
    """Up to max_lr and down to almost nothing within total_steps, the momentum the other way (Smith and Topin 2018).

    To be stepped after every batch. The rate begins at max_lr / div_factor, rises during pct_start of the steps and ends
    at max_lr / div_factor / final_div_factor. three_phase: down to the beginning's rate as slowly as up, then on to the
    end. Raises ValueError for a step beyond total_steps and where cycle_momentum finds neither momentum nor betas.
    """

    relative = False

    def __init__(self, optimizer, max_lr, total_steps=None, epochs=None, steps_per_epoch=None, pct_start=0.3,
                 anneal_strategy="cos", cycle_momentum=True, base_momentum=0.85, max_momentum=0.95, div_factor=25.0,
                 final_div_factor=1e4, three_phase=False, last_epoch=-1):
        check_optimizer(self, optimizer)
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("OneCycleLR: total_steps, or epochs and steps_per_epoch, expected")
            total_steps = epochs * steps_per_epoch
        positive("OneCycleLR", total_steps=total_steps)
        if not 0 <= pct_start <= 1:
            raise ValueError(f"OneCycleLR: pct_start={pct_start}: a number in [0, 1] expected")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"OneCycleLR: anneal_strategy={anneal_strategy!r}: 'cos' or 'linear' expected")
        if cycle_momentum and not {"momentum", "betas"} & set(optimizer.defaults):
            raise ValueError(f"OneCycleLR: {type(optimizer).__name__} has neither momentum nor betas: cycle_momentum=False "
                             "expected")
        peaks = for_groups(self, optimizer, "max_lr", max_lr)
        self.total_steps, self.anneal_strategy, self.cycle_momentum = total_steps, anneal_strategy, cycle_momentum
        self.base_momentum, self.max_momentum = base_momentum, max_momentum
        up, end = pct_start * total_steps - 1, total_steps - 1
        start, low = 1.0, 1.0 / final_div_factor  # in shares of the rate at the beginning
        self.phases = [(up, start, div_factor, max_momentum, base_momentum)]
        if three_phase:
            self.phases.append((2 * pct_start * total_steps - 2, div_factor, start, base_momentum, max_momentum))
            self.phases.append((end, start, low, max_momentum, max_momentum))
        else:
            self.phases.append((end, div_factor, low, base_momentum, max_momentum))
        if last_epoch == -1:
            for group, peak in zip(optimizer.param_groups, peaks):
                group["lr"] = group["initial_lr"] = peak / div_factor
        super().__init__(optimizer, last_epoch)

    def formula(self, base_lr, t):
        share, begin, end, _, _ = self._phase(t)
        return base_lr * self._between(begin, end, share)

    def step(self, epoch=None):
        super().step(epoch)
        if self.cycle_momentum:
            share, _, _, begin, end = self._phase(self.last_epoch)
            momentum = self._between(begin, end, share)
            for group in self.optimizer.param_groups:
                set_momentum(group, momentum)

    def _phase(self, t):
        """How far step t is in its phase, and the phase's rates and momenta at both ends."""
        if t > self.total_steps:
            raise ValueError(f"OneCycleLR: step {t}: at most total_steps={self.total_steps} steps expected")
        number = next((i for i, phase in enumerate(self.phases) if t <= phase[0]), -1)
        start = self.phases[number - 1][0] if number else 0
        end, *ends = self.phases[number]
        return (t - start) / (end - start) if end != start else 1.0, *ends

    def _between(self, begin, end, share):
        if self.anneal_strategy == "linear":
            return begin + (end - begin) * share
        return end + (begin - end) / 2 * (1 + math.cos(math.pi * share))


class ReduceLROnPlateau(LRScheduler):
    """The rate times factor when a measure has not improved for more than `patience` steps.

    mode: whether "min" or "max" is better. threshold: by how much a better value must be better, as a share ("rel") or a
    difference ("abs"). cooldown: steps to wait after a reduction. min_lr: a number, or one for each group. eps: smaller
    changes of the rate are left out. Raises ValueError for arguments out of range.
    """

    def __init__(self, optimizer, mode="min", factor=0.1, patience=10, threshold=1e-4, threshold_mode="rel", cooldown=0,
                 min_lr=0.0, eps=1e-8):
        check_optimizer(self, optimizer)
        if not 0 <= factor < 1:
            raise ValueError(f"ReduceLROnPlateau: factor={factor}: a number in [0, 1) expected")
        if mode not in ("min", "max"):
            raise ValueError(f"ReduceLROnPlateau: mode={mode!r}: 'min' or 'max' expected")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f"ReduceLROnPlateau: threshold_mode={threshold_mode!r}: 'rel' or 'abs' expected")
        self.min_lrs = for_groups(self, optimizer, "min_lr", min_lr)
        self.optimizer = optimizer
        self.mode, self.factor, self.patience, self.threshold = mode, factor, patience, threshold
        self.threshold_mode, self.cooldown, self.eps = threshold_mode, cooldown, eps
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = self.last_epoch = 0
        self._last_lr = [group["lr"] for group in optimizer.param_groups]

    def step(self, metrics):
        """Goes on by one step with the measure's value."""
        value = float(metrics)
        self.last_epoch += 1
        if self.better(value):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
            for group, least in zip(self.optimizer.param_groups, self.min_lrs):
                lr = max(group["lr"] * self.factor, least)
                if group["lr"] - lr > self.eps:
                    group["lr"] = lr
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def better(self, value):
        """Whether the value is better than the best so far by more than the threshold."""
        sign = -1 if self.mode == "min" else 1
        if self.threshold_mode == "rel":
            return sign * value > sign * self.best * (1 + sign * self.threshold)
        return sign * value > sign * self.best + self.threshold


class ChainedScheduler:
    """Several schedulers of one optimizer, stepped one after the other: their changes multiply."""

    def __init__(self, schedulers, optimizer=None):
        self._schedulers = list(schedulers)
        if not self._schedulers:
            raise ValueError("ChainedScheduler: schedulers is empty: one at least expected")
        self.optimizer = optimizer or self._schedulers[0].optimizer
        if any(scheduler.optimizer is not self.optimizer for scheduler in self._schedulers):
            raise ValueError("ChainedScheduler: schedulers of different optimizers: the same expected")
        self._last_lr = self._schedulers[-1].get_last_lr()

    def step(self):
        """One step of each."""
        for scheduler in self._schedulers:
            scheduler.step()
        self._last_lr = self._schedulers[-1].get_last_lr()

    def get_last_lr(self):
        """The groups' rates as the last step set them."""
        return self._last_lr

    def state_dict(self):
        """The states of all."""
        return {"_schedulers": [scheduler.state_dict() for scheduler in self._schedulers], "_last_lr": self._last_lr}

    def load_state_dict(self, state_dict):
        """Goes on from `state_dict()`."""
        for scheduler, state in zip(self._schedulers, state_dict["_schedulers"], strict=True):
            scheduler.load_state_dict(state)
        self._last_lr = state_dict["_last_lr"]


class SequentialLR(ChainedScheduler):
    """One scheduler after the other; each begins anew at its milestone, a step number."""

    def __init__(self, optimizer, schedulers, milestones, last_epoch=-1):
        super().__init__(schedulers, optimizer)
        if len(milestones) != len(self._schedulers) - 1:
            raise ValueError(f"SequentialLR: {len(milestones)} milestones for {len(self._schedulers)} schedulers: one less "
                             "expected")
        if any(isinstance(scheduler, ReduceLROnPlateau) for scheduler in self._schedulers):
            raise ValueError("SequentialLR: ReduceLROnPlateau, which needs a measure to step, is not expected")
        self._milestones, self.last_epoch = list(milestones), last_epoch + 1
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        self._schedulers[0].step(0)
        self._last_lr = self._schedulers[0].get_last_lr()

    def step(self):
        """One step of the scheduler whose turn it is."""
        self.last_epoch += 1
        turn = bisect_right(self._milestones, self.last_epoch)
        begins = turn > 0 and self._milestones[turn - 1] == self.last_epoch
        self._schedulers[turn].step(*[0] * begins)
        self._last_lr = self._schedulers[turn].get_last_lr()

    def state_dict(self):
        return {**super().state_dict(), "last_epoch": self.last_epoch, "_milestones": self._milestones}

    def load_state_dict(self, state_dict):
        super().load_state_dict(state_dict)
        self.last_epoch, self._milestones = state_dict["last_epoch"], state_dict["_milestones"]


def for_groups(scheduler, optimizer, option, value):
    """A list with the option's value for each parameter group, from one for all or a list. Raises ValueError for others."""
    check_optimizer(scheduler, optimizer)
    count = len(optimizer.param_groups)
    values = list(value) if isinstance(value, (list, tuple)) else [value] * count
    if len(values) != count:
        raise ValueError(f"{type(scheduler).__name__}: {len(values)} {option} for {count} parameter groups: as many expected")
    return values


def set_momentum(group, momentum):
    """Sets a group's momentum, or the first of its betas."""
    if "betas" in group:
        group["betas"] = (momentum, *group["betas"][1:])
    else:
        group["momentum"] = momentum


def check_optimizer(scheduler, optimizer):
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(scheduler).__name__}: optimizer is a {type(optimizer).__name__}: an Optimizer expected")


def positive(name, **arguments):
    for argument, value in arguments.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}: {argument}={value!r}: an integer of at least 1 expected")
