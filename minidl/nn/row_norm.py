"""Normalisation of each sample by itself: no batch, no running statistics unless asked for."""
from numbers import Integral

from ..ops import ones, zeros
from . import functional as F
from . import init
from .module import Module
from .norm import BatchNorm
from .parameter import Parameter


class _Affine(Module):
    """A weight of ones and a bias of zeros, or None in their places."""

    def __init__(self, shape, weight, bias, dtype, device):
        super().__init__()
        self.register_parameter("weight", Parameter(ones(shape, dtype=dtype, device=device)) if weight else None)
        self.register_parameter("bias", Parameter(zeros(shape, dtype=dtype, device=device)) if bias else None)

    def reset_parameters(self):
        """Weight 1, bias 0."""
        for parameter, value in ((self.weight, 1), (self.bias, 0)):
            if parameter is not None:
                init.constant_(parameter, value)


def _sizes(normalized_shape):
    return (normalized_shape,) if isinstance(normalized_shape, Integral) else tuple(normalized_shape)


class LayerNorm(_Affine):
    """The last axes with mean 0 and variance 1, times weight, plus bias (Ba, Kiros and Hinton, 2016).

    normalized_shape: the sizes of these axes, or the size of the last. Shape: kept. Raises ValueError for an input that does
    not end in it.
    """

    def __init__(self, normalized_shape, eps=1e-5, elementwise_affine=True, bias=True, device=None, dtype=None):
        self.normalized_shape, self.eps, self.elementwise_affine = _sizes(normalized_shape), eps, elementwise_affine
        super().__init__(self.normalized_shape, elementwise_affine, elementwise_affine and bias, dtype, device)

    def forward(self, input):
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self):
        return (f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
                f"bias={self.bias is not None}")


class RMSNorm(Module):
    """x / sqrt(mean(x**2) + eps) over the last axes, times weight (Zhang and Sennrich, 2019).

    eps None: the spacing of the dtype's numbers at 1. Shape, and ValueError: as LayerNorm.
    """

    def __init__(self, normalized_shape, eps=None, elementwise_affine=True, device=None, dtype=None):
        super().__init__()
        self.normalized_shape, self.eps, self.elementwise_affine = _sizes(normalized_shape), eps, elementwise_affine
        self.register_parameter("weight", Parameter(ones(self.normalized_shape, dtype=dtype, device=device))
                                if elementwise_affine else None)

    def reset_parameters(self):
        """Weight 1."""
        if self.weight is not None:
            init.constant_(self.weight, 1)

    def forward(self, x):
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self):
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class GroupNorm(_Affine):
    """Each of num_groups groups of channels with mean 0 and variance 1, times weight, plus bias (Wu and He, 2018).

    Shape: (N, C, ...), kept. Raises ValueError unless num_groups divides num_channels, and for an input of other channels.
    """

    def __init__(self, num_groups, num_channels, eps=1e-5, affine=True, device=None, dtype=None, *, bias=True):
        if num_groups < 1 or num_channels % num_groups:
            raise ValueError(f"GroupNorm: num_groups={num_groups}, num_channels={num_channels}: a number of groups that "
                             "divides the channels expected")
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        super().__init__(num_channels, affine, affine and bias, dtype, device)

    def forward(self, input):
        if input.ndim < 2 or input.shape[1] != self.num_channels:
            raise ValueError(f"GroupNorm: input {input.shape}: (N, {self.num_channels}, ...) expected")
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self):
        return (f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
                f"bias={self.bias is not None}")


class InstanceNorm(BatchNorm):
    """Each channel of each sample with mean 0 and variance 1, times weight, plus bias (Ulyanov et al., 2016).

    By default there is no weight and no bias, and the statistics are the sample's in training and in evaluation;
    track_running_stats True: in evaluation their running averages. Shape: kept. Raises ValueError for another number of axes.
    """

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=False, track_running_stats=False, device=None, dtype=None,
                 *, bias=True):
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def forward(self, input):
        if input.ndim == self.axes[0] - 1:
            return self(input[None])[0]
        self.check(input)
        return F.instance_norm(input, self.running_mean, self.running_var, self.weight, self.bias,
                               self.training or self.running_mean is None, self.momentum or 0.0, self.eps)


class InstanceNorm1d(InstanceNorm):
    __doc__ = f"For (N, C, L) or (C, L). {InstanceNorm.__doc__}"
    axes = (3,)


class InstanceNorm2d(InstanceNorm):
    __doc__ = f"For images (N, C, H, W) or (C, H, W). {InstanceNorm.__doc__}"
    axes = (4,)


class InstanceNorm3d(InstanceNorm):
    __doc__ = f"For volumes (N, C, D, H, W) or (C, D, H, W). {InstanceNorm.__doc__}"
    axes = (5,)
