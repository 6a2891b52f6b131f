"""Layers that learn the size of their input from the first one they see, and are ordinary layers from then on."""
from .conv import Conv2d
from .conv_nd import Conv1d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from .linear import Linear
from .module import Module
from .norm import BatchNorm1d, BatchNorm2d, BatchNorm3d
from .parameter import Parameter
from .row_norm import InstanceNorm1d, InstanceNorm2d, InstanceNorm3d


class UninitializedParameter(Parameter):
    """A parameter whose shape is not known yet. It stays the same object when it gets one: optimizers may hold it already."""

    @property
    def shape(self):
        raise RuntimeError("shape: a parameter of a lazy module has none before the module has seen an input: call it once, "
                           "or load_state_dict")

    def materialize(self, values):
        """Takes over values, in the dtype that it has, and is an ordinary parameter."""
        self.data = values.detach().to(self.dtype)
        self.__class__ = Parameter


class Lazy(Module):
    """What lazy layers share. One is also of the class, its last base, that it becomes at the first call or when a state dict
    is loaded: cls_to_become. Its options are that layer's without the first, the size of the input.
    """

    cls_to_become = None

    def __init_subclass__(cls):
        *shared, layer = cls.__bases__
        if shared:
            cls.cls_to_become = layer
            cls.__doc__ = f"The size of the input is that of the first one. {layer.__doc__}"

    def __init__(self, *args, **kwargs):
        super().__init__(0, *args, **kwargs)
        self._made_by = args, kwargs
        for name, parameter in self._parameters.items():
            if parameter is not None:
                self._register(self._parameters, name, UninitializedParameter(parameter.detach()))
        self._load_hook = self.register_load_state_dict_pre_hook(before_loading)

    def has_uninitialized_params(self):
        """Whether it still waits for an input."""
        return True

    def forward(self, input, *args, **kwargs):
        self.initialize_parameters(input)
        return self.forward(input, *args, **kwargs)  # cls_to_become's

    def initialize_parameters(self, input):
        """Becomes the ordinary layer for such an input."""
        self.become(self.size_of(input))

    def become(self, size):
        """Becomes the ordinary layer for inputs of a size, with initial values. Parameters stay the same objects."""
        args, kwargs = self._made_by
        made = self.cls_to_become(size, *args, **kwargs)
        for name, parameter in self._parameters.items():
            if parameter is not None:
                parameter.materialize(made._parameters[name])
        for name, buffer in self._buffers.items():
            if buffer is not None:
                setattr(self, name, made._buffers[name].to(buffer.dtype))
        kept = {"_parameters", "_buffers", "_modules", "_transient", *self._parameters, *self._buffers}
        vars(self).update((name, value) for name, value in vars(made).items() if name not in kept)
        self._load_hook.remove()
        del self._made_by, self._load_hook
        self.__class__ = self.cls_to_become

    def size_of(self, input):
        """The size that is inferred, of an input."""
        return input.shape[1]

    def size_in(self, weight):
        """The size that is inferred, of the layer's weight."""
        return weight.shape[1]


def before_loading(module, state_dict, prefix, *_):
    """Gives a lazy layer the size of what is loaded into it."""
    for name in ("weight", "running_mean"):
        if prefix + name in state_dict:
            module.become(module.size_in(state_dict[prefix + name]))
            break


class LazyLinear(Lazy, Linear):
    def size_of(self, input):
        return input.shape[-1]


class LazyConvolution(Lazy):
    """The base of lazy convolutions: in_channels is that of the first input, with or without a batch axis."""

    def size_of(self, input):
        return input.shape[-1 - len(self.kernel_size)]

    def size_in(self, weight):
        return weight.shape[1] * self.groups


class LazyConv1d(LazyConvolution, Conv1d):
    pass


class LazyConv2d(LazyConvolution, Conv2d):
    pass


class LazyConv3d(LazyConvolution, Conv3d):
    pass


class LazyTransposedConvolution(LazyConvolution):
    """The same for transposed convolutions, whose weight has in_channels first."""

    def size_in(self, weight):
        return weight.shape[0]


class LazyConvTranspose1d(LazyTransposedConvolution, ConvTranspose1d):
    pass


class LazyConvTranspose2d(LazyTransposedConvolution, ConvTranspose2d):
    pass


class LazyConvTranspose3d(LazyTransposedConvolution, ConvTranspose3d):
    pass


class LazyNorm(Lazy):
    """The base of lazy norms: num_features is the channels of the first input."""

    def size_in(self, weight):
        return weight.shape[0]


class LazyBatchNorm1d(LazyNorm, BatchNorm1d):
    pass


class LazyBatchNorm2d(LazyNorm, BatchNorm2d):
    pass


class LazyBatchNorm3d(LazyNorm, BatchNorm3d):
    pass


class LazyInstanceNorm(LazyNorm):
    """Inputs may come without a batch axis. As in PyTorch, weight, bias and running statistics are there by default."""

    def __init__(self, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True, device=None, dtype=None):
        super().__init__(eps, momentum, affine, track_running_stats, device, dtype)

    def size_of(self, input):
        return input.shape[1 if input.ndim == self.axes[0] else 0]


class LazyInstanceNorm1d(LazyInstanceNorm, InstanceNorm1d):
    pass


class LazyInstanceNorm2d(LazyInstanceNorm, InstanceNorm2d):
    pass


class LazyInstanceNorm3d(LazyInstanceNorm, InstanceNorm3d):
    pass
