"""Functions on all parameters of a model at once, and on modules."""
from ...autograd import Tensor, no_grad
from ...ops import concat, update
from .. import init
from . import parametrizations, parametrize, prune, rnn
from .fuse import fuse_conv_bn_eval, fuse_conv_bn_weights, fuse_linear_bn_eval, fuse_linear_bn_weights
from .reparametrize import remove_spectral_norm, remove_weight_norm, spectral_norm, weight_norm

__all__ = ["clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "fuse_conv_bn_eval", "fuse_conv_bn_weights",
           "fuse_linear_bn_eval", "fuse_linear_bn_weights", "get_total_norm", "parameters_to_vector", "parametrizations",
           "parametrize", "prune", "remove_spectral_norm", "remove_weight_norm", "rnn", "skip_init", "spectral_norm",
           "vector_to_parameters", "weight_norm"]


def skip_init(module_cls, *args, **kwargs):
    """A module of a class whose parameters are not drawn: for those that are loaded at once."""
    with init.nothing_drawn():
        return module_cls(*args, **kwargs)


def _with_gradients(parameters):
    parameters = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [p.grad for p in parameters if p.grad is not None]


@no_grad()
def get_total_norm(tensors, norm_type=2.0, error_if_nonfinite=False, foreach=None):
    """The norm of all tensors as one vector: of order norm_type, inf included. A tensor of no axes.

    foreach: accepted, so that PyTorch code runs. Raises RuntimeError under error_if_nonfinite where it is infinite or NaN.
    """
    tensors, norm_type = [tensors] if isinstance(tensors, Tensor) else list(tensors), float(norm_type)
    if not tensors:
        return Tensor(0.0)
    total = update.total_norm(tensors, norm_type)
    if error_if_nonfinite and not bool(total.isfinite()):
        raise RuntimeError(f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, "
                           f"{total.item()}: a finite one expected, or error_if_nonfinite=False")
    return total


@no_grad()
def clip_grads_with_norm_(parameters, max_norm, total_norm, foreach=None):
    """Scales all gradients by max_norm / total_norm where that is below 1."""
    gradients = _with_gradients(parameters)
    factor = float(max_norm) / (float(total_norm.item()) + 1e-6)
    if gradients and not factor >= 1:  # NaN too
        update.scale(gradients, factor)


def clip_grad_norm_(parameters, max_norm, norm_type=2.0, error_if_nonfinite=False, foreach=None):
    """Scales all gradients by one factor so that the norm of them all, as one vector, is at most max_norm.

    norm_type, error_if_nonfinite, foreach: as get_total_norm. Returns the norm before, a tensor.
    """
    parameters = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    total = get_total_norm(_with_gradients(parameters), norm_type, error_if_nonfinite)
    clip_grads_with_norm_(parameters, max_norm, total)
    return total


@no_grad()
def clip_grad_value_(parameters, clip_value, foreach=None):
    """Limits every gradient to [-clip_value, clip_value]."""
    gradients = _with_gradients(parameters)
    if gradients:
        update.clamp(gradients, -float(clip_value), float(clip_value))


def parameters_to_vector(parameters):
    """All parameters one after the other as a vector, on the tape."""
    return concat([p.reshape(-1) for p in parameters])


@no_grad()
def vector_to_parameters(vec, parameters):
    """Copies the parts of a vector into the parameters. Raises ValueError unless the sizes sum to the vector's."""
    parameters = list(parameters)
    total = sum(p.array.size for p in parameters)
    if vec.shape != (total,):
        raise ValueError(f"vector_to_parameters: vector {vec.shape}: {(total,)} expected")
    start = 0
    for p in parameters:
        p.copy_(vec[start:start + p.array.size].reshape(p.shape))
        start += p.array.size
