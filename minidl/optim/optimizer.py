"""Optimizer: parameter groups, the state of each parameter, and both as a dict in PyTorch's layout."""
from collections import defaultdict

import numpy as np

from ..autograd import Tensor, enable_grad, no_grad
from ..autograd.tensor import wrap
from ..nn.hooks import HookHandle, StateHooks


class StepHooks(StateHooks):
    """The hooks of one optimizer. An optimizer without any has none of these."""

    def __init__(self):
        super().__init__()
        self.step_before, self.step_after = [], []

    def step(self, optimizer, closure):
        """The optimizer's step with the hooks around it. They are told the closure as PyTorch tells them: by position."""
        args, kwargs = () if closure is None else (closure,), {}
        for hook in tuple(self.step_before):
            changed = hook(optimizer, args, kwargs)
            if changed is not None:
                if not isinstance(changed, tuple) or len(changed) != 2:
                    raise TypeError(f"step pre-hook of {type(optimizer).__name__}: a {type(changed).__name__} returned: None "
                                    "or (args, kwargs) expected")
                args, kwargs = changed
        loss = optimizer.take_step(*args, **kwargs)
        for hook in tuple(self.step_after):
            hook(optimizer, args, kwargs)
        return loss


class Optimizer:
    """The base of all optimizers.

    params: tensors, (name, tensor) pairs, or dicts with "params" and options that differ from `defaults` (parameter groups). A
    subclass writes `check(group)`, which raises on options that make no sense, and `update(params, grads, group)`, which
    changes the parameters in place and keeps what it needs in `self.state[param]`, a dict.

    Raises ValueError for no parameters, a parameter given twice and options out of range, TypeError for what is no tensor.
    """

    _hooks = None

    def __init__(self, params, defaults):
        name = type(self).__name__
        if isinstance(params, (Tensor, dict, str)) or not hasattr(params, "__iter__"):
            raise TypeError(f"{name}: params is a {type(params).__name__}: an iterable of tensors or of dicts expected "
                            "(model.parameters() gives one)")
        params = list(params)
        if not params:
            raise ValueError(f"{name}: params is empty: at least one tensor expected (a generator gives its values only once)")
        self.defaults = defaults
        self.state = defaultdict(dict)
        self.param_groups = []
        for group in params if isinstance(params[0], dict) else [{"params": params}]:
            self.add_param_group(group)

    def check(self, group):
        """Raises ValueError where an option of the group is out of range."""

    def update(self, params, grads, group):
        """Changes the tensors `params`, whose gradients are `grads`, in place. To be written by the subclass."""
        raise NotImplementedError(f"{type(self).__name__}: an optimizer must define update(params, grads, group)")

    def step(self, closure=None):
        """One update of every parameter that has a gradient.

        closure: computes the loss again, calls backward and returns the loss, which is then returned here too.
        """
        if self._hooks is None:
            return self.take_step(closure)
        return self._hooks.step(self, closure)

    def take_step(self, closure=None):
        """`step` without the hooks around it."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        with no_grad():
            for group in self.param_groups:
                params = [p for p in group["params"] if p.grad is not None]
                if params:
                    self.update(params, [p.grad for p in params], group)
        return loss

    def zero_grad(self, set_to_none=True):
        """Forgets the gradients; with set_to_none=False fills them with zeros."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                elif p.grad is not None:
                    p.grad.array[...] = 0
                    p.grad._mark_changed()

    def add_param_group(self, group):
        """Adds a dict of "params" and options; an option that is missing takes its default.

        Raises as the constructor does, before anything is changed.
        """
        name, number = type(self).__name__, len(self.param_groups)
        if not isinstance(group, dict) or "params" not in group:
            raise TypeError(f"{name}: group {number} is a {type(group).__name__}: a dict with the key 'params' expected")
        params = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
        if params and all(isinstance(p, tuple) and len(p) == 2 for p in params):  # as named_parameters() gives them
            group = {**group, "param_names": [path for path, _ in params]}
            params = [p for _, p in params]
        if not params:
            raise ValueError(f"{name}: params of group {number} is empty: at least one tensor expected")
        seen = {id(p) for other in self.param_groups for p in other["params"]}
        for i, p in enumerate(params):
            if not isinstance(p, Tensor):
                raise TypeError(f"{name}: params[{i}] of group {number} is a {type(p).__name__}: a tensor expected")
            if not p.is_leaf:
                raise ValueError(f"{name}: params[{i}] of group {number} was computed from other tensors: a leaf expected")
            if id(p) in seen:
                raise ValueError(f"{name}: params[{i}] of group {number}, shape {p.shape}, occurs twice: each tensor once "
                                 "expected")
            seen.add(id(p))
        group = {**self.defaults, **group, "params": params}
        if isinstance(group.get("lr"), str):
            raise TypeError(f"{name}: lr={group['lr']!r}: a number expected")
        self.check(group)
        self.param_groups.append(group)

    def state_dict(self):
        """{"state": {index: the state of that parameter}, "param_groups": [options, with "params" as indices]}.

        Parameters are numbered through all groups. The tensors are the optimizer's own: copy them to keep them.
        """
        for hook in self._around("save_before"):
            hook(self)
        params = [p for group in self.param_groups for p in group["params"]]
        index = {id(p): i for i, p in enumerate(params)}
        found = {"state": {i: dict(self.state[p]) for i, p in enumerate(params) if p in self.state},
                 "param_groups": [{**{k: v for k, v in group.items() if k != "params"},
                                   "params": [index[id(p)] for p in group["params"]]} for group in self.param_groups]}
        return self._replaced("save_after", found)

    def load_state_dict(self, state_dict):
        """Takes over copies of the state and the options of `state_dict()`, which may come from torch.optim.

        Raises ValueError, and changes nothing, where groups, numbers of parameters or shapes differ.
        """
        state_dict = self._replaced("load_before", state_dict if self._hooks is None else dict(state_dict))
        name = type(self).__name__
        if missing := {"state", "param_groups"} - set(state_dict):
            raise ValueError(f"{name}.load_state_dict: {', '.join(sorted(missing))} missing: a state_dict() expected")
        groups = state_dict["param_groups"]
        sizes, own = [len(g["params"]) for g in groups], [len(g["params"]) for g in self.param_groups]
        if sizes != own:
            raise ValueError(f"{name}.load_state_dict: groups of {sizes} parameters: {own} expected")
        params = dict(zip([i for g in groups for i in g["params"]], [p for g in self.param_groups for p in g["params"]]))
        state = defaultdict(dict)
        for i, entries in state_dict["state"].items():
            if i not in params:
                raise ValueError(f"{name}.load_state_dict: state of parameter {i!r}: one of {list(params)} expected")
            state[params[i]] = {k: self.taken_over(params[i], v, f"{name}.load_state_dict: {k!r} of parameter {i}")
                                for k, v in entries.items()}
        merged = [{**old, **new, "params": old["params"]} for old, new in zip(self.param_groups, groups)]
        for group in merged:
            self.check(group)
        self.state, self.param_groups = state, merged
        for hook in self._around("load_after"):
            hook(self)

    def taken_over(self, param, value, what):
        """A copy of one entry of a state: numbers as they are, arrays with the parameter's dtype and memory layout."""
        array = value.array if isinstance(value, Tensor) else value.detach().numpy() if hasattr(value, "detach") else value
        if not isinstance(array, np.ndarray) and type(array) is not type(param.array):
            return value
        if array.ndim == 0 and param.ndim:
            return array.item()
        if array.shape != param.shape:
            if array.ndim != param.ndim or any(a not in (1, n) for a, n in zip(array.shape, param.shape)):
                raise ValueError(f"{what} has shape {array.shape}: the parameter's, {param.shape}, or 1 for some of its axes, "
                                 "expected")
            return wrap(array.astype(param.dtype))
        copy = np.empty_like(param.array)
        copy[...] = array
        return wrap(copy)

    # ---- hooks ----
    def _around(self, kind):
        """The hooks of one kind."""
        return () if self._hooks is None else tuple(getattr(self._hooks, kind))

    def _replaced(self, kind, state_dict):
        """A state dict behind the hooks of one kind, which may change it or return another."""
        for hook in self._around(kind):
            changed = hook(self, state_dict)
            if changed is not None:
                state_dict = changed
        return state_dict

    def _hook(self, kind, hook, prepend=False):
        if self._hooks is None:
            self._hooks = StepHooks()
        hooks = getattr(self._hooks, kind)
        hooks.insert(0 if prepend else len(hooks), hook)
        return HookHandle(self, hooks, hook)

    def register_step_pre_hook(self, hook):
        """hook(optimizer, args, kwargs) before step, which may return both anew. Returns a handle to remove it."""
        return self._hook("step_before", hook)

    def register_step_post_hook(self, hook):
        """hook(optimizer, args, kwargs) after step."""
        return self._hook("step_after", hook)

    def register_state_dict_pre_hook(self, hook, prepend=False):
        """hook(optimizer) before state_dict."""
        return self._hook("save_before", hook, prepend)

    def register_state_dict_post_hook(self, hook, prepend=False):
        """hook(optimizer, state_dict) after state_dict, to change it in place or to return another."""
        return self._hook("save_after", hook, prepend)

    def register_load_state_dict_pre_hook(self, hook, prepend=False):
        """hook(optimizer, state_dict) before loading; it gets a copy, to change in place or to return another."""
        return self._hook("load_before", hook, prepend)

    def register_load_state_dict_post_hook(self, hook, prepend=False):
        """hook(optimizer) after loading."""
        return self._hook("load_after", hook, prepend)

    def __repr__(self):
        lines = [f"  group {i}: {len(g['params'])} tensors, " + ", ".join(f"{k}={v}" for k, v in g.items() if k != "params")
                 for i, g in enumerate(self.param_groups)]
        return "\n".join([f"{type(self).__name__}(", *lines, ")"])


def require(name, group, **conditions):
    """Raises ValueError for the first option whose condition (holds, what is expected) does not hold."""
    for option, (holds, expected) in conditions.items():
        if not holds:
            raise ValueError(f"{name}: {option}={group[option]!r}: {expected} expected")


def zeros_like(param):
    """State of a parameter's shape, dtype and memory layout, so that a kernel walks both as one vector."""
    return wrap(np.zeros_like(param.array))
