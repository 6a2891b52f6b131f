"""Convolution of sequences and volumes, and transposed convolution."""
from ..ops import conv1d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d, empty, permute_dims
from ..ops.conv_nd import BORDERS, add_border, resolve_padding, sizes
from . import init
from .linear import check_sizes
from .module import Module
from .parameter import Parameter

MEMORY = {1: (0,), 2: (0, 1), 3: (1, 2, 0)}  # the order of a weight's window axes in memory, before its channels


class ConvNd(Module):
    """What convolutions have in common: options, parameters, initial values (PyTorch's), text."""

    def _set_up(self, in_channels, out_channels, groups, padding_mode, device, dtype, bias, weight_channels, **windows):
        """Checks and keeps the options; makes the parameters. weight_channels: the weight's first two sizes."""
        name = type(self).__name__
        check_sizes(name, in_channels=in_channels, out_channels=out_channels)
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(f"{name}: groups={groups}: a divisor of in_channels={in_channels} and "
                             f"out_channels={out_channels} expected")
        self.in_channels, self.out_channels, self.groups, self.padding_mode = in_channels, out_channels, groups, padding_mode
        for option, value in windows.items():
            padding = option.endswith("padding")
            value = value if isinstance(value, str) else sizes(name, option, value, self.axes, 0 if padding else 1)
            setattr(self, option, value)
        first, second = weight_channels
        n = self.axes
        order = MEMORY[n]
        memory = empty((*[self.kernel_size[i] for i in order], second, first), dtype=dtype, device=device)
        self.weight = Parameter(permute_dims(memory, (n + 1, n, *[order.index(i) for i in range(n)])))
        self.register_parameter("bias", Parameter(empty((out_channels,), dtype=dtype, device=device)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self):
        """Draws new initial values."""
        init.default_(self.weight, self.bias)

    def extra_repr(self):
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        for option, usual in (("padding", 0), ("dilation", 1), ("output_padding", 0)):
            value = getattr(self, option, (usual,))
            if value != (usual,) * len(value):
                text += f", {option}={value}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        return text if self.padding_mode == "zeros" else text + f", padding_mode={self.padding_mode}"


class Convolution(ConvNd):
    """The base of Conv1d and Conv3d.

    kernel_size, stride, padding, dilation: whole numbers, or one for each axis; padding also 'same' or 'valid'.
    padding_mode: what is around the input: 'zeros', 'reflect', 'replicate' or 'circular'. Initial values: PyTorch's.
    Raises ValueError for shapes that do not fit, TypeError for an input of another dtype.
    """

    fused_activations = ("relu",)

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True,
                 padding_mode="zeros", device=None, dtype=None):
        super().__init__()
        name = type(self).__name__
        if padding_mode not in BORDERS:
            raise ValueError(f"{name}: padding_mode={padding_mode!r}: one of {', '.join(map(repr, BORDERS))} expected")
        self._set_up(in_channels, out_channels, groups, padding_mode, device, dtype, bias,
                     (out_channels, in_channels // max(groups, 1)), kernel_size=kernel_size, stride=stride, padding=padding,
                     dilation=dilation)
        self._ends = resolve_padding(name, self.padding, self.kernel_size, self.stride, self.dilation)

    def forward(self, input, activation=None):
        padding = self.padding
        if self.padding_mode != "zeros":
            input, padding = add_border(type(self).__name__, input, self._ends, self.padding_mode), 0
        return self.function(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups, activation)


class Conv1d(Convolution):
    """Convolution of sequences. Shapes: (N, C, L) -> (N, O, ol), or without N; weight (O, C/groups, k), bias (O,)."""

    axes, function = 1, staticmethod(conv1d)


class Conv3d(Convolution):
    """Convolution of volumes. Shapes: (N, C, D, H, W) -> (N, O, od, oh, ow), or without N; weight (O, C/groups, kd, ...)."""

    axes, function = 3, staticmethod(conv3d)


class TransposedConvolution(ConvNd):
    """The base of ConvTranspose1d, 2d and 3d: the derivative of a convolution by its input, as a layer.

    kernel_size, stride, padding, output_padding, dilation: whole numbers, or one for each axis. forward's output_size, the
    sizes of the result, chooses among those that a stride leaves open. Initial values: PyTorch's.
    Raises ValueError for shapes that do not fit, TypeError for an input of another dtype.
    """

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, output_padding=0, groups=1, bias=True,
                 dilation=1, padding_mode="zeros", device=None, dtype=None):
        super().__init__()
        if padding_mode != "zeros":
            raise ValueError(f"{type(self).__name__}: padding_mode={padding_mode!r}: 'zeros' expected")
        self._set_up(in_channels, out_channels, groups, padding_mode, device, dtype, bias,
                     (in_channels, out_channels // max(groups, 1)), kernel_size=kernel_size, stride=stride, padding=padding,
                     dilation=dilation, output_padding=output_padding)

    def forward(self, input, output_size=None):
        extra = self.output_padding if output_size is None else self._choose(input, tuple(output_size))
        return self.function(input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation)

    def _choose(self, x, output_size):
        """The output_padding that gives output_size, with or without (N, C) before it."""
        n = self.axes
        wanted = output_size[-n:]
        least = [(size - 1) * s - 2 * p + d * (k - 1) + 1 for size, s, p, d, k in
                 zip(x.shape[-n:], self.stride, self.padding, self.dilation, self.kernel_size)]
        if len(output_size) not in (n, x.ndim) or not all(0 <= w - a < s for w, a, s in zip(wanted, least, self.stride)):
            raise ValueError(f"{type(self).__name__}: output_size={output_size}: {n} sizes from {tuple(least)} to "
                             f"{tuple(a + s - 1 for a, s in zip(least, self.stride))} expected")
        return tuple(w - a for w, a in zip(wanted, least))


class ConvTranspose1d(TransposedConvolution):
    """Transposed convolution of sequences. Shapes: (N, C, L) -> (N, O, ol), or without N; weight (C, O/groups, k)."""

    axes, function = 1, staticmethod(conv_transpose1d)


class ConvTranspose2d(TransposedConvolution):
    """Transposed convolution of images. Shapes: (N, C, H, W) -> (N, O, oh, ow), or without N; weight (C, O/groups, kh, kw)."""

    axes, function = 2, staticmethod(conv_transpose2d)


class ConvTranspose3d(TransposedConvolution):
    """Transposed convolution of volumes. Shapes: (N, C, D, H, W) -> (N, O, od, oh, ow), or without N."""

    axes, function = 3, staticmethod(conv_transpose3d)
