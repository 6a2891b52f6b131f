"""Functions that take a function and return its derivatives, as in torch.func and JAX. Nothing here changes any `grad`.

Where an argument is a nested dict, list or tuple of tensors (a model's parameters), its gradient has the same structure.
Results are on the tape only where something around needs their derivative: an outer function of this module, or an
argument that requires a gradient.

>>> from minidl import func, tensor
>>> slope = func.grad(lambda x: x ** 3)
>>> slope(tensor(2.0)).item(), func.grad(slope)(tensor(2.0)).item()
(12.0, 12.0)
>>> func.hessian(lambda x: (x * x).sum())(tensor([1.0, 2.0])).tolist()
[[2.0, 0.0], [0.0, 2.0]]
>>> func.vmap(slope)(tensor([1.0, 2.0])).tolist()
[3.0, 12.0]
"""
from .batching import vmap
from .derivatives import (
    grad,
    grad_and_value,
    hessian,
    jacfwd,
    jacobian,
    jacrev,
    jvp,
    linearize,
    value_and_grad,
    vjp,
)
from .models import functional_call, stack_module_state

__all__ = ["functional_call", "grad", "grad_and_value", "hessian", "jacfwd", "jacobian", "jacrev", "jvp", "linearize",
           "stack_module_state", "value_and_grad", "vjp", "vmap"]
