"""Every differentiable operation: forward, derivative, a line of maths, in one place each."""
from . import methods
from .activation import elu, gelu, hardtanh, leaky_relu, log_softmax, relu, relu6, sigmoid, silu, softmax, softplus
from .arithmetic import (
    abs,
    add,
    clip,
    copysign,
    divide,
    floor_divide,
    hypot,
    maximum,
    minimum,
    multiply,
    negative,
    nextafter,
    positive,
    pow,
    reciprocal,
    remainder,
    sign,
    sqrt,
    square,
    subtract,
)
from .conv import conv2d
from .conv_nd import conv1d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d
from .creation import (
    arange,
    as_tensor,
    asarray,
    empty,
    empty_like,
    eye,
    from_dlpack,
    from_numpy,
    full,
    full_like,
    linspace,
    meshgrid,
    ones,
    ones_like,
    tensor,
    zeros,
    zeros_like,
)
from .dropout import alpha_dropout, dropout
from .einsum import einsum
from .elementwise import astype, conj, exp, exp2, expm1, imag, log, log1p, log2, log10, logaddexp, real, tanh
from .index import diagonal, gather, masked_fill, nonzero, take, take_along_axis, tril, triu, where
from .linear import bmm, dot, linear, matmul, matrix_transpose, mm, outer, tensordot, vecdot
from .logic import (
    bitwise_and,
    bitwise_invert,
    bitwise_left_shift,
    bitwise_or,
    bitwise_right_shift,
    bitwise_xor,
    equal,
    greater,
    greater_equal,
    isfinite,
    isinf,
    isnan,
    less,
    less_equal,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    not_equal,
    signbit,
)
from .loss import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    huber_loss,
    l1_loss,
    mse_loss,
    nll_loss,
    smooth_l1_loss,
)
from .pool import adaptive_avg_pool2d, avg_pool2d, max_pool2d
from .reduce import (
    all,
    any,
    argmax,
    argmin,
    count_nonzero,
    cumulative_prod,
    cumulative_sum,
    diff,
    logsumexp,
    max,
    mean,
    min,
    norm,
    prod,
    std,
    sum,
    var,
)
from .rounding import ceil, floor, round, trunc
from .shape import (
    broadcast_arrays,
    broadcast_to,
    cat,
    chunk,
    concat,
    expand_dims,
    flatten,
    flip,
    moveaxis,
    pad,
    permute_dims,
    ravel,
    repeat,
    reshape,
    roll,
    split,
    squeeze,
    stack,
    swapaxes,
    tile,
    transpose,
    unstack,
)
from .sorting import (
    argsort,
    searchsorted,
    sort,
    topk,
    unique,
    unique_all,
    unique_counts,
    unique_inverse,
    unique_values,
)
from .trigonometry import acos, acosh, asin, asinh, atan, atan2, atanh, cos, cosh, sin, sinh, tan

__all__ = [name for name in dir() if not name.startswith("_") and callable(globals()[name])]
