"""Updates of all parameters of a model in one call, in place, with the arithmetic of torch.optim."""
from typing import NamedTuple

import numpy as np

from .._cases import case, channels_last, normal
from .._dispatch import core, kernel


class SGDParams(NamedTuple):
    count: int
    lr: float
    momentum: float
    gradient: float  # the share of the gradient in the momentum: 1 - dampening, 1 in the first step
    weight_decay: float
    nesterov: int
    sign: float  # -1 to maximize
    keep: float  # the share of the old momentum: momentum, 0 in the first step


class NormParams(NamedTuple):
    order: float


class ScaleParams(NamedTuple):
    count: int
    factor: float


class ClampParams(NamedTuple):
    count: int
    low: float
    high: float


class AdamParams(NamedTuple):
    count: int
    step_size: float  # lr / (1 - beta1^step)
    one_minus_beta1: float
    beta2: float
    one_minus_beta2: float
    correction: float  # 1 / sqrt(1 - beta2^step)
    eps: float
    decay: float  # added to the gradient in shares of the parameter
    shrink: float  # factor of the parameter itself (AdamW)
    sign: float


def check(op, params, **others):
    """Raises ValueError unless every list matches params, array by array."""
    if core and type(params) is list and core.alike(params, *others.values()):
        return
    shapes = [p.shape for p in params]
    for name, arrays in others.items():
        if [a.shape for a in arrays] == shapes:
            continue
        if len(arrays) != len(params):
            raise ValueError(f"{op}: {len(arrays)} {name} for {len(params)} params: as many expected")
        for i, (p, a) in enumerate(zip(params, arrays)):
            if a.shape != p.shape:
                raise ValueError(f"{op}: {name}[{i}] {a.shape}: the shape of its parameter, {p.shape}, expected")


@kernel
def sgd_update(params, grads, momentum_buffers=None, lr=0.01, momentum=0.0, dampening=0.0, weight_decay=0.0,
               nesterov=False, maximize=False, first_step=False):
    """One step of stochastic gradient descent on lists of arrays, in place.

        g = grad + weight_decay * param                      (-grad to maximize)
        buffer = momentum * buffer + (1 - dampening) * g     (g in the first step)
        param -= lr * (g + momentum * buffer if nesterov else buffer)

    momentum_buffers is None where momentum is 0. Returns params and momentum_buffers. Raises ValueError where the lists
    do not match. Sutskever et al. 2013, as in torch.optim.SGD.
    """
    if (momentum_buffers is None) != (momentum == 0):
        raise ValueError(f"sgd_update: momentum={momentum}, momentum_buffers "
                         f"{'missing' if momentum_buffers is None else 'given'}: given exactly with momentum expected")
    if momentum_buffers is None:
        momentum_buffers = []
        check("sgd_update", params, grads=grads)
    else:
        check("sgd_update", params, grads=grads, momentum_buffers=momentum_buffers)
    p = SGDParams(len(params), lr, momentum, 1.0 if first_step else 1.0 - dampening, weight_decay, int(nesterov),
                  -1.0 if maximize else 1.0, 0.0 if first_step else momentum)
    return [params, momentum_buffers], (grads,), p


@kernel
def adam_update(params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs=None, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8,
                weight_decay=0.0, step=1, decoupled=False, amsgrad=False, maximize=False):
    """One step of Adam, or AdamW (decoupled), on lists of arrays, in place.

        g = grad + weight_decay * param                      (-grad to maximize)
        exp_avg += (1 - beta1) * (g - exp_avg)
        exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * g^2
        param -= lr / (1 - beta1^step) * exp_avg / (sqrt(exp_avg_sq) / sqrt(1 - beta2^step) + eps)

    decoupled: the first line is g = grad, and param *= 1 - lr * weight_decay comes before the last. amsgrad:
    max_exp_avg_sqs, else None, keeps the largest exp_avg_sq so far and stands in the last line. step counts from 1.
    Returns params, exp_avgs, exp_avg_sqs and max_exp_avg_sqs. Raises ValueError where the lists do not match.
    Kingma and Ba 2015, Loshchilov and Hutter 2019, Reddi et al. 2018, as in torch.optim.Adam and AdamW.
    """
    if (max_exp_avg_sqs is None) == bool(amsgrad):
        raise ValueError(f"adam_update: amsgrad={amsgrad} with max_exp_avg_sqs "
                         f"{'missing' if max_exp_avg_sqs is None else 'given'}: given exactly with amsgrad expected")
    if step < 1:
        raise ValueError(f"adam_update: step={step}: 1 or more expected")
    check("adam_update", params, grads=grads, exp_avgs=exp_avgs, exp_avg_sqs=exp_avg_sqs)
    if max_exp_avg_sqs is None:
        max_exp_avg_sqs = []
    else:
        check("adam_update", params, max_exp_avg_sqs=max_exp_avg_sqs)
    p = AdamParams(len(params), lr / (1.0 - beta1 ** step), 1.0 - beta1, beta2, 1.0 - beta2,
                   1.0 / (1.0 - beta2 ** step) ** 0.5, eps, 0.0 if decoupled else weight_decay,
                   1.0 - lr * weight_decay if decoupled else 1.0, -1.0 if maximize else 1.0)
    return [params, exp_avgs, exp_avg_sqs, max_exp_avg_sqs], (grads,), p


@kernel(tolerance=1e-6)
def total_norm(arrays, order=2.0):
    """The norm of all arrays as one vector: (sum of |x|^order)^(1 / order), the largest |x| for infinity, the smallest for
    minus infinity, how many are not 0 for 0.

    arrays: a list, not empty, of floating arrays. Returns an array of no axes, in their widest dtype.
    """
    if not arrays:
        raise ValueError("total_norm: no arrays: at least one expected")
    for i, a in enumerate(arrays):
        if a.dtype.kind != "f":
            raise TypeError(f"total_norm: arrays[{i}] is {a.dtype}: a floating-point dtype expected")
    return [((), np.result_type(*{a.dtype for a in arrays}))], (arrays,), NormParams(float(order))


@kernel
def scale(arrays, factor):
    """Multiplies all arrays of a list by one factor, in place. Returns them."""
    return [arrays], (), ScaleParams(len(arrays), factor)


@kernel
def clamp(arrays, low, high):
    """Limits all arrays of a list to [low, high], in place; NaN stays. Returns them."""
    return [arrays], (), ClampParams(len(arrays), low, high)


@sgd_update.cost
def sgd_flops(outs, ins, p):
    return 6 * sum(a.size for a in ins[0])


@adam_update.cost
def adam_flops(outs, ins, p):
    return 13 * sum(a.size for a in ins[0])


CNN = [(32, 1, 3, 3), (32,), (64, 32, 3, 3), (64,), (64, 64, 3, 3), (64,), (64, 576), (64,), (10, 64), (10,)]
SMALL = [(3, 5), (7,), (), (1,), (0, 4), (4, 3, 2, 2)]


def draw(shapes, seed, dtype="float32"):
    return [np.asarray(normal(*shape, dtype=dtype, seed=1000 * seed + i)) for i, shape in enumerate(shapes)]


def squares(shapes, seed, dtype="float32"):
    return [np.asarray(a * a) for a in draw(shapes, seed, dtype)]


def layouts():
    """Lists in which parameter, gradient and state of one index differ in memory layout."""
    shape = (17, 9, 5, 3)
    plain, images = normal(*shape), channels_last(normal(*shape, seed=1))
    return [plain, images, plain[:, ::-1], plain[::2], normal(19, 23).T, normal(600)[::3]]


def shuffled(arrays):
    """The same arrays in other layouts."""
    return [channels_last(a) if a.ndim == 4 else np.ascontiguousarray(a) for a in arrays]


@sgd_update.examples
def sgd_cases():
    variants = {"plain": {}, "weight decay": {"weight_decay": 0.1}, "maximize": {"maximize": True},
                "momentum": {"momentum": 0.9}, "first step": {"momentum": 0.9, "dampening": 0.5, "first_step": True},
                "dampening": {"momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1},
                "nesterov": {"momentum": 0.9, "nesterov": True, "maximize": True}}
    for dtype in ("float32", "float64"):
        for label, options in variants.items():
            buffers = draw(SMALL, 3, dtype) if "momentum" in options else None
            yield case(f"{label} {dtype}", draw(SMALL, 1, dtype), draw(SMALL, 2, dtype), buffers, lr=0.1, **options)
    yield case("layouts", layouts(), shuffled(layouts()), shuffled(layouts()), lr=0.1, momentum=0.9)
    yield case("layouts, no momentum", layouts(), shuffled(layouts()), lr=0.1)
    yield case("large", draw([(70001,), (300, 500)], 1), draw([(70001,), (300, 500)], 2), lr=0.1)
    yield case("nothing", [], [])
    yield case("CNN", draw(CNN, 1), draw(CNN, 2), bench=True)
    yield case("CNN momentum", draw(CNN, 1), draw(CNN, 2), draw(CNN, 3), momentum=0.9, bench=True)


@adam_update.examples
def adam_cases():
    def arguments(shapes, dtype="float32"):
        return draw(shapes, 1, dtype), draw(shapes, 2, dtype), draw(shapes, 3, dtype), squares(shapes, 4, dtype)

    variants = {"plain": {}, "step 100": {"step": 100}, "weight decay": {"weight_decay": 0.1},
                "maximize": {"maximize": True}, "AdamW": {"weight_decay": 0.1, "decoupled": True},
                "amsgrad": {"amsgrad": True, "step": 3}}
    for dtype in ("float32", "float64"):
        for label, options in variants.items():
            largest = squares(SMALL, 5, dtype) if "amsgrad" in options else None
            yield case(f"{label} {dtype}", *arguments(SMALL, dtype), largest, lr=0.01, **options)
    squared = [a * a for a in layouts()]
    yield case("layouts", layouts(), shuffled(layouts()), layouts(), squared, lr=0.01)
    yield case("layouts, amsgrad", layouts(), layouts(), shuffled(layouts()), [a * a for a in layouts()],
               shuffled(squared), lr=0.01, amsgrad=True)
    yield case("large", *arguments([(70001,), (300, 500)]), lr=0.01)
    yield case("nothing", [], [], [], [])
    yield case("CNN", *arguments(CNN), bench=True)
    yield case("CNN AdamW amsgrad", *arguments(CNN), squares(CNN, 5), weight_decay=0.01, decoupled=True, amsgrad=True,
               bench=True)
    yield case("200 small", *arguments([(64,)] * 200), bench=True)
    yield case("1 million", *arguments([(500, 500)] * 4), bench=True)


@total_norm.cost
def norm_flops(outs, ins, p):
    return 2 * sum(a.size for a in ins[0])


@scale.cost
@clamp.cost
def one_flop_each(outs, ins, p):
    return sum(a.size for a in outs[0])


def lists_of_arrays():
    """(label, list, bench): what norms and scaling are checked with."""
    for dtype in ("float32", "float64"):
        yield f"small {dtype}", draw(SMALL, 1, dtype), False
    yield "layouts", layouts(), False
    yield "large", draw([(70001,), (300, 500), (8192,), (8193,)], 1), False
    yield "two dtypes", [normal(5), normal(6, dtype="float64")], False
    yield "infinity and NaN", [normal(40), np.array([1, np.inf, -np.inf], "float32")], False
    yield "CNN", draw(CNN, 1), True
    yield "200 small", draw([(64,)] * 200, 1), True
    yield "1 million", draw([(500, 500)] * 4, 1), True


@total_norm.examples
def norm_cases():
    for label, arrays, bench in lists_of_arrays():
        for order in (2.0,) if bench else (2.0, 1.0, float("inf"), 3.0, 0.0, float("-inf")):
            yield case(f"{label}, order {order}", arrays, order, bench=bench)
    yield case("NaN", [normal(40), np.array([1, np.nan, 2], "float32")], float("inf"))


@scale.examples
def scale_cases():
    for label, arrays, bench in lists_of_arrays():
        yield case(label, arrays, 0.37, bench=bench)


@clamp.examples
def clamp_cases():
    for label, arrays, bench in lists_of_arrays():
        yield case(label, arrays, -0.5, 0.7, bench=bench)
    yield case("NaN", [np.array([1, np.nan, -2], "float32")], -0.5, 0.5)
