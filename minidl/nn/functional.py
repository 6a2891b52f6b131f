"""The layers as functions, by PyTorch's names and with its arguments.

`inplace=True` changes the input and returns it, as `relu_` and the others whose names end in _ do.
`max_pool2d(relu(conv2d(x, w)), 2)`, `relu(linear(x, w))` and `relu(batch_norm(x, ...) + y)` run as one kernel each, in place
too: autograd/waiting.py.
"""
import warnings
from functools import wraps

import numpy as np

from .. import ops
from ..autograd.tensor import now, write_in_place
from ..autograd.waiting import reached
from ..ops import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    channel_shuffle,
    conv1d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
    cross_entropy,
    fold,
    gelu,
    glu,
    hardshrink,
    huber_loss,
    interpolate,
    l1_loss,
    linear,
    logsigmoid,
    lp_pool1d,
    lp_pool2d,
    lp_pool3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
    max_unpool1d,
    max_unpool2d,
    max_unpool3d,
    mse_loss,
    nll_loss,
    pixel_shuffle,
    pixel_unshuffle,
    prelu,
    sigmoid,
    smooth_l1_loss,
    softshrink,
    softsign,
    tanh,
    tanhshrink,
    unfold,
    where,
)
from ..ops.aliases import aliased
from ..ops.attention import scaled_dot_product_attention
from ..ops.batch_norm import batch_norm_following, batch_norm_given
from ..ops.bilinear import bilinear
from ..ops.ctc import ctc_loss
from ..ops.distance import cosine_similarity, normalize, pairwise_distance, pdist
from ..ops.embedding import embedding as rows_of
from ..ops.embedding import embedding_bag, limit_norms, one_hot
from ..ops.fractional_pool import fractional_max_pool2d, fractional_max_pool3d
from ..ops.grid import affine_grid, grid_sample
from ..ops.image import pad_sides as pad
from ..ops.linear_loss import linear_cross_entropy
from ..ops.margin_loss import (
    cosine_embedding_loss,
    gaussian_nll_loss,
    hinge_embedding_loss,
    kl_div,
    margin_ranking_loss,
    multi_margin_loss,
    multilabel_margin_loss,
    multilabel_soft_margin_loss,
    poisson_nll_loss,
    soft_margin_loss,
    triplet_margin_loss,
    triplet_margin_with_distance_loss,
)
from ..ops.multi_head import multi_head_attention_forward
from ..ops.row_norm import group_norm, instance_norm, layer_norm, local_response_norm, rms_norm
from ..random import rand_like
from .conv import pad_end, pair, resolve_padding


def with_old_names(function):
    """A loss that is also told its reduction by size_average and reduce, as before there was `reduction`."""
    @wraps(function)
    def call(*args, size_average=None, reduce=None, **kwargs):
        if size_average is not None or reduce is not None:
            kwargs["reduction"] = "none" if reduce is False else "sum" if size_average is False else "mean"
            warnings.warn(f"size_average and reduce are names of earlier days: reduction={kwargs['reduction']!r} expected",
                          DeprecationWarning, stacklevel=2)
        return function(*args, **kwargs)
    return call


(
    binary_cross_entropy, binary_cross_entropy_with_logits, cosine_embedding_loss, cross_entropy,
    hinge_embedding_loss, kl_div, l1_loss, margin_ranking_loss, mse_loss, multi_margin_loss, multilabel_margin_loss,
    multilabel_soft_margin_loss, nll_loss, poisson_nll_loss, smooth_l1_loss, soft_margin_loss, triplet_margin_loss
) = map(with_old_names, (
        binary_cross_entropy, binary_cross_entropy_with_logits, cosine_embedding_loss, cross_entropy,
        hinge_embedding_loss, kl_div, l1_loss, margin_ranking_loss, mse_loss, multi_margin_loss,
        multilabel_margin_loss, multilabel_soft_margin_loss, nll_loss, poisson_nll_loss, smooth_l1_loss,
        soft_margin_loss, triplet_margin_loss))


def in_place(function):
    """The operation as a change of its input, which it returns. The tape's rules: an error for a leaf that requires a
    gradient, and at backward where something before needs the old values.
    """
    def call(input, *args, **kwargs):
        if now.chain is not None and (over := now.chain.written(function, input, args)) is not None:
            return over

        alone = not reached(input)  # then the result's array may take the place of the input's

        def changed(x):
            return function(x, *args, **kwargs)
        changed.__name__ = call.__name__
        return write_in_place(input, changed, replace=alone)

    call.__name__ = call.__qualname__ = f"{function.__name__}_"
    return call


CHANGING = {name: in_place(getattr(ops, name)) for name in (
    "alpha_dropout", "celu", "dropout", "elu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "mish", "relu", "relu6",
    "rrelu", "selu", "silu", "threshold")}


def perform(name, inplace, input, *args, **kwargs):
    """The operation of this name, as a new tensor or as a change of the input in place."""
    return (CHANGING[name] if inplace else getattr(ops, name))(input, *args, **kwargs)


relu_, elu_, selu_, celu_, leaky_relu_, hardtanh_, rrelu_, threshold_ = (CHANGING[name] for name in (
    "relu", "elu", "selu", "celu", "leaky_relu", "hardtanh", "rrelu", "threshold"))


def relu(input, inplace=False):
    """max(input, 0)."""
    return perform("relu", inplace, input)


def relu6(input, inplace=False):
    """input between 0 and 6."""
    return perform("hardtanh", True, input, 0, 6) if inplace else ops.relu6(input)


def hardtanh(input, min_val=-1.0, max_val=1.0, inplace=False):
    """input between min_val and max_val. Raises ValueError where these are the wrong way round."""
    if min_val > max_val:
        raise ValueError(f"hardtanh: min_val={min_val}, max_val={max_val}: min_val <= max_val expected")
    return perform("hardtanh", inplace, input, min_val, max_val)


def leaky_relu(input, negative_slope=0.01, inplace=False):
    """input where it is at least 0, else negative_slope input."""
    return perform("leaky_relu", inplace, input, negative_slope)


def elu(input, alpha=1.0, inplace=False):
    """input where it is at least 0, else alpha (exp(input) - 1)."""
    return perform("elu", inplace, input, alpha)


def selu(input, inplace=False):
    """elu with the alpha and scale that keep mean 0 and variance 1."""
    return perform("selu", inplace, input)


def celu(input, alpha=1.0, inplace=False):
    """max(0, input) + min(0, alpha (exp(input / alpha) - 1))."""
    return perform("celu", inplace, input, alpha)


def rrelu(input, lower=1 / 8, upper=1 / 3, training=False, inplace=False):
    """input where it is at least 0, else a input, with a drawn from [lower, upper) in training, else their mean."""
    return perform("rrelu", inplace, input, lower, upper, training)


def threshold(input, threshold, value, inplace=False):
    """input where it is above the threshold, else value."""
    return perform("threshold", inplace, input, threshold, value)


def silu(input, inplace=False):
    """input sigmoid(input)."""
    return perform("silu", inplace, input)


def mish(input, inplace=False):
    """input tanh(softplus(input))."""
    return perform("mish", inplace, input)


def hardsigmoid(input, inplace=False):
    """input / 6 + 1 / 2 between 0 and 1."""
    return perform("hardsigmoid", inplace, input)


def hardswish(input, inplace=False):
    """input hardsigmoid(input)."""
    return perform("hardswish", inplace, input)


def along(function, input, axis, dtype):
    """function of input in another dtype along an axis; None: PyTorch's choice of earlier days, with a warning."""
    if axis is None:
        warnings.warn(f"{function.__name__}: no axis given: 0 for inputs of 0, 1 or 3 axes, else 1", stacklevel=4)
        axis = 0 if input.ndim in (0, 1, 3) else 1
    input = input if dtype is None else input.astype(dtype)
    return function(input[None], axis)[0] if input.ndim == 0 and axis in (0, -1) else function(input, axis)


@aliased
def softmax(input, axis=None, _stacklevel=3, dtype=None):
    """exp(input) / sum(exp(input)) along an axis, in another dtype if one is given. Shape: kept."""
    return along(ops.softmax, input, axis, dtype)


@aliased
def log_softmax(input, axis=None, _stacklevel=3, dtype=None):
    """The logarithm of softmax. Shape: kept."""
    return along(ops.log_softmax, input, axis, dtype)


@aliased
def softmin(input, axis=None, _stacklevel=3, dtype=None):
    """softmax of -input. Shape: kept."""
    return along(ops.softmin, input, axis, dtype)


@aliased
def gumbel_softmax(logits, tau=1, hard=False, eps=1e-10, axis=-1):
    """A draw from the categories along an axis, softened: softmax((logits + g) / tau), g from Gumbel's distribution (Jang et
    al., 2017; Maddison et al., 2017). hard: 1 in the place of the largest and 0 elsewhere, with the soft draw's gradient.

    eps is accepted for PyTorch's sake. Shape: kept.
    """
    if eps != 1e-10:
        warnings.warn(f"gumbel_softmax: eps={eps}: it has no effect", stacklevel=3)
    even = ops.clip(rand_like(logits), float(np.finfo(logits.dtype).tiny), None)  # 0 would give a logit of -infinity
    soft = ops.softmax((logits - ops.log(-ops.log(even))) / tau, axis)
    if not hard:
        return soft
    largest = ops.argmax(soft, axis, keepdims=True)
    places = ops.reshape(ops.arange(logits.shape[axis]), [-1 if i == axis % logits.ndim else 1 for i in range(logits.ndim)])
    return (places == largest).astype(soft.dtype) - soft.detach() + soft


def softplus(input, beta=1.0, threshold=20.0):
    """log(1 + exp(beta input)) / beta, without overflow; input itself where beta input is above the threshold.

    The two differ by 2e-9 at most from 20 on, PyTorch's threshold, so that only a lower one is looked at.
    """
    scaled = input if beta == 1 else input * beta
    y = ops.softplus(scaled)
    y = y if beta == 1 else y / beta
    return y if threshold >= 20 else where(scaled > threshold, input, y)


def dropout(input, p=0.5, training=True, inplace=False):
    """In training, 0 with probability p, else input / (1 - p); otherwise input. Raises ValueError unless 0 <= p <= 1."""
    return perform("dropout", inplace and training, input, p, training)


def dropout1d(input, p=0.5, training=True, inplace=False):
    """dropout of whole channels of (N, C, L) or (C, L). Raises ValueError for other numbers of axes."""
    if input.ndim not in (2, 3):
        raise ValueError(f"dropout1d: input {input.shape}: (N, C, L) or (C, L) expected")
    return perform("dropout", inplace and training, input, p, training, axes=tuple(range(input.ndim - 1)))


def dropout2d(input, p=0.5, training=True, inplace=False):
    """dropout of whole channels of (N, C, ...). Raises ValueError for fewer than two axes."""
    return perform("dropout", inplace and training, input, p, training, axes=feature_axes("dropout2d", input))


def dropout3d(input, p=0.5, training=True, inplace=False):
    """dropout of whole channels of (N, C, ...), or of (C, D, H, W). Raises ValueError for fewer than two axes."""
    axes = (0,) if input.ndim == 4 else feature_axes("dropout3d", input)
    return perform("dropout", inplace and training, input, p, training, axes=axes)


def alpha_dropout(input, p=0.5, training=False, inplace=False):
    """In training, SELU's lower limit with probability p, then scaled and shifted back to mean 0 and variance 1."""
    return perform("alpha_dropout", inplace and training, input, p, training)


def feature_alpha_dropout(input, p=0.5, training=False, inplace=False):
    """alpha_dropout of whole channels of (N, C, ...). Raises ValueError for fewer than two axes."""
    axes = feature_axes("feature_alpha_dropout", input)
    return perform("alpha_dropout", inplace and training, input, p, training, axes=axes)


def feature_axes(name, input):
    """The axes along which a channel has its own draw."""
    if input.ndim < 2:
        raise ValueError(f"{name}: input {input.shape}: two axes or more, (N, C, ...), expected")
    return 0, 1


def conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Convolution of images. Shapes: (N, C, H, W) or (C, H, W), weight (O, C/groups, kh, kw), bias (O,) -> (N, O, oh, ow).

    padding: whole numbers, 'valid' or 'same'. Raises ValueError for shapes that do not fit, TypeError for dtypes that differ.
    """
    if input.ndim == 3:
        return conv2d(input[None], weight, bias, stride, padding, dilation, groups)[0]
    if isinstance(padding, str):
        stride, dilation = pair("stride", stride), pair("dilation", dilation)
        padding, extra = resolve_padding(padding, weight.shape[2:], stride, dilation)
        input = pad_end(input, extra) if extra != (0, 0) else input
    return ops.conv2d(input, weight, bias, stride, padding, dilation, groups)


def embedding(input, weight, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False):
    """The rows of weight (rows, n) whose numbers input holds; the row padding_idx gets no gradient. Shape: (*input.shape, n).

    max_norm: these rows are first scaled down, in place, to this norm of order norm_type. scale_grad_by_freq: a row's gradient
    is divided by how often it was read. sparse is accepted for PyTorch's sake. Raises ValueError for a number that is no
    row's, with its position.
    """
    if max_norm is not None:
        limit_norms(weight, input, max_norm, norm_type)
    return rows_of(input, weight, padding_idx, scale_grad_by_freq)


def batch_norm(input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5,
               activation=None, residual=None):
    """Batch normalisation over axis 1: with the batch's statistics in training, which running_mean and running_var, if
    given, follow by `momentum`; with the running ones otherwise. activation 'relu' or 'relu6': that of the result + residual,
    in training in the same pass over memory, as a residual network's blocks end.

    Shapes: input (N, C, ...), kept; residual as input, or None; the rest (C,). Raises ValueError for a training batch with one
    value per channel.
    """
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("batch_norm: training=False: running_mean and running_var expected")
        y = batch_norm_given(input, weight, bias, running_mean, running_var, eps)
        y = y if residual is None else y + residual
        return y if activation is None else ops.relu(y) if activation == "relu" else ops.relu6(y)
    if input.ndim < 2:
        raise ValueError(f"batch_norm: input {input.shape}: (N, C, ...) expected")
    count = input.size // input.shape[1]
    if eps <= 0:
        raise ValueError(f"batch_norm: eps={eps} in training: above 0 expected")
    if count == 0:  # nothing to take statistics of
        return batch_norm_given(input, weight, bias, *nothing_learned(input), eps)
    if count == 1:
        raise ValueError(f"batch_norm: input {input.shape} in training: more than one value in each channel expected")
    return batch_norm_following(input, weight, bias, running_mean, running_var, momentum, eps, activation, residual)


def upsample(input, size=None, scale_factor=None, mode="nearest", align_corners=None):
    """interpolate, under its name of earlier days."""
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input, size=None, scale_factor=None):
    """interpolate, each value that of its nearest, under its name of earlier days."""
    return interpolate(input, size, scale_factor, "nearest")


def upsample_bilinear(input, size=None, scale_factor=None):
    """interpolate between neighbours, corners kept, under its name of earlier days."""
    return interpolate(input, size, scale_factor, "bilinear", True)


def with_indices(pool):
    """A pooling that gives (y, the places of the largest), under PyTorch's name for that."""
    def call(*args, **kwargs):
        return pool(*args, **kwargs | {"return_indices": True})
    call.__name__ = call.__qualname__ = f"{pool.__name__}_with_indices"
    call.__doc__ = f"{pool.__name__} with return_indices: (y, the places of the largest)."
    return call


max_pool1d_with_indices, max_pool2d_with_indices, max_pool3d_with_indices = map(
    with_indices, (max_pool1d, max_pool2d, max_pool3d))
adaptive_max_pool1d_with_indices, adaptive_max_pool2d_with_indices, adaptive_max_pool3d_with_indices = map(
    with_indices, (adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d))
fractional_max_pool2d_with_indices, fractional_max_pool3d_with_indices = map(
    with_indices, (fractional_max_pool2d, fractional_max_pool3d))


def nothing_learned(input):
    """The mean 0 and the variance 1 of each channel."""
    return ops.zeros(input.shape[1], dtype=input.dtype), ops.ones(input.shape[1], dtype=input.dtype)


__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d",
    "adaptive_max_pool1d_with_indices", "adaptive_max_pool2d", "adaptive_max_pool2d_with_indices",
    "adaptive_max_pool3d", "adaptive_max_pool3d_with_indices", "affine_grid", "alpha_dropout", "avg_pool1d",
    "avg_pool2d", "avg_pool3d", "batch_norm", "bilinear", "binary_cross_entropy", "binary_cross_entropy_with_logits",
    "celu", "celu_", "channel_shuffle", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
    "conv_transpose3d", "cosine_embedding_loss", "cosine_similarity", "cross_entropy", "ctc_loss", "dropout",
    "dropout1d", "dropout2d", "dropout3d", "elu", "elu_", "embedding", "embedding_bag", "feature_alpha_dropout", "fold",
    "fractional_max_pool2d", "fractional_max_pool2d_with_indices", "fractional_max_pool3d",
    "fractional_max_pool3d_with_indices", "gaussian_nll_loss", "gelu", "glu", "grid_sample", "group_norm",
    "gumbel_softmax", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "hardtanh_", "hinge_embedding_loss",
    "huber_loss", "instance_norm", "interpolate", "kl_div", "l1_loss", "layer_norm", "leaky_relu", "leaky_relu_",
    "linear", "linear_cross_entropy", "local_response_norm", "log_softmax", "logsigmoid", "lp_pool1d", "lp_pool2d",
    "lp_pool3d", "margin_ranking_loss", "max_pool1d", "max_pool1d_with_indices", "max_pool2d",
    "max_pool2d_with_indices", "max_pool3d", "max_pool3d_with_indices", "max_unpool1d", "max_unpool2d", "max_unpool3d",
    "mish", "mse_loss", "multi_head_attention_forward", "multi_margin_loss", "multilabel_margin_loss",
    "multilabel_soft_margin_loss", "nll_loss", "normalize", "one_hot", "pad", "pairwise_distance", "pdist",
    "pixel_shuffle", "pixel_unshuffle", "poisson_nll_loss", "prelu", "relu", "relu6", "relu_", "rms_norm", "rrelu",
    "rrelu_", "scaled_dot_product_attention", "selu", "selu_", "sigmoid", "silu", "smooth_l1_loss", "soft_margin_loss",
    "softmax", "softmin", "softplus", "softshrink", "softsign", "tanh", "tanhshrink", "threshold", "threshold_",
    "triplet_margin_loss", "triplet_margin_with_distance_loss", "unfold", "upsample", "upsample_bilinear",
    "upsample_nearest",
]
