"""Convolutional layers."""
from ..ops import conv2d, empty, pad, permute_dims
from ..ops.conv import conv2d_max_pool2d
from ..ops.conv_nd import BORDERS, add_border
from . import init
from .linear import check_sizes
from .module import Module
from .parameter import Parameter


def pair(name, value, least=1):
    """(vertical, horizontal) from a whole number or a pair of them, each at least `least`."""
    both = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(both) != 2 or not all(isinstance(v, int) and v >= least for v in both):
        raise ValueError(f"Conv2d: {name}={value!r}: a whole number of at least {least}, or a pair of them, expected")
    return both


def resolve_padding(padding, kernel_size, stride, dilation):
    """The padding on both sides as a pair, and what 'same' adds below and to the right of an even window."""
    if not isinstance(padding, str):
        return pair("padding", padding, 0), (0, 0)
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding != "same":
        raise ValueError(f"conv2d: padding={padding!r}: whole numbers, 'valid' or 'same' expected")
    if stride != (1, 1):
        raise ValueError(f"conv2d: padding='same' with stride={stride}: stride 1 expected")
    total = [d * (k - 1) for k, d in zip(kernel_size, dilation)]
    return tuple(t // 2 for t in total), tuple(t % 2 for t in total)


def pad_end(x, extra):
    """x with `extra` rows below and columns to the right."""
    return pad(x, ((0, 0),) * (x.ndim - 2) + ((0, extra[0]), (0, extra[1])))


class Conv2d(Module):
    """Convolution of images. Shapes: (N, C, H, W) -> (N, O, oh, ow), or without N; weight (O, C/groups, kh, kw), bias (O,).

    kernel_size, stride, padding, dilation: whole numbers or (vertical, horizontal); padding also 'same' or 'valid'.
    padding_mode: what is around the image: 'zeros', 'reflect', 'replicate' or 'circular'.
    The weight's memory is in the order kh, kw, C/groups, O, as the kernels read it. Initial values: PyTorch's.
    Raises ValueError for shapes that do not fit, TypeError for an input of another dtype.
    """

    fused_activations = ("relu", "relu6")

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True,
                 padding_mode="zeros", device=None, dtype=None):
        super().__init__()
        check_sizes("Conv2d", in_channels=in_channels, out_channels=out_channels)
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(f"Conv2d: groups={groups}: a divisor of in_channels={in_channels} and "
                             f"out_channels={out_channels} expected")
        if padding_mode not in BORDERS:
            raise ValueError(f"Conv2d: padding_mode={padding_mode!r}: one of {', '.join(map(repr, BORDERS))} expected")
        self.in_channels, self.out_channels, self.groups, self.padding_mode = in_channels, out_channels, groups, padding_mode
        self.kernel_size, self.stride = pair("kernel_size", kernel_size), pair("stride", stride)
        self.dilation = pair("dilation", dilation)
        self._both, self._end = resolve_padding(padding, self.kernel_size, self.stride, self.dilation)
        self.padding = padding if isinstance(padding, str) else self._both
        if padding_mode != "zeros":  # forward makes the border itself
            self._border = tuple((p, p + e) for p, e in zip(self._both, self._end))
            self._both = self._end = (0, 0)
        memory = empty((*self.kernel_size, in_channels // groups, out_channels), dtype=dtype, device=device)
        self.weight = Parameter(permute_dims(memory, (3, 2, 0, 1)))
        self.register_parameter("bias", Parameter(empty((out_channels,), dtype=dtype, device=device)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self):
        """Draws new initial values."""
        init.default_(self.weight, self.bias)

    def forward(self, input, activation=None):
        if getattr(input, "ndim", None) == 3:
            return self.forward(input[None], activation)[0]
        input = self._padded(input)
        return conv2d(input, self.weight, self.bias, self.stride, self._both, self.dilation, self.groups, activation)

    def forward_pooled(self, input, kernel_size, stride):
        """Maximum pooling of relu(forward(x)) in one kernel, which never writes the convolution's own result to memory."""
        if getattr(input, "ndim", None) == 3:
            return self.forward_pooled(input[None], kernel_size, stride)[0]
        window = self.stride, self._both, self.dilation, self.groups
        return conv2d_max_pool2d(self._padded(input), self.weight, self.bias, window, kernel_size, stride)

    def _padded(self, x):
        """x with what of its border the kernel does not add."""
        if self.padding_mode != "zeros":
            x = add_border("Conv2d", x, self._border, self.padding_mode)
        return pad_end(x, self._end) if self._end != (0, 0) else x

    def extra_repr(self):
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding != (0, 0):
            text += f", padding={self.padding}"
        if self.dilation != (1, 1):
            text += f", dilation={self.dilation}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        return text if self.padding_mode == "zeros" else text + f", padding_mode={self.padding_mode}"
