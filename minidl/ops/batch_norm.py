"""Batch normalisation over the channels, axis 1 (Ioffe and Szegedy, 2015)."""
from .. import kernels
from ..autograd import op
from ..autograd.waiting import wait
from . import joining
from .arithmetic import sqrt
from .hard_activation import sloped


def normalized_axes(x):
    """All axes but the channels', and the shape that lays a vector along the channels."""
    return (0, *range(2, x.ndim)), (1, -1) + (1,) * (x.ndim - 2)


@op
def batch_norm_given(x, weight, bias, mean, var, eps=1e-5):
    """(x - mean) r weight + bias with given statistics and r = 1 / sqrt(var + eps).

    d/dx = r weight, d/dweight = sum of g (x - mean) r, d/dbias = sum of g, d/dmean = -r weight sum of g,
    d/dvar = -r**3 / 2 weight sum of g (x - mean). Shapes: x (N, C, ...), the rest (C,); weight and bias may be None.
    """
    return kernels.batch_norm(x, weight, bias, mean, var, eps)


@batch_norm_given.vjp
def batch_norm_given_vjp(g, x, weight, mean, var, eps, need):
    axes, along = normalized_axes(x)
    r = 1 / sqrt(var + eps)
    scale = r if weight is None else r * weight
    sums = g.sum(axis=axes) if need[2] or need[3] else None
    products = (g * (x - mean.reshape(along))).sum(axis=axes) if need[1] or need[4] else None
    return (g * scale.reshape(along) if need[0] else None, products * r if need[1] else None, sums if need[2] else None,
            -scale * sums if need[3] else None, -0.5 * scale * r * r * products if need[4] else None)


@op
def batch_norm_train(x, weight=None, bias=None, eps=1e-5, activation=None, residual=None):
    """x normalised by its own mean and variance in each channel, then scaled and shifted; and these statistics.

    activation 'relu' or 'relu6': the first result is that of itself + residual, in the same pass. dL/dx, dweight, dbias =
    batch_norm_backward, dL/dresidual = dL/dy where the activation has a slope. Shapes: x (N, C, ...), weight and bias (C,) or
    None, residual as x or None -> y (N, C, ...), and mean, var (of all the values), r = 1 / sqrt(var + eps), each (C,).
    """
    return kernels.batch_norm_train(x, weight, bias, eps, activation, residual)


@batch_norm_train.vjp(first="activation")
def batch_norm_train_vjp(g, y, x, weight, activation, need):
    dy, dmean, dvar, dr = g
    mean, r = y[1], y[3]
    dx = dweight = dbias = dresidual = None
    if dy is not None:
        out = y[0] if activation else None
        if need[5]:
            dy = dresidual = sloped(dy, out, activation)
            out = None
        dx, dweight, dbias = batch_norm_backward(dy, x, mean, r, weight, out, activation)
    if need[0] and (dmean is not None or dvar is not None or dr is not None):
        along = normalized_axes(x)[1]
        count = x.size // mean.size
        if dr is not None:  # r = (var + eps)**(-1/2)
            dvar = -0.5 * dr * r * r * r if dvar is None else dvar - 0.5 * dr * r * r * r
        extra = 0.0 if dmean is None else dmean.reshape(along) / count
        if dvar is not None:
            extra = extra + (x - mean.reshape(along)) * (dvar.reshape(along) * (2 / count))
        dx = extra + 0 * x if dx is None else dx + extra
    return dx, dweight if need[1] else None, dbias if need[2] else None, None, None, dresidual


@op
def batch_norm_backward(dy, x, mean, r, weight=None, out=None, activation=None):
    """dx = r weight P(dy), dweight = sum of dy z, dbias = sum of dy, with z = (x - mean) r; dy sloped by out, if given.

    P(v) = v - average(v) - z average(v z), over all but the channels, is its own transpose. So for the gradients G of dx, h of
    dweight and k of dbias: d/d(dy) = r weight P(G) + h z + k and d/dz = h dy - r weight (G average(dy z) + dy average(G z)).
    Shapes: dy, x, out (N, C, ...), the rest (C,) -> (N, C, ...), (C,), (C,).
    """
    return kernels.batch_norm_backward(dy, x, mean, r, weight, out, activation)


@batch_norm_backward.vjp
def batch_norm_backward_vjp(g, dy, x, mean, r, weight, out, activation, need):
    if out is not None:
        d_dy, *rest = batch_norm_backward_vjp(g, sloped(dy, out, activation), x, mean, r, weight, None, None, need)
        return sloped(d_dy, out, activation), *rest
    axes, along = normalized_axes(x)
    count = x.size // mean.size
    big, h, k = g
    mean, column = mean.reshape(along), r.reshape(along)
    z = (x - mean) * column
    d_dy = dz = d_r = d_weight = 0
    if big is not None:
        scale = column if weight is None else column * weight.reshape(along)
        dy_z = (dy * z).sum(axis=axes).reshape(along) / count
        big_z = (big * z).sum(axis=axes).reshape(along) / count
        projected = big - big.mean(axis=axes).reshape(along) - z * big_z
        inner = (projected * dy).sum(axis=axes)  # dL/d(r weight)
        d_dy = scale * projected
        dz = -scale * (big * dy_z + dy * big_z)
        d_r = inner if weight is None else inner * weight
        d_weight = inner * r
    if h is not None:
        d_dy = d_dy + h.reshape(along) * z
        dz = dz + h.reshape(along) * dy
    if k is not None:
        d_dy = d_dy + k.reshape(along) + 0 * dy
    if big is None and h is None:
        return d_dy, None, None, None, None
    return (d_dy, dz * column, -(dz.sum(axis=axes) * r), d_r + (dz * (x - mean)).sum(axis=axes),
            d_weight if big is not None and need[4] else None)


def batch_norm_following(x, weight, bias, running_mean, running_var, momentum, eps, activation=None, residual=None):
    """The first result of batch_norm_train + residual; running_mean and running_var, if given, follow the statistics.

    It waits for a sum and a ReLU or ReLU6 behind it, which become the kernel's.
    """
    others, channels = (weight, bias, running_mean, running_var), x.shape[1:2]

    def head(x, activation=activation, residual=residual):
        fused = (activation, residual) if activation else ()
        y, mean, var, _ = batch_norm_train.run((x, weight, bias, eps, *fused))
        if running_mean is not None:
            update_statistics(running_mean, running_var, mean, var, x.size // mean.size, momentum)
        return y if fused or residual is None else y + residual

    waiting = None
    if activation is residual is None and all(other is None or other.shape == channels for other in others):
        waiting = wait(x.shape, x, others, JOIN, head)
    return head(x) if waiting is None else waiting


JOIN = {"relu": joining.relu, "hardtanh": joining.hardtanh, "add": joining.add}


def update_statistics(running_mean, running_var, mean, var, count, momentum):
    """running += momentum (batch - running), in place and off the tape; the variance without bias, as in PyTorch."""
    for running, batch in ((running_mean, mean.array), (running_var, var.array * (count / (count - 1)))):
        running.array[...] += momentum * (batch - running.array)
        running._mark_changed()

