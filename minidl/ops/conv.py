"""Convolution and its gradients, which are convolutions again: the derivatives of the three lead to one another.

Letters and layouts: kernels/conv2d. Images are (N, C, H, W), weights (O, C/groups, kh, kw); memory is channels-last.
"""
from .. import kernels
from ..autograd import op
from ..autograd.tensor import Fields
from ..autograd.waiting import wait
from ..kernels.conv2d import geometry, whole
from . import joining
from .hard_activation import sloped
from .linear import dtypes_differ, require_arrays
from .pool import max_pool2d_backward, read_taps
from .shape import broadcast_to


@op
def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, activation=None):
    """activation(x * weight + bias) in one kernel: cross-correlation, as PyTorch's conv2d.

    d/dx = conv2d_backward_data, d/dweight = conv2d_backward_weight, d/dbias = sum over images and pixels.
    Shapes: x (N, C, H, W), weight (O, C/groups, kh, kw), bias (O,) -> (N, O, oh, ow). stride, padding, dilation: whole
    numbers or (vertical, horizontal). activation: None, 'relu' or 'relu6'. Raises ValueError where shapes do not fit,
    TypeError where dtypes differ.
    """
    require_arrays("conv2d", x, weight)
    if x.dtype != weight.dtype:
        raise TypeError(dtypes_differ("conv2d", x, weight))
    return kernels.conv2d(x, weight, bias, stride, padding, dilation, groups, activation)


@conv2d.vjp(x="weight", weight="x", y="activation")
def conv2d_vjp(g, y, x, weight, x_shape, weight_shape, stride, padding, dilation, groups, activation, need):
    if activation:
        g = sloped(g, y, activation)
    window = stride, padding, dilation, groups
    dx = conv2d_backward_data(g, weight, x_shape, *window) if need[0] else None
    if not need[1]:
        return dx, None, g.sum(axis=(0, 2, 3)) if need[2] else None
    return dx, *conv2d_backward_weight(g, x, weight_shape, *window)


def conv2d_waits(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, activation=None):
    """A ReLU or ReLU6 becomes the kernel's activation, and pooling part of the kernel where there are no groups."""
    if activation or not (isinstance(weight, Fields) and hasattr(x, "ndim")):
        return None
    window = stride, padding, dilation, groups
    _, shape = geometry(x.shape, weight.held.shape, *whole(*window))
    if bias is not None and bias.shape != shape[1:2]:
        return None  # conv2d says what is wrong

    def head(x, activation=None, pool=False):
        if pool:
            return conv2d_max_pool2d_taps.run((x, weight, bias, *window, 2, None, activation))[0]
        return conv2d.run((x, weight, bias, *window, activation))
    return wait(shape, x, (weight, bias), JOIN if groups == 1 else JOIN_GROUPS, head)


JOIN_GROUPS = {"relu": joining.relu, "hardtanh": joining.hardtanh}
JOIN = {**JOIN_GROUPS, "max_pool2d": joining.max_pool2d}
conv2d.waits = conv2d_waits


@op
def conv2d_max_pool2d_taps(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, kernel_size=2, pool_stride=None,
                           activation=None):
    """max_pool2d_taps(conv2d(...)) in one kernel: the unpooled result never reaches memory. Derivatives: theirs in turn.

    Shapes: x (N, C, H, W), weight (O, C/groups, kh, kw), bias (O,) -> twice (N, O, ph, pw).
    """
    return kernels.conv2d_max_pool2d(x, weight, bias, stride, padding, dilation, groups, kernel_size, pool_stride, activation)


@conv2d_max_pool2d_taps.vjp(x="weight", weight="x", first=None)
def conv2d_max_pool2d_taps_vjp(g, y, x, weight, x_shape, weight_shape, stride, padding, dilation, groups, kernel_size,
                               pool_stride, need):
    g, taps = g[0], y[1]
    if kernel_size not in (2, (2, 2)) or pool_stride not in (None, 2, (2, 2)) or not need[1]:
        _, unpooled = geometry(x_shape, weight_shape, stride, padding, dilation, groups)
        g, taps = max_pool2d_backward(g, taps, unpooled, kernel_size, pool_stride), None
    window = stride, padding, dilation, groups, taps
    dx = conv2d_backward_data(g, weight, x_shape, *window) if need[0] else None
    if not need[1]:
        return dx, None, g.sum(axis=(0, 2, 3)) if need[2] else None
    return dx, *conv2d_backward_weight(g, x, weight_shape, *window)


def conv2d_max_pool2d(x, weight, bias=None, window=(1, 0, 1, 1), kernel_size=2, pool_stride=None):
    """max_pool2d(relu(conv2d(x, weight, bias, *window)), kernel_size, pool_stride): derivatives and shapes are theirs.

    window: stride, padding, dilation and groups of the convolution. Raises as conv2d does.
    """
    require_arrays("conv2d", x, weight)
    if x.dtype != weight.dtype:
        raise TypeError(dtypes_differ("conv2d", x, weight))
    return conv2d_max_pool2d_taps(x, weight, bias, *window, kernel_size, pool_stride, "relu")[0]


@op
def conv2d_backward_data(dy, weight, input_shape, stride=1, padding=0, dilation=1, groups=1, taps=None):
    """dx of conv2d from dy. d/d(dy) = conv2d(g, weight), d/dweight = conv2d_backward_weight(dy, g).

    Shapes: dy (N, O, oh, ow), weight (O, C/groups, kh, kw) -> input_shape = (N, C, H, W). taps: of the maxima of 2x2 windows,
    whose gradient dy then is: (N, O, oh/2, ow/2).
    """
    return kernels.conv2d_backward_data(dy, weight, input_shape, stride, padding, dilation, groups, taps)


@conv2d_backward_data.vjp
def conv2d_backward_data_vjp(g, dy, weight, stride, padding, dilation, groups, taps, need):
    window = stride, padding, dilation, groups
    return (at_taps(conv2d(g, weight, None, *window), taps) if need[0] else None,
            conv2d_backward_weight(dy, g, weight.shape, *window, taps)[0] if need[1] else None)


@op
def conv2d_backward_weight(dy, x, weight_shape, stride=1, padding=0, dilation=1, groups=1, taps=None):
    """dweight and dbias of conv2d from dy. d/d(dy) = conv2d(x, g of dweight, g of dbias), d/dx = conv2d_backward_data(dy, g).

    Shapes: dy (N, O, oh, ow), x (N, C, H, W) -> weight_shape = (O, C/groups, kh, kw), (O,). taps: as in conv2d_backward_data.
    """
    return kernels.conv2d_backward_weight(dy, x, weight_shape, stride, padding, dilation, groups, taps)


@conv2d_backward_weight.vjp
def conv2d_backward_weight_vjp(g, dy, x, weight_shape, stride, padding, dilation, groups, taps, need):
    window = stride, padding, dilation, groups
    by_weight, by_bias = g
    if by_weight is None:
        _, shape = geometry(x.shape, weight_shape, *window)
        return at_taps(broadcast_to(by_bias.reshape((-1, 1, 1)), shape), taps) if need[0] else None, None
    return (at_taps(conv2d(x, by_weight, by_bias, *window), taps) if need[0] else None,
            conv2d_backward_data(dy, by_weight, x.shape, *window, taps) if need[1] else None)


def at_taps(y, taps):
    """y of every pixel, or at the taps of 2x2 windows."""
    return y if taps is None else read_taps(y, taps, 2)


__all__ = ["conv2d"]
