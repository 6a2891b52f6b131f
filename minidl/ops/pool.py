"""Pooling of images (N, C, H, W). Sizes are whole numbers or (vertical, horizontal)."""
import numpy as np

from .. import kernels
from ..autograd import op
from ..autograd.waiting import join
from ..kernels.pool import pair
from .index import take_along_axis, where


@op
def max_pool2d_taps(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, activation=None):
    """The largest value of each window and the number of its tap. dL/dx: g at the tap that was the largest.

    activation 'relu': relu of the largest, which is the largest of the relus; where that is 0 no tap is named.
    Shapes: (N, C, H, W) -> twice (N, C, oh, ow).
    """
    return kernels.max_pool2d(x, kernel_size, stride, padding, dilation, ceil_mode, activation)


@max_pool2d_taps.vjp(first=None)
def max_pool2d_taps_vjp(g, y, x_shape, kernel_size, stride, padding, dilation, ceil_mode):
    return max_pool2d_backward(g[0], y[1], x_shape, kernel_size, stride, padding, dilation, ceil_mode)


@op
def max_pool2d_backward(dy, taps, input_shape, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """dx of max_pool2d from dy. d/d(dy): g read at the taps. Shapes: (N, C, oh, ow) -> input_shape."""
    return kernels.max_pool2d_backward(dy, taps, input_shape, kernel_size, stride, padding, dilation, ceil_mode)


@max_pool2d_backward.vjp
def max_pool2d_backward_vjp(g, taps, kernel_size, stride, padding, dilation):
    return read_taps(g, taps, kernel_size, stride, padding, dilation)


def read_taps(g, taps, kernel_size, stride=None, padding=0, dilation=1):
    """What an image g holds at the taps of windows, 0 where a relu cut them."""
    n, c, h, w = g.shape
    none = taps == np.iinfo(taps.dtype).max  # cut by the relu
    at = where(none, 0, positions(taps, w, kernel_size, stride, padding, dilation))
    read = take_along_axis(g.reshape((n, c, h * w)), at.reshape((n, c, -1)), axis=-1).reshape(taps.shape)
    return where(none, 0.0, read)


@op
def positions(taps, width, kernel_size, stride, padding, dilation):
    """Where in its image, row * width + column, each tap lies; no derivative: integers. Shape: (N, C, oh, ow), kept."""
    kernel_size, padding, dilation = (pair("positions", "size", v, 0) for v in (kernel_size, padding, dilation))
    stride = pair("positions", "stride", stride or kernel_size, 1)
    taps = taps.astype(np.int64)
    rows, columns = taps // kernel_size[1], taps % kernel_size[1]
    for place, axis in ((rows, 2), (columns, 3)):
        start = np.arange(taps.shape[axis], like=taps) * stride[axis - 2] - padding[axis - 2]
        place *= dilation[axis - 2]
        place += start.reshape((-1, 1) if axis == 2 else (-1,))
    return rows * width + columns


def max_pool2d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False,
               activation=None):
    """The largest value of each window. dL/dx: g at the place of the largest, the first of equal ones.

    Shapes: (N, C, H, W) -> (N, C, oh, ow), or without N. stride None: kernel_size. ceil_mode: a last window may
    hang over the edge. return_indices: (y, the places, row * W + column, of the largest). activation: None, or 'relu' of the
    result, which is the same as of input. Raises ValueError where no window fits.
    """
    if return_indices and activation:
        raise ValueError("max_pool2d: return_indices and activation: only one of them")
    if input.ndim == 3:
        y = max_pool2d(input[None], kernel_size, stride, padding, dilation, ceil_mode, return_indices, activation)
        return tuple(part[0] for part in y) if return_indices else y[0]
    if not return_indices and activation is None:
        joined = join("max_pool2d", max_pool2d, input, kernel_size, stride, padding, dilation, ceil_mode)
        if joined is not None:
            return joined
    y, taps = max_pool2d_taps(input, kernel_size, stride, padding, dilation, ceil_mode, activation)
    return (y, positions(taps, input.shape[3], kernel_size, stride, padding, dilation)) if return_indices else y


def avg_pool2d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
    """The mean of each window. dL/dx: g spread evenly over its window.

    Shapes: (N, C, H, W) -> (N, C, oh, ow), or without N. stride None: kernel_size. count_include_pad: padding counts as
    zeros. divisor_override: what sums are divided by, instead of by the window's size. Raises ValueError where no window fits.
    """
    if input.ndim == 3:
        return avg_pool2d(input[None], kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)[0]
    return mean_pool2d(input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


@op
def mean_pool2d(x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override):
    """avg_pool2d of (N, C, H, W). dL/dx: g spread evenly over its window. Shapes: (N, C, H, W) -> (N, C, oh, ow)."""
    return kernels.avg_pool2d(x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


@mean_pool2d.vjp
def mean_pool2d_vjp(g, x_shape, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override):
    return mean_pool2d_backward(g, x_shape, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


@op
def mean_pool2d_backward(dy, input_shape, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override):
    """dx of mean_pool2d from dy. d/d(dy) = mean_pool2d(g). Shapes: (N, C, oh, ow) -> input_shape."""
    return kernels.avg_pool2d_backward(dy, input_shape, kernel_size, stride, padding, ceil_mode, count_include_pad,
                                       divisor_override)


@mean_pool2d_backward.vjp
def mean_pool2d_backward_vjp(g, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override):
    return mean_pool2d(g, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


__all__ = ["avg_pool2d", "max_pool2d"]
