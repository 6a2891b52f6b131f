"""PyTorch's convolutions and pooling as peers, in both of its layouts: see peers.py."""
from .peers import both_layouts, pair


@both_layouts("conv2d")
def torch_conv2d(torch, lay, x, weight, bias=None, activation=None, residual=None, **window):
    x, weight = lay(x), lay(weight)
    residual = None if residual is None else lay(residual)

    def call():
        y = torch.conv2d(x, weight, bias, **window)
        y = y if residual is None else y.add_(residual)
        return y.relu_() if activation else y
    return call


@both_layouts("conv2d_max_pool2d")
def torch_conv2d_max_pool2d(torch, lay, x, weight, bias=None, kernel_size=2, pool_stride=None, activation="relu", **window):
    x, weight = lay(x), lay(weight)
    size, step = pair(kernel_size), pair(pool_stride or kernel_size)

    def call():
        y = torch.conv2d(x, weight, bias, **window)
        y, _ = torch.ops.aten.max_pool2d_with_indices(y.relu_() if activation else y, size, step)
        return y, None
    return call


def convolution_backward(torch, g, x, weight, options, mask):
    """PyTorch's gradients (dx, dw, db), those that mask asks for."""
    stride, padding, dilation = (pair(options.get(k, v)) for k, v in (("stride", 1), ("padding", 0), ("dilation", 1)))
    return torch.ops.aten.convolution_backward(g, x, weight, [weight.shape[0]], stride, padding, dilation, False, [0, 0],
                                               options.get("groups", 1), mask)


def of_pixels(torch, lay, g, taps, options, x, weight):
    """A call that gives the gradient of a convolution's pixels: g, or what PyTorch's pooling by 2x2 windows makes of it."""
    if taps is None:
        return lambda: g
    stride, padding, dilation = (pair(options.get(k, v)) for k, v in (("stride", 1), ("padding", 0), ("dilation", 1)))
    y = torch.nn.functional.conv2d(x, weight, None, stride, padding, dilation, options.get("groups", 1))
    return unpooling(torch, lay, g, taps, y.shape, (2, 2, 0, 1))


@both_layouts("conv2d_backward_data")
def torch_backward_data(torch, lay, g, weight, input_shape, taps=None, **options):
    g, weight, x = lay(g), lay(weight), lay(torch.empty(tuple(input_shape), dtype=g.dtype))
    g = of_pixels(torch, lay, g, taps, options, x, weight)
    return lambda: convolution_backward(torch, g(), x, weight, options, [True, False, False])[0]


@both_layouts("conv2d_backward_weight")
def torch_backward_weight(torch, lay, g, x, weight_shape, taps=None, **options):
    g, x, weight = lay(g), lay(x), lay(torch.empty(tuple(weight_shape), dtype=x.dtype))
    g = of_pixels(torch, lay, g, taps, options, x, weight)
    return lambda: convolution_backward(torch, g(), x, weight, options, [False, True, True])[1:]


@both_layouts("max_pool2d")
def torch_max_pool2d(torch, lay, x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, activation=None):
    x = lay(x)

    def call():
        y, _ = torch.ops.aten.max_pool2d_with_indices(x, pair(kernel_size), pair(stride or kernel_size), pair(padding),
                                                      pair(dilation), ceil_mode)
        return (y.relu_() if activation else y), None
    return call


@both_layouts("avg_pool2d")
def torch_avg_pool2d(torch, lay, x, *window, **options):
    x = lay(x)
    return lambda: torch.nn.functional.avg_pool2d(x, *window, **options)


@both_layouts("avg_pool2d_backward")
def torch_avg_pool2d_backward(torch, lay, g, input_shape, kernel_size, stride=None, padding=0, ceil_mode=False,
                              count_include_pad=True, divisor_override=None):
    g, x = lay(g), lay(torch.empty(tuple(input_shape), dtype=g.dtype))
    return lambda: torch.ops.aten.avg_pool2d_backward(g, x, pair(kernel_size), pair(stride or kernel_size), pair(padding),
                                                      ceil_mode, count_include_pad, divisor_override)


@both_layouts("max_pool2d_backward")
def torch_max_pool2d_backward(torch, lay, g, index, input_shape, kernel_size, stride=None, padding=0, dilation=1,
                              ceil_mode=False):
    return unpooling(torch, lay, g, index, input_shape, (kernel_size, stride or kernel_size, padding, dilation), ceil_mode)


def unpooling(torch, lay, g, index, input_shape, window, ceil_mode=False):
    """PyTorch's derivative of max pooling, from the taps of the maxima."""
    (_, kw), s, p, d = window = [pair(v) for v in window]
    rows, columns = (torch.arange(n) * s[i] - p[i] for i, n in enumerate(g.shape[2:]))
    tap = index.long()
    at = (rows[:, None] + tap // kw * d[0]) * input_shape[3] + columns + tap % kw * d[1]
    cut = tap == torch.iinfo(index.dtype).max  # by a relu: nothing flows back
    g, at, x = lay(g.masked_fill(cut, 0)), lay(at.masked_fill(cut, 0)), lay(torch.empty(tuple(input_shape), dtype=g.dtype))
    return lambda: torch.ops.aten.max_pool2d_with_indices_backward(g, x, *window, ceil_mode, at)
