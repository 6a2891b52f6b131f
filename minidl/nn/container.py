"""Modules that hold other modules or parameters."""
from collections import OrderedDict
from collections.abc import Mapping, MutableMapping

from numpy import ndarray

from ..autograd import Tensor
from .activation import ReLU, ReLU6
from .conv import Conv2d
from .module import Module
from .parameter import Parameter
from .pool import MaxPool2d


class Container(Module):
    """Keeps its parts by name in the module's dict only, so that a name cannot hide a method."""

    def __getattr__(self, name):
        for registry in ("_modules", "_parameters"):
            if name in self.__dict__.get(registry, ()):
                return self.__dict__[registry][name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def _register(self, registry, name, value):
        self.__dict__.pop(name, None)
        registry[name] = value

    def __delattr__(self, name):
        if name in self._modules:
            del self._modules[name]
        else:
            super().__delattr__(name)


class Numbered(Container):
    """Parts in an order, under the names '0', '1', ..."""

    kind = Module

    @property
    def _parts(self):
        return self._modules

    def _checked(self, part):
        if not isinstance(part, self.kind):
            raise TypeError(f"{type(self).__name__}: a {type(part).__name__} given: a {self.kind.__name__} expected")
        return part

    def _renew(self, parts):
        parts = [self._checked(part) for part in parts]
        self._parts.clear()
        self._parts.update((str(i), part) for i, part in enumerate(parts))
        return self

    def _key(self, index):
        n = len(self._parts)
        if not -n <= index < n:
            raise IndexError(f"{type(self).__name__}: index {index} with {n} parts")
        return list(self._parts)[index]

    def __len__(self):
        return len(self._parts)

    def __iter__(self):
        return iter(self._parts.values())

    def __getitem__(self, index):
        if isinstance(index, slice):
            return type(self)(list(self)[index])
        return self._parts[self._key(index)]

    def __setitem__(self, index, part):
        self._parts[self._key(index)] = self._checked(part)

    def __delitem__(self, index):
        parts = list(self)
        del parts[index]
        self._renew(parts)

    def append(self, part):
        """Adds a part at the end. Returns this container."""
        return self._renew([*self, part])

    def extend(self, parts):
        """Adds parts at the end. Returns this container."""
        return self._renew([*self, *parts])

    def pop(self, index=-1):
        """Takes a part out and returns it."""
        part = self[index]
        del self[index]
        return part

    def insert(self, index, part):
        """Puts a part before position `index`. Returns this container. Raises IndexError where there is none."""
        parts = list(self)
        if not -len(parts) <= index <= len(parts):
            raise IndexError(f"{type(self).__name__}: insert at {index} with {len(parts)} parts")
        parts.insert(index, part)
        return self._renew(parts)


class ModuleList(Numbered):
    """A list of modules, which are parts of whatever module the list is an attribute of."""

    def __init__(self, modules=None):
        super().__init__()
        self._renew(modules or ())

    def __add__(self, other):
        return ModuleList([*self, *other])

    def __iadd__(self, other):
        return self.extend(other)


class ParameterList(Numbered):
    """A list of parameters; tensors and arrays become parameters."""

    kind = Parameter

    def __init__(self, values=None):
        super().__init__()
        self._renew(values or ())

    @property
    def _parts(self):
        return self._parameters

    def _checked(self, part):
        return part if isinstance(part, Parameter) else Parameter(part)

    def extra_repr(self):
        return "\n".join(f"({name}): Parameter of {p.dtype}{p.shape}" for name, p in self._parameters.items())


class ModuleDict(Container):
    """A dict of modules by name."""

    def __init__(self, modules=None):
        super().__init__()
        self.update(modules or {})

    def __getitem__(self, name):
        return self._modules[name]

    def __setitem__(self, name, module):
        if not isinstance(module, Module):
            raise TypeError(f"ModuleDict: {name!r} is a {type(module).__name__}: a Module expected")
        self._modules[self._checked_name(name)] = module

    def __delitem__(self, name):
        del self._modules[name]

    def __len__(self):
        return len(self._modules)

    def __iter__(self):
        return iter(self._modules)

    def __contains__(self, name):
        return name in self._modules

    def keys(self):
        return self._modules.keys()

    def values(self):
        return self._modules.values()

    def items(self):
        return self._modules.items()

    def pop(self, name):
        """Takes a module out and returns it."""
        return self._modules.pop(name)

    def clear(self):
        self._modules.clear()

    def update(self, modules):
        """Adds modules from a dict, or from (name, module) pairs."""
        for name, module in dict(modules).items():
            self[name] = module


class ParameterDict(Container, MutableMapping):
    """A dict of parameters by name, with all that a dict can do; tensors and arrays become parameters.

    Other values are kept as they are and no part of the state. As in PyTorch, the names of a plain dict are taken in
    alphabetic order; pairs, an OrderedDict and a ParameterDict keep theirs. Raises TypeError for a name that is no string.
    """

    __hash__, __eq__ = Module.__hash__, Module.__eq__

    def __init__(self, parameters=None):
        super().__init__()
        self._values = {}  # in order; a parameter's place is _parameters, where all that walks a model looks
        if parameters is not None:
            self.update(parameters)

    def __getitem__(self, name):
        return self._parameters[name] if name in self._parameters else self._values[name]

    def __setitem__(self, name, value):
        if not isinstance(name, str):
            raise TypeError(f"ParameterDict: name {name!r}: a string expected")
        if isinstance(value, (Tensor, ndarray)):
            self._parameters[self._checked_name(name)] = value if isinstance(value, Parameter) else Parameter(value)
            value = None
        else:
            self._parameters.pop(name, None)
        self._values[name] = value

    def __delitem__(self, name):
        del self._values[name]
        self._parameters.pop(name, None)

    def __len__(self):
        return len(self._values)

    def __iter__(self):
        return iter(self._values)

    def __reversed__(self):
        return reversed(self._values)

    def __contains__(self, name):
        return name in self._values

    def keys(self):
        return self._values.keys()

    def copy(self):
        """Another ParameterDict with the same values."""
        return ParameterDict(self.items())

    def fromkeys(self, keys, default=None):
        """A ParameterDict with these names and one value."""
        return ParameterDict((name, default) for name in keys)

    def setdefault(self, name, default=None):
        """The value under a name, which becomes `default` where there is none."""
        if name not in self:
            self[name] = default
        return self[name]

    def popitem(self):
        """Takes out the pair added last and returns it."""
        if not self:
            raise KeyError("ParameterDict.popitem: it is empty")
        name = next(reversed(self))
        return name, self.pop(name)

    def update(self, parameters):
        """Adds values from a dict, or from (name, value) pairs. Raises TypeError and ValueError for what is neither."""
        if isinstance(parameters, Mapping):
            ordered = isinstance(parameters, (OrderedDict, ParameterDict))
            parameters = parameters.items() if ordered else sorted(parameters.items())
        for name, value in parameters:
            self[name] = value

    def __or__(self, other):
        joined = self.copy()
        joined.update(other)
        return joined

    def __ror__(self, other):
        joined = other.copy()
        joined.update(self)
        return joined

    def __ior__(self, other):
        self.update(other)
        return self

    def __call__(self, *args, **kwargs):
        raise RuntimeError("ParameterDict: it holds parameters and cannot be called")

    def extra_repr(self):
        return "\n".join(f"({name}): Parameter of {value.dtype}{value.shape}" if isinstance(value, Parameter)
                         else f"({name}): {type(value).__name__}" for name, value in self.items())


class Sequential(Numbered):
    """Modules one after the other: Sequential(a, b)(x) is b(a(x)). Also Sequential({"first": a, "second": b}).

    A Linear, Conv2d or BatchNorm followed by a ReLU, or one of the last two by a ReLU6, runs as one kernel, which applies it
    while the result is in registers; a MaxPool2d after the ReLU applies it instead, to fewer values: the largest of the ReLUs
    is the ReLU of the largest. So it is neither written to memory and read again nor kept for backward. A MaxPool2d whose
    windows are 2x2 and tile the image becomes part of the Conv2d's kernel. A layer takes part if its `fused_activations` name
    the activation; its forward then has the parameter `activation`. Where one of these modules has hooks they run one by one,
    so that every hook sees what it would in PyTorch. MINIDL_DEBUG=1 shows the kernels that run.
    """

    def __init__(self, *modules):
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], dict):
            self._modules.update((self._checked_name(name), self._checked(module)) for name, module in modules[0].items())
        else:
            self._renew(modules)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return type(self)(dict(list(self._modules.items())[index]))
        return super().__getitem__(index)

    def __delitem__(self, index):
        for name in list(self._modules)[index] if isinstance(index, slice) else [self._key(index)]:
            del self._modules[name]
        if all(name.isdigit() for name in self._modules):
            self._renew(self)

    def append(self, module):
        """Adds a module at the end, under the next free number. Returns this Sequential."""
        number = len(self)
        while str(number) in self._modules:  # a slice keeps the numbers it had
            number += 1
        self._modules[str(number)] = self._checked(module)
        return self

    def extend(self, modules):
        """Adds modules at the end. Returns this Sequential."""
        for module in modules:
            self.append(module)
        return self

    def __add__(self, other):
        return Sequential(*self, *other)

    def __iadd__(self, other):
        return self.extend(list(other))

    def __mul__(self, times):
        """The same modules one after the other, so many times."""
        if not isinstance(times, int) or times < 1:
            raise ValueError(f"Sequential: times {times!r}: a whole number of at least 1 expected")
        return Sequential(*list(self) * times)

    __rmul__ = __mul__

    def __imul__(self, times):
        return self.extend(list(self * times)[len(self):])

    def forward(self, input):
        layers, i = [*self._modules.values(), None, None], 0
        while i < len(self._modules):
            layer, then, last = layers[i:i + 3]
            activation = "relu" if type(then) is ReLU else "relu6" if type(then) is ReLU6 else None
            if not (activation and activation in layer.fused_activations and layer._hooks is None and then._hooks is None):
                input = layer(input)
                i += 1
            elif activation == "relu" and type(last) is MaxPool2d and last._hooks is None and not last.return_indices:
                if type(layer) is Conv2d and layer.groups == 1 and last.halves:
                    input = layer.forward_pooled(input, last.kernel_size, last.stride)
                else:
                    input = last.forward(layer.forward(input), "relu")
                i += 3
            else:
                input = layer.forward(input, activation)
                i += 2
        return input
