"""Changes of whole lists of parameters or gradients in one kernel call, in place and off the tape."""
from .. import kernels
from ..autograd.tensor import wrap


def sgd(params, grads, momentum_buffers, *options):
    """One step of `kernels.sgd_update` on lists of tensors, in place; options are its other arguments."""
    kernels.sgd_update(_arrays(params), _arrays(grads), momentum_buffers and _arrays(momentum_buffers), *options)
    _mark_changed(params)


def adam(params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, *options):
    """One step of `kernels.adam_update` on lists of tensors, in place; options are its other arguments."""
    kernels.adam_update(_arrays(params), _arrays(grads), _arrays(exp_avgs), _arrays(exp_avg_sqs),
                        max_exp_avg_sqs and _arrays(max_exp_avg_sqs), *options)
    _mark_changed(params)


def scale(tensors, factor):
    """Multiplies all tensors of a list by one factor, in place."""
    kernels.scale(_arrays(tensors), factor)
    _mark_changed(tensors)


def clamp(tensors, low, high):
    """Limits all tensors of a list to [low, high], in place; NaN stays."""
    kernels.clamp(_arrays(tensors), low, high)
    _mark_changed(tensors)


def total_norm(tensors, order):
    """The norm of all tensors of a list as one vector; off the tape."""
    return wrap(kernels.total_norm(_arrays(tensors), order))


def _arrays(tensors):
    return [x.array for x in tensors]


def _mark_changed(tensors):
    for x in tensors:
        x._mark_changed()
