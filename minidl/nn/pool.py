"""Pooling layers for sequences (N, C, L), images (N, C, H, W) and volumes (N, C, D, H, W); all also without N.

Sizes are whole numbers, or one for each axis.
"""
from .. import ops
from ..ops.conv_nd import sizes
from ..ops.fractional_pool import fractional_max_pool2d, fractional_max_pool3d
from .module import Module


def _full(name, n, kernel_size, stride, padding):
    """The options as tuples of n numbers, which is how some of PyTorch's layers keep and show them."""
    stride = kernel_size if stride is None else stride
    return (sizes(name, "kernel_size", kernel_size, n, 1), sizes(name, "stride", stride, n, 1),
            sizes(name, "padding", padding, n, 0))


class MaxPooling(Module):
    """The largest value of each window. stride None: kernel_size. return_indices: also where in the input it was.

    The base of MaxPool1d, 2d and 3d.
    """

    def __init__(self, kernel_size, stride=None, padding=0, dilation=1, return_indices=False, ceil_mode=False):
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation, self.ceil_mode, self.return_indices = padding, dilation, ceil_mode, return_indices

    def forward(self, input):
        return self.function(input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode,
                             self.return_indices)

    def extra_repr(self):
        return (f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, dilation={self.dilation}, "
                f"ceil_mode={self.ceil_mode}")


class MaxPool1d(MaxPooling):
    """The largest value of each window of a sequence. return_indices: also where it was."""

    function = staticmethod(ops.max_pool1d)


class MaxPool2d(MaxPooling):
    """The largest value of each window of an image. return_indices: also where it was, row * W + column.

    forward's activation 'relu' is applied to the result.
    """

    @property
    def halves(self):
        """Whether the windows are 2x2 and tile the image."""
        two, none, one = (2, (2, 2)), (0, (0, 0)), (1, (1, 1))
        return (self.kernel_size in two and self.stride in two and self.padding in none and self.dilation in one
                and not self.ceil_mode)

    def forward(self, input, activation=None):
        return ops.max_pool2d(input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode,
                              self.return_indices, activation)


class MaxPool3d(MaxPooling):
    """The largest value of each window of a volume. return_indices: also where it was, (depth * H + row) * W + column."""

    function = staticmethod(ops.max_pool3d)


class MaxUnpooling(Module):
    """The base of MaxUnpool1d, 2d and 3d: zeros with the pooled values at the places that they came from."""

    def __init__(self, kernel_size, stride=None, padding=0):
        super().__init__()
        self.kernel_size, self.stride, self.padding = _full(type(self).__name__, self.axes, kernel_size, stride, padding)

    def forward(self, input, indices, output_size=None):
        return self.function(input, indices, self.kernel_size, self.stride, self.padding, output_size)

    def extra_repr(self):
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(MaxUnpooling):
    """Zeros with the values of a sequence at the places that MaxPool1d(return_indices=True) gave."""

    axes, function = 1, staticmethod(ops.max_unpool1d)


class MaxUnpool2d(MaxUnpooling):
    """Zeros with the values of an image at the places that MaxPool2d(return_indices=True) gave."""

    axes, function = 2, staticmethod(ops.max_unpool2d)


class MaxUnpool3d(MaxUnpooling):
    """Zeros with the values of a volume at the places that MaxPool3d(return_indices=True) gave."""

    axes, function = 3, staticmethod(ops.max_unpool3d)


class AvgPool1d(Module):
    """The mean of each window of a sequence. stride None: kernel_size. count_include_pad: padding counts as zeros."""

    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
        super().__init__()
        self.kernel_size, self.stride, self.padding = _full("AvgPool1d", 1, kernel_size, stride, padding)
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def forward(self, input):
        return ops.avg_pool1d(input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)

    def extra_repr(self):
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(Module):
    """The mean of each window of an image. stride None: kernel_size. count_include_pad: padding counts as zeros.

    divisor_override: a number to divide the sums by, instead of the window's size.
    """

    function = staticmethod(ops.avg_pool2d)

    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.ceil_mode, self.count_include_pad = padding, ceil_mode, count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input):
        return self.function(input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad,
                             self.divisor_override)

    def extra_repr(self):
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool3d(AvgPool2d):
    """The mean of each window of a volume; the options as in AvgPool2d."""

    function = staticmethod(ops.avg_pool3d)


class LPPooling(Module):
    """(The sum of x ** norm_type over each window) ** (1 / norm_type). The base of LPPool1d, 2d and 3d."""

    def __init__(self, norm_type, kernel_size, stride=None, ceil_mode=False):
        super().__init__()
        self.norm_type, self.kernel_size, self.stride, self.ceil_mode = norm_type, kernel_size, stride, ceil_mode

    def forward(self, input):
        return self.function(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)

    def extra_repr(self):
        return (f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, "
                f"ceil_mode={self.ceil_mode}")


class LPPool1d(LPPooling):
    """Power means, times the window's size, of a sequence."""

    function = staticmethod(ops.lp_pool1d)


class LPPool2d(LPPooling):
    """Power means, times the window's size, of an image."""

    function = staticmethod(ops.lp_pool2d)


class LPPool3d(LPPooling):
    """Power means, times the window's size, of a volume."""

    function = staticmethod(ops.lp_pool3d)


class AdaptiveAvgPool1d(Module):
    """Means over output_size windows that cover the sequence."""

    function = staticmethod(ops.adaptive_avg_pool1d)

    def __init__(self, output_size):
        super().__init__()
        self.output_size = output_size

    def forward(self, input):
        return self.function(input, self.output_size)

    def extra_repr(self):
        return f"output_size={self.output_size}"


class AdaptiveAvgPool2d(AdaptiveAvgPool1d):
    """Means over a grid of output_size windows; None in it keeps the image's size."""

    function = staticmethod(ops.adaptive_avg_pool2d)


class AdaptiveAvgPool3d(AdaptiveAvgPool1d):
    """Means over a grid of output_size windows; None in it keeps the volume's size."""

    function = staticmethod(ops.adaptive_avg_pool3d)


class AdaptiveMaxPool1d(Module):
    """The largest of each of output_size windows that cover the sequence. return_indices: also where it was."""

    function = staticmethod(ops.adaptive_max_pool1d)

    def __init__(self, output_size, return_indices=False):
        super().__init__()
        self.output_size, self.return_indices = output_size, return_indices

    def forward(self, input):
        return self.function(input, self.output_size, self.return_indices)

    def extra_repr(self):
        return f"output_size={self.output_size}"


class AdaptiveMaxPool2d(AdaptiveMaxPool1d):
    """The largest of each of a grid of output_size windows. return_indices: also where it was."""

    function = staticmethod(ops.adaptive_max_pool2d)


class AdaptiveMaxPool3d(AdaptiveMaxPool1d):
    """The largest of each of a grid of output_size windows. return_indices: also where it was."""

    function = staticmethod(ops.adaptive_max_pool3d)


class FractionalMaxPool2d(Module):
    """The largest over each of a grid of windows of an image whose places are drawn at random (Graham, 2014).

    output_size, or output_ratio of the image's, between 0 and 1. return_indices: also where it was. _random_samples: numbers
    (N, C, 2) instead of random ones. Raises ValueError unless one of the two is given.
    """

    axes, function = 2, staticmethod(fractional_max_pool2d)

    def __init__(self, kernel_size, output_size=None, output_ratio=None, return_indices=False, _random_samples=None):
        super().__init__()
        name = type(self).__name__
        if (output_size is None) == (output_ratio is None):
            raise ValueError(f"{name}: output_size={output_size}, output_ratio={output_ratio}: one of the two expected")
        self.kernel_size = sizes(name, "kernel_size", kernel_size, self.axes, 1)
        self.output_size = output_size if output_size is None else sizes(name, "output_size", output_size, self.axes, 1)
        self.output_ratio, self.return_indices, self._random_samples = output_ratio, return_indices, _random_samples

    def forward(self, input):
        return self.function(input, self.kernel_size, self.output_size, self.output_ratio, self.return_indices,
                             self._random_samples)


class FractionalMaxPool3d(FractionalMaxPool2d):
    """The largest over each of a grid of windows of a volume whose places are drawn: see FractionalMaxPool2d."""

    axes, function = 3, staticmethod(fractional_max_pool3d)
