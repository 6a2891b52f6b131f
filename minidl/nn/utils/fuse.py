"""Batch norms in evaluation as part of the convolution or linear layer before them: both are linear, and so is their chain."""
from copy import deepcopy

from ...autograd import no_grad
from ...ops import ones_like, reshape, sqrt, zeros_like
from ..parameter import Parameter

__all__ = ["fuse_conv_bn_eval", "fuse_conv_bn_weights", "fuse_linear_bn_eval", "fuse_linear_bn_weights"]


def fuse_conv_bn_eval(conv, bn, transpose=False):
    """A convolution, a copy, that computes bn(conv(x)) by bn's running statistics. transpose: conv is a transposed one.

    Raises ValueError unless both are in evaluation mode and bn keeps statistics.
    """
    return fused("fuse_conv_bn_eval", conv, bn, fuse_conv_bn_weights, transpose)


def fuse_linear_bn_eval(linear, bn):
    """A linear layer, a copy, that computes bn(linear(x)) by bn's running statistics.

    Raises ValueError unless both are in evaluation mode, bn keeps statistics and has as many features as linear gives.
    """
    if linear.out_features != bn.num_features:
        raise ValueError(f"fuse_linear_bn_eval: linear gives {linear.out_features} features, bn has {bn.num_features}: the "
                         "same number expected")
    return fused("fuse_linear_bn_eval", linear, bn, fuse_linear_bn_weights)


def fused(name, layer, bn, weights, *options):
    """A copy of the layer with weight and bias by `weights`."""
    if layer.training or bn.training or bn.running_mean is None:
        raise ValueError(f"{name}: both modules in evaluation mode, and running statistics, expected")
    copy = deepcopy(layer)
    copy.weight, copy.bias = weights(layer.weight, layer.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias,
                                     *options)
    return copy


@no_grad()
def fuse_conv_bn_weights(conv_w, conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, transpose=False):
    """The weight and bias, parameters, of a convolution that does what a convolution and a batch norm behind it do.

    conv_b, bn_w, bn_b: None where absent. transpose: the weight is (in, out, ...), not (out, in, ...).
    """
    scale = (ones_like(bn_rm) if bn_w is None else bn_w) / sqrt(bn_rv + bn_eps)
    shift = (zeros_like(bn_rm) if conv_b is None else conv_b) - bn_rm
    bias = shift * scale if bn_b is None else shift * scale + bn_b
    along = [-1 if axis == int(transpose) else 1 for axis in range(conv_w.ndim)]
    return (Parameter((conv_w * reshape(scale, along)).astype(conv_w.dtype), conv_w.requires_grad),
            Parameter(bias.astype(conv_w.dtype), conv_w.requires_grad if conv_b is None else conv_b.requires_grad))


def fuse_linear_bn_weights(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b):
    """The weight and bias, parameters, of a linear layer that does what one and a batch norm behind it do."""
    return fuse_conv_bn_weights(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b)
