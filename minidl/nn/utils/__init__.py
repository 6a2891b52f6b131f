"""Functions on all parameters of a model at once."""
from ...autograd import Tensor, no_grad
from ...ops import concat, stack


def _with_gradients(parameters):
    parameters = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [p.grad for p in parameters if p.grad is not None]


@no_grad()
def clip_grad_norm_(parameters, max_norm, norm_type=2.0, error_if_nonfinite=False):
    """Scales all gradients by one factor so that the norm of them all, as one vector, is at most max_norm.

    norm_type: the norm's order, inf included. Returns the norm before, a tensor. Raises RuntimeError under
    error_if_nonfinite where it is infinite or NaN.
    """
    gradients = _with_gradients(parameters)
    if not gradients:
        return Tensor(0.0)
    norms = stack([g.abs().max() if norm_type == float("inf") else (g * g).sum().sqrt() if norm_type == 2 else
                   (g.abs() ** norm_type).sum() ** (1 / norm_type) for g in gradients if g.array.size])
    total = norms.max() if norm_type == float("inf") else (norms ** norm_type).sum() ** (1 / norm_type)
    if error_if_nonfinite and not bool(total.isfinite()):
        raise RuntimeError(f"clip_grad_norm_: the norm of the gradients is {total.item()}: a finite one expected")
    factor = max_norm / (total.item() + 1e-6)
    if not factor >= 1:  # NaN too
        for g in gradients:
            g *= factor
    return total


@no_grad()
def clip_grad_value_(parameters, clip_value):
    """Clips every gradient to [-clip_value, clip_value]."""
    for g in _with_gradients(parameters):
        g.clip_(-clip_value, clip_value)


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
