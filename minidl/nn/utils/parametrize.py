"""Parametrizations: a parameter that a module computes from others whenever it is read.

    class Symmetric(nn.Module):
        def forward(self, X):
            return X.triu() + X.triu(1).mT

    layer = parametrize.register_parametrization(nn.Linear(3, 3), "weight", Symmetric())

What is learned is `layer.parametrizations.weight.original`, and `layer.weight` is computed from it. To assign to
`layer.weight`, the parametrization needs a method `right_inverse`.
"""
from contextlib import contextmanager

from ...autograd import Tensor, no_grad
from ..container import ModuleDict, ModuleList
from ..parameter import Parameter

__all__ = ["ParametrizationList", "cached", "is_parametrized", "register_parametrization", "remove_parametrizations",
           "type_before_parametrizations"]


class Cache:
    """depth: how many `cached` blocks are open. values: what was computed in them, by module and name."""
    depth, values = 0, {}


@contextmanager
def cached():
    """Inside, each parametrized tensor is computed once, and then kept until the outermost block ends."""
    Cache.depth += 1
    try:
        yield
    finally:
        Cache.depth -= 1
        if not Cache.depth:
            Cache.values = {}


class ParametrizationList(ModuleList):
    """The parametrizations of one tensor, the first one first, and what they start from: `original`, or `original0`,
    `original1`, ... where right_inverse gives several.

    The original tensor stays the same object where there is one and its shape stays, so that optimizers go on with it.
    """

    def __init__(self, modules, original, unsafe=False):
        super().__init__(modules)
        self.unsafe = unsafe
        with no_grad():
            values = self.inverted(original, partial=True)
        self.is_tensor = isinstance(values, Tensor)
        if self.is_tensor:
            self.checked(original, values)
            original.data = values.detach()
            self.register("original", original)
        else:
            self.ntensors = len(values)
            for i, value in enumerate(values):
                self.register(f"original{i}", Parameter(value.detach()) if isinstance(original, Parameter) else value.detach())

    def register(self, name, value):
        """A parameter or a buffer, as the tensor was."""
        if isinstance(value, Parameter):
            self._parameters[name] = value
        else:
            self._buffers[name] = value

    def __getattr__(self, name):
        if name in self.__dict__.get("_buffers", ()):
            return self._buffers[name]
        return super().__getattr__(name)

    def originals(self):
        """What the first parametrization gets."""
        return (self.original,) if self.is_tensor else tuple(getattr(self, f"original{i}") for i in range(self.ntensors))

    def inverted(self, value, partial=False):
        """What the parametrizations make `value` of. partial: one without right_inverse leaves it as it is."""
        for module in reversed(list(self)):
            if hasattr(module, "right_inverse"):
                value = module.right_inverse(value)
            elif not partial:
                raise RuntimeError(f"parametrization {type(module).__name__}: has no right_inverse: one expected to assign to "
                                   "the tensor")
        if not isinstance(value, Tensor):
            value = tuple(value)
            if not value or not all(isinstance(part, Tensor) for part in value):
                raise ValueError("parametrization: right_inverse gave no tensors: a tensor or a sequence of them expected")
        return value

    def checked(self, old, new):
        """Raises ValueError where the tensor would change its dtype or shape, unless that was allowed."""
        if not self.unsafe and (old.dtype != new.dtype or old.shape != new.shape):
            raise ValueError(f"parametrization: {old.dtype}{tuple(old.shape)} becomes {new.dtype}{tuple(new.shape)}: the same "
                             "expected, or unsafe=True")

    @no_grad()
    def right_inverse(self, value):
        """Makes the originals what gives `value`."""
        values = self.inverted(value)
        for old, new in zip(self.originals(), (values,) if self.is_tensor else values, strict=True):
            if not self.unsafe:
                self.checked(old, new)
            old.data = new.detach()

    def forward(self):
        modules = iter(self)
        value = next(modules)(*self.originals())
        for module in modules:
            value = module(value)
        return value


def computed(name):
    """The property that reads a parametrized tensor."""
    def read(self):
        if not Cache.depth:
            return self.parametrizations[name]()
        key = id(self), name
        if key not in Cache.values:
            Cache.values[key] = self.parametrizations[name]()
        return Cache.values[key]

    def write(self, value):
        Cache.values.pop((id(self), name), None)
        self.parametrizations[name].right_inverse(value)
    return property(read, write)


def parametrized_class(base, names):
    """A subclass with a property for each name. Each module has its own, so that copies can be changed by themselves."""
    def __setattr__(self, name, value):
        if name in names:
            object.__setattr__(self, name, value)  # the property
        else:
            base.__setattr__(self, name, value)

    return type(f"Parametrized{base.__name__}", (base,), {
        "__setattr__": __setattr__, "__module__": base.__module__, **{name: computed(name) for name in names}})


def is_parametrized(module, tensor_name=None):
    """Whether the module has parametrizations, or those of one tensor."""
    found = module._modules.get("parametrizations")
    return isinstance(found, ModuleDict) and (bool(len(found)) if tensor_name is None else tensor_name in found)


def type_before_parametrizations(module):
    """The module's class without its parametrizations."""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)


def register_parametrization(module, tensor_name, parametrization, *, unsafe=False):
    """Makes a parameter or buffer of the module what `parametrization`, a module, computes from it. Returns the module.

    Several for one tensor run one after the other. unsafe: shape and dtype may change.
    Raises ValueError where the module has no such tensor, or shape or dtype change.
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        parts = module.parametrizations[tensor_name]
        parts.unsafe = parts.unsafe or unsafe
        with no_grad():
            before = getattr(module, tensor_name)
            parts.checked(before, parametrization(before))
        parts.append(parametrization)
        return module
    original = module._parameters.get(tensor_name, module._buffers.get(tensor_name))
    if original is None:
        raise ValueError(f"register_parametrization: {type(module).__name__} has no parameter or buffer {tensor_name!r}")
    before = original.detach()
    parts = ParametrizationList([parametrization], original, unsafe)
    with no_grad():
        parts.checked(before, parts())
    base = type_before_parametrizations(module)
    delattr(module, tensor_name)
    if not is_parametrized(module):
        module.parametrizations = ModuleDict()
    module.parametrizations[tensor_name] = parts
    module.__class__ = parametrized_class(base, tuple(module.parametrizations))
    return module


def remove_parametrizations(module, tensor_name, leave_parametrized=True):
    """Makes a tensor an ordinary one again, with the value it has, or with leave_parametrized=False the original's.

    The parameter stays the same object where there is one original. Returns the module. Raises ValueError where the tensor
    is not parametrized, and where the original is to stay and there are several.
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"remove_parametrizations: {type(module).__name__} has no parametrized {tensor_name!r}")
    parts, base = module.parametrizations[tensor_name], type_before_parametrizations(module)
    if not (parts.is_tensor or leave_parametrized):
        raise ValueError("remove_parametrizations: leave_parametrized=False with several originals: True expected")
    with no_grad():
        value = getattr(module, tensor_name).detach()
    first = parts.originals()[0]
    if not parts.is_tensor:
        first = Parameter(value) if isinstance(first, Parameter) else value
    elif leave_parametrized:
        first.data = value
    del module.parametrizations[tensor_name]
    names = tuple(module.parametrizations)
    if not names:
        del module.parametrizations
    module.__class__ = parametrized_class(base, names) if names else base
    if isinstance(first, Parameter):
        module.register_parameter(tensor_name, first)
    else:
        module.register_buffer(tensor_name, first)
    return module
