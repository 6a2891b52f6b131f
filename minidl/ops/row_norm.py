"""Norms of each sample by itself: layer, RMS, group and instance norm.

With z = (x - mean) r and r = 1 / sqrt(var + eps), y = z weight + bias. All derivatives are those of batch norm, only the axes
that are averaged differ, and RMS norm takes no mean off: P(v) = v - average(v) - z average(v z), and dx = r P(weight dy).
"""
from math import prod
from numbers import Integral

from .. import kernels
from ..autograd import op
from .batch_norm import batch_norm_given, update_statistics
from .index import getitem
from .shape import pad


def projected(v, z, axes, centered):
    """P(v): what is left of v without its part along z and, if centered, along the constants. It is its own transpose."""
    rest = v - z * (v * z).mean(axis=axes, keepdims=True)
    return rest - v.mean(axis=axes, keepdims=True) if centered else rest


def through_statistics(dx, x, mean, r, dmean, dr):
    """dx and what the gradients of the mean and of r, if there are any, add to it."""
    if dmean is None and dr is None:
        return dx
    count = x.size // max(1, r.size)
    d = x if mean is None else x - mean
    for extra in (None if dmean is None else dmean / count + 0 * x, None if dr is None else d * (-dr * r * r * r / count)):
        if extra is not None:
            dx = extra if dx is None else dx + extra
    return dx


def second_order(g, dy, x, mean, r, weight, axes):
    """The gradients of dx = r P(weight dy), dweight = sum of dy z and dbias = sum of dy, by dy, x, mean, r and weight.

    For G, h and k, the gradients of the three: by dy weight r P(G) + h z + k, by z h dy - r (G average(v z) + v average(G z))
    with v = weight dy. Axes along which an argument was broadcast are left to the engine to sum.
    """
    big, h, k = g
    d = x if mean is None else x - mean
    z = d * r
    d_dy = dz = d_r = d_weight = 0
    if big is not None:
        v = dy if weight is None else weight * dy
        p = projected(big, z, axes, mean is not None)
        d_r = p * v
        p = p * r
        d_dy = p if weight is None else p * weight
        d_weight = p * dy
        dz = -r * (big * (v * z).mean(axis=axes, keepdims=True) + v * (big * z).mean(axis=axes, keepdims=True))
    if h is not None:
        d_dy, dz = d_dy + h * z, dz + h * dy
    if k is not None:
        d_dy = d_dy + k + 0 * dy
    if big is None and h is None:
        return d_dy, None, None, None, None
    return (d_dy, dz * r, None if mean is None else -dz * r, d_r + dz * d,
            None if weight is None or big is None else d_weight)


# ---- layer and RMS norm: over the last axes ----
def last(axes):
    return tuple(range(-axes, 0))


def rows(x, axes):
    """x as (rows, n), with the last axes, so many, in one."""
    lead = x.ndim - axes
    return x.reshape(prod(x.shape[:lead]), prod(x.shape[lead:]))


def column(x, axes):
    """The shape of a statistic that broadcasts against x."""
    return x.shape[:x.ndim - axes] + (1,) * axes


def flat(v):
    return None if v is None else v.reshape(-1)


@op
def layer_norm_train(x, weight=None, bias=None, axes=1, eps=1e-5):
    """x normalised over its last axes, so many, then scaled and shifted; and the statistics.

    dL/dx, dweight, dbias = layer_norm_backward. Shapes: x (*, *n), weight and bias (*n) or None -> y as x, and mean and
    r = 1 / sqrt(var + eps), each (*, 1, ...).
    """
    y, mean, r = kernels.layer_norm(rows(x, axes), flat(weight), flat(bias), eps)
    shape = column(x, axes)
    return y.reshape(x.shape), mean.reshape(shape), r.reshape(shape)


@layer_norm_train.vjp(first=None)
def layer_norm_train_vjp(g, y, x, weight, axes, need):
    dx = dweight = dbias = None
    if g[0] is not None:
        dx, dweight, dbias = layer_norm_backward(g[0], x, y[1], y[2], weight, axes)
    return (through_statistics(dx, x, y[1], y[2], g[1], g[2]) if need[0] else None,
            dweight if need[1] else None, dbias if need[2] else None)


@op
def layer_norm_backward(dy, x, mean, r, weight=None, axes=1):
    """dx = r P(weight dy), dweight = sum of dy z, dbias = sum of dy: see second_order for the derivatives.

    Shapes: dy, x (*, *n), mean, r (*, 1, ...), weight (*n) or None -> as x, (*n), (*n).
    """
    dx, dweight, dbias = kernels.layer_norm_backward(rows(dy, axes), rows(x, axes), flat(mean), flat(r), flat(weight))
    inner = x.shape[x.ndim - axes:]
    return dx.reshape(x.shape), dweight.reshape(inner), dbias.reshape(inner)


@layer_norm_backward.vjp
def layer_norm_backward_vjp(g, dy, x, mean, r, weight, axes):
    return second_order(g, dy, x, mean, r, weight, last(axes))


@op
def rms_norm_train(x, weight=None, axes=1, eps=None):
    """x r weight with r = 1 / sqrt(mean(x**2) + eps) over its last axes, so many; and r.

    dL/dx, dweight = rms_norm_backward. Shapes: x (*, *n), weight (*n) or None -> y as x, and r (*, 1, ...).
    """
    y, r = kernels.rms_norm(rows(x, axes), flat(weight), eps)
    return y.reshape(x.shape), r.reshape(column(x, axes))


@rms_norm_train.vjp(first=None)
def rms_norm_train_vjp(g, y, x, weight, axes, need):
    dx = dweight = None
    if g[0] is not None:
        dx, dweight = rms_norm_backward(g[0], x, y[1], weight, axes)
    return (through_statistics(dx, x, None, y[1], None, g[1]) if need[0] else None, dweight if need[1] else None)


@op
def rms_norm_backward(dy, x, r, weight=None, axes=1):
    """dx = r (v - z average(v z)) with v = weight dy, and dweight = sum of dy z: see second_order for the derivatives.

    Shapes: dy, x (*, *n), r (*, 1, ...), weight (*n) or None -> as x, (*n).
    """
    dx, dweight = kernels.rms_norm_backward(rows(dy, axes), rows(x, axes), flat(r), flat(weight))
    return dx.reshape(x.shape), dweight.reshape(x.shape[x.ndim - axes:])


@rms_norm_backward.vjp
def rms_norm_backward_vjp(g, dy, x, r, weight, axes):
    d_dy, dx, _, d_r, d_weight = second_order((*g, None), dy, x, None, r, weight, last(axes))
    return d_dy, dx, d_r, d_weight


# ---- group norm: over the channels of a group and all that follows ----
def split(x, groups):
    """(N, C, ...) as (N, groups, C / groups, ...)."""
    return x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])


def widened(v, ndim):
    """A tensor with axes of one appended, up to so many axes."""
    return None if v is None else v.reshape(*v.shape, *(1,) * (ndim - v.ndim))


@op
def group_norm_train(x, groups, weight=None, bias=None, eps=1e-5):
    """x normalised over each group of channels of each sample, then scaled and shifted; and the statistics.

    dL/dx, dweight, dbias = group_norm_backward. Shapes: x (N, C, ...), weight and bias (C,) or None -> y as x, and mean and
    r = 1 / sqrt(var + eps), each (N, groups).
    """
    return kernels.group_norm(x, groups, weight, bias, eps)


@group_norm_train.vjp(first=None)
def group_norm_train_vjp(g, y, x, groups, weight, need):
    dx = dweight = dbias = None
    if g[0] is not None:
        dx, dweight, dbias = group_norm_backward(g[0], x, y[1], y[2], weight)
    if need[0] and (g[1] is not None or g[2] is not None):
        mean, r, dmean, dr = (widened(v, x.ndim + 1) for v in (*y[1:], *g[1:]))
        extra = through_statistics(None, split(x, groups), mean, r, dmean, dr).reshape(x.shape)
        dx = extra if dx is None else dx + extra
    return dx if need[0] else None, None, dweight if need[2] else None, dbias if need[3] else None


@op
def group_norm_backward(dy, x, mean, r, weight=None):
    """dx = r P(weight dy), dweight = sum of dy z, dbias = sum of dy: see second_order for the derivatives.

    Shapes: dy, x (N, C, ...), mean, r (N, groups), weight (C,) or None -> as x, (C,), (C,).
    """
    return kernels.group_norm_backward(dy, x, mean.shape[1], mean, r, weight)


@group_norm_backward.vjp
def group_norm_backward_vjp(g, dy, x, mean, r, weight):
    groups, ndim = mean.shape[1], x.ndim + 1
    inner, outer = tuple(range(2, ndim)), (0, *range(3, ndim))

    def vector(v):
        return None if v is None else widened(v.reshape(groups, -1), ndim - 1)

    big = None if g[0] is None else split(g[0], groups)
    d_dy, dx, dmean, dr, dweight = second_order(
        (big, vector(g[1]), vector(g[2])), split(dy, groups), split(x, groups), widened(mean, ndim), widened(r, ndim),
        vector(weight), inner)
    return (d_dy.reshape(x.shape), None if dx is None else dx.reshape(x.shape),
            None if dmean is None else dmean.sum(axis=inner), None if dr is None else dr.sum(axis=inner),
            None if dweight is None else dweight.sum(axis=outer).reshape(-1))


# ---- by PyTorch's names ----
def check_normalized(name, input, normalized_shape, **vectors):
    """How many axes normalized_shape has. Raises ValueError unless input's shape ends in it and weight and bias have it."""
    shape = (normalized_shape,) if isinstance(normalized_shape, Integral) else tuple(normalized_shape)
    if not shape or input.shape[-len(shape):] != shape:
        raise ValueError(f"{name}: input {input.shape}, normalized_shape={shape}: an input whose last axes have "
                         "these sizes expected")
    for key, v in vectors.items():
        if v is not None and v.shape != shape:
            raise ValueError(f"{name}: {key} {v.shape}: normalized_shape, {shape}, expected")
    return len(shape)


def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-5):
    """input with mean 0 and variance 1 over its last axes, times weight, plus bias (Ba, Kiros and Hinton, 2016).

    normalized_shape: the sizes of these axes, or the size of the last; weight and bias have it as their shape, or are None.
    Shape: kept. Raises ValueError where shapes do not match.
    """
    axes = check_normalized("layer_norm", input, normalized_shape, weight=weight, bias=bias)
    return layer_norm_train(input, weight, bias, axes, eps)[0]


def rms_norm(input, normalized_shape, weight=None, eps=None):
    """input / sqrt(mean(input**2) + eps) over its last axes, times weight (Zhang and Sennrich, 2019).

    eps None: the spacing of the dtype's numbers at 1. Shapes, and ValueError: as layer_norm.
    """
    axes = check_normalized("rms_norm", input, normalized_shape, weight=weight)
    return rms_norm_train(input, weight, axes, eps)[0]


def group_norm(input, num_groups, weight=None, bias=None, eps=1e-5):
    """Each group of neighbouring channels of each sample with mean 0 and variance 1, times weight, plus bias.

    Wu and He (2018). Shapes: input (N, C, ...), kept; weight and bias (C,) or None. Raises ValueError unless num_groups
    divides C.
    """
    return group_norm_train(input, num_groups, weight, bias, eps)[0]


def instance_norm(input, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True, momentum=0.1,
                  eps=1e-5):
    """Each channel of each sample with mean 0 and variance 1, times weight, plus bias (Ulyanov et al., 2016).

    running_mean and running_var, if given, follow the statistics' averages over the batch by `momentum`, and are used where
    use_input_stats is False. Shapes: input (N, C, ...), kept; the rest (C,). Raises ValueError for one value per channel.
    """
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise ValueError("instance_norm: use_input_stats=False: running_mean and running_var expected")
        return batch_norm_given(input, weight, bias, running_mean, running_var, eps)
    count = prod(input.shape[2:])
    if count < 2:
        raise ValueError(f"instance_norm: input {input.shape}: more than one value in each channel of a sample expected")
    if running_mean is not None:
        axes, x = tuple(range(2, input.ndim)), input.detach()
        update_statistics(running_mean, running_var, x.mean(axis=(0, *axes)), x.var(axis=axes).mean(axis=0), count, momentum)
    return group_norm_train(input, input.shape[1], weight, bias, eps)[0]


def local_response_norm(input, size, alpha=1e-4, beta=0.75, k=1.0):
    """input / (k + alpha average)**beta, where the average is of the squares of `size` neighbouring channels, zeros beyond the
    ends among them (Krizhevsky et al., 2012). Shape: (N, C, ...), kept. Raises ValueError for fewer than 3 axes.
    """
    if input.ndim < 3:
        raise ValueError(f"local_response_norm: input {input.shape}: (N, C, ...) with 3 axes or more expected")
    channels, before = input.shape[1], size // 2
    padding = [(0, 0)] * input.ndim
    padding[1] = (before, (size - 1) // 2)
    squares = pad(input * input, padding)
    total = getitem(squares, (slice(None), slice(0, channels)))
    for shift in range(1, size):
        total = total + getitem(squares, (slice(None), slice(shift, shift + channels)))
    return input / (k + total * (alpha / size)) ** beta
