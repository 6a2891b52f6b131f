"""Module: a function with parameters, made of other modules."""
from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

from numpy import ndarray

from ..autograd import Tensor, no_grad
from ..autograd.tensor import wrap
from ..ops import asarray, from_dlpack
from .hooks import HookHandle, Hooks, StateHooks
from .parameter import Buffer, Parameter


class Keys(NamedTuple):
    """What load_state_dict found absent and what it left over."""
    missing_keys: list
    unexpected_keys: list

    def __repr__(self):
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"

    __str__ = __repr__

    def problems(self, strict):
        """What is wrong with that, as text, where the names must be the same."""
        return [f"{what}: {', '.join(names)}" for what, names in zip(("missing", "unexpected"), self) if strict and names]


class Module:
    """The base of all layers and models. A subclass makes its parts attributes of itself and says what `forward` computes:

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.hidden = nn.Linear(784, 64)
                self.out = nn.Linear(64, 10)

            def forward(self, x):
                return self.out(F.relu(self.hidden(x)))

    Parameters, buffers and modules are ordinary attributes, found like any other, and also stand in three dicts, which
    `__setattr__` keeps; all that walks a model (`parameters`, `state_dict`, `to`, ...) walks these.
    Called with NumPy arrays, a module takes them as tensors.
    """

    training = True
    _hooks = _state_hooks = None
    optional_state = ()  # names of buffers that older state dicts do not have
    fused_activations = ()  # the names that forward takes as `activation` and computes in the same kernel

    def __new__(cls, *args, **kwargs):
        self = super().__new__(cls)
        self.__dict__.update(_parameters={}, _buffers={}, _modules={}, _transient=set())
        return self

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "forward" in vars(cls):  # a forward of its own need not take an activation
            cls.fused_activations = vars(cls).get("fused_activations", ())

    def __call__(self, *args, **kwargs):
        for x in args:
            if type(x) is ndarray:
                args = tuple(wrap(a) if type(a) is ndarray else a for a in args)
                break
        if kwargs:
            kwargs = {name: wrap(x) if type(x) is ndarray else x for name, x in kwargs.items()}
        if self._hooks is None:
            return self.forward(*args, **kwargs)
        return self._hooks.call(self, args, kwargs)

    def forward(self, *args):
        """What the module computes. Raises NotImplementedError unless a subclass says it."""
        raise NotImplementedError(f"{type(self).__name__}.forward: a subclass of Module must define it")

    # ---- attributes ----
    def __setattr__(self, name, value):
        if isinstance(value, Parameter):
            self._register(self._parameters, name, value)
        elif isinstance(value, Buffer):
            (self._transient.discard if value.persistent else self._transient.add)(name)
            self._register(self._buffers, name, value)
        elif isinstance(value, Module):
            self._register(self._modules, name, value)
        else:
            for kind, registry in (("Parameter", self._parameters), ("Module", self._modules), ("Tensor", self._buffers)):
                if name in registry:
                    if value is not None and not (kind == "Tensor" and isinstance(value, Tensor)):
                        raise TypeError(f"{type(self).__name__}.{name}: a {type(value).__name__} given: a {kind} or None "
                                        "expected (del the attribute first to make it another kind)")
                    registry[name] = value
            object.__setattr__(self, name, value)

    def __delattr__(self, name):
        for registry in (self._parameters, self._modules, self._buffers):
            registry.pop(name, None)
        self._transient.discard(name)
        object.__delattr__(self, name)

    def _register(self, registry, name, value):
        if name not in registry and name in self.__dict__:
            object.__delattr__(self, name)
        for other in (self._parameters, self._modules, self._buffers):
            if other is not registry:
                other.pop(name, None)
        registry[name] = value
        object.__setattr__(self, name, value)

    def _checked_name(self, name):
        if not isinstance(name, str) or not name or "." in name:
            raise ValueError(f"{type(self).__name__}: name {name!r}: a string without dots, not empty, expected")
        return name

    def _check_name(self, registry, name):
        if self._checked_name(name) not in registry and hasattr(self, name):
            raise KeyError(f"{type(self).__name__}: {name!r} is an attribute already")

    def register_parameter(self, name, param):
        """Makes a Parameter, or None for an absent one, the attribute `name`. Raises for a name in use or no Parameter."""
        self._check_name(self._parameters, name)
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(f"register_parameter: {name!r} is a {type(param).__name__}: a Parameter or None expected")
        self._register(self._parameters, name, param)

    def register_buffer(self, name, tensor, persistent=True):
        """Makes a tensor that is not learned, or None, the attribute `name`. persistent: it is part of state_dict()."""
        self._check_name(self._buffers, name)
        if tensor is not None and not isinstance(tensor, Tensor):
            tensor = asarray(tensor)
        self._register(self._buffers, name, tensor)
        if persistent:
            self._transient.discard(name)
        else:
            self._transient.add(name)

    def register_module(self, name, module):
        """Makes a Module, or None, the attribute `name`. Raises for a name in use or no Module."""
        self._check_name(self._modules, name)
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"add_module: {name!r} is a {type(module).__name__}: a Module or None expected")
        self._register(self._modules, name, module)

    add_module = register_module

    # ---- walking ----
    def named_modules(self, prefix="", remove_duplicate=True, _seen=None):
        """(name, module) of this module and all below it, each module once unless remove_duplicate is False."""
        seen = set() if _seen is None else _seen
        if remove_duplicate and self in seen:
            return
        seen.add(self)
        yield prefix, self
        for name, child in self._modules.items():
            if child is not None:
                yield from child.named_modules(f"{prefix}.{name}" if prefix else name, remove_duplicate, seen)

    def modules(self):
        """This module and all below it, each once, in the order of `named_modules`."""
        seen, rest = set(), [self]
        while rest:
            module = rest.pop()
            if module not in seen:
                seen.add(module)
                yield module
                rest += [child for child in reversed(module._modules.values()) if child is not None]

    def named_children(self):
        """(name, module) of the modules directly below."""
        seen = set()
        for name, child in self._modules.items():
            if child is not None and child not in seen:
                seen.add(child)
                yield name, child

    def children(self):
        """The modules directly below."""
        for _, child in self.named_children():
            yield child

    def _named(self, kind, prefix, recurse, remove_duplicate):
        """(name, tensor) of all parameters or buffers. Parts shared by two modules come once under remove_duplicate."""
        seen = set()
        for path, module in self.named_modules(prefix, remove_duplicate) if recurse else [(prefix, self)]:
            for name, tensor in getattr(module, kind).items():
                if tensor is not None and not (remove_duplicate and id(tensor) in seen):
                    seen.add(id(tensor))
                    yield f"{path}.{name}" if path else name, tensor

    def named_parameters(self, prefix="", recurse=True, remove_duplicate=True):
        """(name, parameter) of this module and, with recurse, of all below it."""
        return self._named("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse=True):
        """The parameters of this module and, with recurse, of all below it."""
        for _, parameter in self.named_parameters(recurse=recurse):
            yield parameter

    def named_buffers(self, prefix="", recurse=True, remove_duplicate=True):
        """(name, buffer) of this module and, with recurse, of all below it."""
        return self._named("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse=True):
        """The buffers of this module and, with recurse, of all below it."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def get_submodule(self, target):
        """The module at a dotted name. Raises AttributeError where there is none."""
        module = self
        for name in target.split(".") if target else ():
            if module._modules.get(name) is None:
                raise AttributeError(f"{type(module).__name__} has no module {name!r} (in {target!r}): "
                                     f"it has {', '.join(module._modules) or 'none'}")
            module = module._modules[name]
        return module

    def set_submodule(self, target, module):
        """Puts a module at a dotted name. Raises AttributeError where there is none before the last dot."""
        path, _, name = target.rpartition(".")
        owner = self.get_submodule(path)
        owner._register(owner._modules, owner._checked_name(name), module)

    def get_parameter(self, target):
        """The parameter at a dotted name. Raises AttributeError where there is none."""
        path, _, name = target.rpartition(".")
        found = self.get_submodule(path)._parameters.get(name)
        if found is None:
            raise AttributeError(f"{type(self).__name__} has no parameter {target!r}")
        return found

    def get_buffer(self, target):
        """The buffer at a dotted name. Raises AttributeError where there is none."""
        path, _, name = target.rpartition(".")
        found = self.get_submodule(path)._buffers.get(name)
        if found is None:
            raise AttributeError(f"{type(self).__name__} has no buffer {target!r}")
        return found

    def apply(self, fn):
        """Calls fn(module) for every module below, then for this one. Returns this module."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    # ---- modes, gradients, dtypes ----
    def train(self, mode=True):
        """Training mode for this module and all below (dropout drops, batch norm uses the batch). Returns this module."""
        for module in self.modules():
            module.training = bool(mode)
        return self

    def eval(self):
        """Evaluation mode: train(False)."""
        return self.train(False)

    def requires_grad_(self, requires_grad=True):
        """Sets whether the parameters are learned: False freezes them. Returns this module."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self, set_to_none=True):
        """Forgets the parameters' gradients, or fills them with zeros."""
        for parameter in self.parameters():
            if set_to_none or parameter.grad is None:
                parameter.grad = None
            else:
                parameter.grad = parameter.grad.detach().zero_()

    def to(self, *args, **kwargs):
        """Parameters and buffers in another dtype or on another device, in place; integers stay. Returns this module.

        Arguments: as Tensor.to. Raises ValueError for an unknown device.
        """
        for _, tensor in (*self.named_parameters(), *self.named_buffers()):
            if tensor.dtype.kind == "f":
                moved = tensor.detach().to(*args, **kwargs)
                if moved.dtype.kind != "f":
                    raise TypeError(f"to: dtype {moved.dtype}: a floating-point dtype expected")
                if moved.array is not tensor.array:
                    tensor.data = moved
                if tensor.grad is not None:
                    tensor.grad = tensor.grad.to(*args, **kwargs)
        return self

    def float(self):
        """to('float32')"""
        return self.to("float32")

    def double(self):
        """to('float64')"""
        return self.to("float64")

    def half(self):
        """to('float16')"""
        return self.to("float16")

    def type(self, dst_type):
        """to(dst_type)"""
        return self.to(dst_type)

    def cpu(self):
        """to('cpu')"""
        return self.to("cpu")

    # ---- state ----
    def _state(self):
        """name -> tensor, of all parameters and persistent buffers; shared ones under each of their names."""
        found = {}
        for path, module in self.named_modules(remove_duplicate=False):
            lead = f"{path}." if path else ""
            for name, tensor in module._parameters.items():
                found[lead + name] = tensor
            for name, tensor in module._buffers.items():
                if name not in module._transient:
                    found[lead + name] = tensor
        return OrderedDict((name, tensor) for name, tensor in found.items() if tensor is not None)

    def get_extra_state(self):
        """What else belongs to the state, under the name '_extra_state'. To be written by a subclass, with set_extra_state."""
        raise NotImplementedError(f"{type(self).__name__}: get_extra_state is not there")

    def set_extra_state(self, state):
        """Takes over what get_extra_state gave."""
        raise NotImplementedError(f"{type(self).__name__}: set_extra_state is not there")

    def _with_extra_state(self):
        """(name, module) of the modules that have an extra state."""
        return [(f"{path}._extra_state" if path else "_extra_state", module)
                for path, module in self.named_modules(remove_duplicate=False)
                if type(module).get_extra_state is not Module.get_extra_state]

    def _with_state_hooks(self):
        """(the prefix of its names, module, its hooks) of this module and all below it that have hooks around their state."""
        return [(f"{path}." if path else "", module, module._state_hooks)
                for path, module in self.named_modules(remove_duplicate=False) if module._state_hooks is not None]

    def state_dict(self, *, destination=None, prefix="", keep_vars=False):
        """name -> tensor of parameters and persistent buffers, off the tape and sharing memory (keep_vars: as they are).

        destination: a dict that they are added to, and that is returned.
        """
        hooked = self._with_state_hooks()
        for lead, module, hooks in hooked:
            for hook in tuple(hooks.save_before):
                hook(module, prefix + lead, keep_vars)
        found = OrderedDict() if destination is None else destination
        for name, tensor in self._state().items():
            found[prefix + name] = tensor if keep_vars else tensor.detach()
        for name, module in self._with_extra_state():
            found[prefix + name] = module.get_extra_state()
        for lead, module, hooks in reversed(hooked):  # what is inside first
            for hook in tuple(hooks.save_after):
                hook(module, found, prefix + lead, {})
        return found

    def load_state_dict(self, state_dict, strict=True, assign=False):
        """Copies values into the parameters and buffers, which keep their memory, layout and dtype.

        state_dict: name -> Tensor or array (whatever has __dlpack__). strict: the names must be the same. assign: what is
        given takes the place of what is there, with its own dtype, memory and layout; optimizers do not know it.
        Returns (missing_keys, unexpected_keys). Raises RuntimeError, listing all that does not fit, before anything changes;
        where hooks run after loading, which may change the lists of names, these are looked at behind them.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"load_state_dict: a {type(state_dict).__name__} given: a dict of tensors expected")
        state_dict, problems, keys, hooked = dict(state_dict), [], Keys([], []), self._with_state_hooks()
        for lead, module, hooks in hooked:
            for hook in tuple(hooks.load_before):
                hook(module, state_dict, lead, {}, strict, keys.missing_keys, keys.unexpected_keys, problems)
        own, extra = self._state(), dict(self._with_extra_state())
        optional = {f"{path}.{n}" if path else n for path, module in self.named_modules() for n in module.optional_state}
        keys.missing_keys.extend(n for n in (*own, *extra) if n not in state_dict and n not in optional)
        keys.unexpected_keys.extend(n for n in state_dict if n not in own and n not in extra)
        values = {n: _as_tensor(state_dict[n]) for n in own if n in state_dict}
        wrong = [f"{n}: {v.dtype}{v.shape} given, {own[n].dtype}{own[n].shape} expected" for n, v in values.items()
                 if v.shape != own[n].shape or (not assign and (v.dtype.kind in "fc") != (own[n].dtype.kind in "fc"))]
        if wrong:
            problems.append(f"do not fit: {'; '.join(wrong)}")
        behind = [(module, hook) for _, module, hooks in reversed(hooked) for hook in hooks.load_after]
        if not behind:
            problems += keys.problems(strict)
        if problems:
            raise RuntimeError("\n  ".join([f"load_state_dict: nothing was loaded into {type(self).__name__}:", *problems]))
        with no_grad():
            for name, value in values.items():
                if assign:
                    self._assign(name, value)
                else:
                    own[name].copy_(value)
        for name, module in extra.items():
            if name in state_dict:
                module.set_extra_state(state_dict[name])
        for module, hook in behind:
            hook(module, keys)
        if behind and (problems := keys.problems(strict)):
            raise RuntimeError("\n  ".join([f"load_state_dict: loaded into {type(self).__name__} what there is:", *problems]))
        return keys

    def _assign(self, name, value):
        """Puts a tensor in the place of a parameter or buffer, a parameter of its own for a parameter."""
        path, _, name = name.rpartition(".")
        owner = self.get_submodule(path)
        old = owner._parameters.get(name)
        if old is not None and not isinstance(value, Parameter):
            value = Parameter(value.detach(), old.requires_grad)
        owner._register(owner._buffers if old is None else owner._parameters, name, value)

    # ---- hooks ----
    def _hook(self, kind, hook, prepend=False):
        if self._hooks is None:
            self._hooks = Hooks()
        hooks = getattr(self._hooks, kind)
        hooks.insert(0 if prepend else len(hooks), hook)
        return HookHandle(self, hooks, hook)

    def _state_hook(self, kind, hook):
        if self._state_hooks is None:
            self._state_hooks = StateHooks()
        hooks = getattr(self._state_hooks, kind)
        hooks.append(hook)
        return HookHandle(self, hooks, hook)

    def register_forward_pre_hook(self, hook, *, prepend=False, with_kwargs=False):
        """hook(module, args) before forward; what it returns, if not None, replaces args. Returns a handle to remove it.

        with_kwargs: hook(module, args, kwargs), which may return both anew.
        """
        return self._hook("before", (hook, with_kwargs, False), prepend)

    def register_forward_hook(self, hook, *, prepend=False, with_kwargs=False, always_call=False):
        """hook(module, args, result) after forward; what it returns, if not None, replaces the result.

        with_kwargs: hook(module, args, kwargs, result). always_call: also after an error, with None for the result.
        """
        return self._hook("after", (hook, with_kwargs, always_call), prepend)

    def register_full_backward_pre_hook(self, hook, prepend=False):
        """hook(module, grad_output) before backward; what it returns, if not None, replaces grad_output, a tuple."""
        return self._hook("backward_before", hook, prepend)

    def register_full_backward_hook(self, hook, prepend=False):
        """hook(module, grad_input, grad_output) in backward; what it returns, if not None, replaces grad_input, a tuple."""
        return self._hook("backward", hook, prepend)

    def register_state_dict_pre_hook(self, hook):
        """hook(module, prefix, keep_vars) before state_dict collects the module's tensors."""
        return self._state_hook("save_before", hook)

    def register_state_dict_post_hook(self, hook):
        """hook(module, state_dict, prefix, local_metadata) after state_dict, to change it in place; the last is empty."""
        return self._state_hook("save_after", hook)

    def register_load_state_dict_pre_hook(self, hook):
        """hook(module, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs) before loading.

        It may change the dict, a copy, and add to the lists.
        """
        return self._state_hook("load_before", hook)

    def register_load_state_dict_post_hook(self, hook):
        """hook(module, incompatible_keys) after loading; it may change the lists of missing and unexpected names."""
        return self._state_hook("load_after", hook)

    # ---- how it looks ----
    def extra_repr(self):
        """What stands between the brackets of repr()."""
        return ""

    def __repr__(self):
        lines = [line for line in self.extra_repr().split("\n") if line]
        children = [f"({name}): " + repr(child).replace("\n", "\n  ") for name, child in self._modules.items()]
        name = type(self).__name__
        if not children:
            return f"{name}({', '.join(lines)})"
        return f"{name}(\n  " + "\n  ".join([*lines, *children]) + "\n)"


def _as_tensor(value):
    if isinstance(value, Tensor):
        return value
    return from_dlpack(value) if hasattr(value, "__dlpack__") and type(value) is not ndarray else asarray(value)
