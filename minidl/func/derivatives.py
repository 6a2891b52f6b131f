"""Gradients, Jacobians and products with them."""
import threading
from contextlib import contextmanager
from functools import wraps

import numpy as np

from ..autograd import Tensor, enable_grad
from ..autograd import grad as tape_grad
from ..autograd.tensor import wrap
from ..ops import positive, reshape, stack, zeros_like


class _Level(threading.local):
    depth = 0  # how many derivatives are being taken around this one


_level = _Level()


@contextmanager
def _inside():
    """The function itself runs in here, on the tape."""
    _level.depth += 1
    try:
        with enable_grad():
            yield
    finally:
        _level.depth -= 1


def value_and_grad(func, argnums=0, has_aux=False):
    """A function with func's arguments that returns (func's value, its gradient by the arguments at `argnums`).

    func: returns a tensor of one element, or with has_aux a pair of it and anything else; the value is then that pair.
    argnums: a position, or a tuple of positions, for which a tuple of gradients is returned.
    Raises TypeError where func returns anything else.
    """
    @wraps(func)
    def call(*args, **kwargs):
        positions = (argnums,) if isinstance(argnums, int) else tuple(argnums)
        args, leaves, recorded = _on_tape(args, positions)
        with _inside():
            result = func(*args, **kwargs)
        value = result[0] if has_aux else result
        if not isinstance(value, Tensor) or value.size != 1:
            given = f"shape {value.shape}" if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"grad: the function returned {given}: a tensor of one element expected")
        gradients = _restored(args, positions, _pull([value], leaves, None, recorded))
        value = value if recorded else value.detach()
        return (value, result[1]) if has_aux else value, gradients[0] if isinstance(argnums, int) else gradients
    return call


def grad_and_value(func, argnums=0, has_aux=False):
    """value_and_grad with its results the other way round, as torch.func has it: (gradient, value)."""
    both = value_and_grad(func, argnums, has_aux)
    return wraps(func)(lambda *args, **kwargs: both(*args, **kwargs)[::-1])


def grad(func, argnums=0, has_aux=False):
    """A function with func's arguments that returns the gradient of func, whose value has one element.

    argnums, has_aux: as for value_and_grad; with has_aux the function returns (gradient, aux).
    """
    both = value_and_grad(func, argnums, has_aux)

    @wraps(func)
    def call(*args, **kwargs):
        value, gradient = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient
    return call


def vjp(func, *primals, has_aux=False):
    """(func(*primals), a function from a gradient of the result to the gradients of the primals: a tuple of them, or the
    only one); has_aux: func returns a pair of its result and anything else, which comes last.
    """
    args, leaves, recorded = _on_tape(primals, range(len(primals)))
    with _inside():
        y, *aux = func(*args) if has_aux else (func(*args),)

    def pull(*cotangents):
        given = _flat(cotangents[0] if len(cotangents) == 1 else cotangents)
        again = recorded or _level.depth > 0 or any(c.requires_grad for c in given)
        return _restored(args, range(len(args)), _pull(_flat(y), leaves, given, again))
    return _mapped(lambda out: out if recorded else out.detach(), y), pull, *aux


def jvp(func, primals, tangents, *, strict=False, has_aux=False):
    """(func(*primals), the derivative of func along `tangents`), by differentiating its vector-Jacobian product once more.

    u -> u^T J is linear in u, so its own vector-Jacobian product with v is J v (Townsend, "A new trick for calculating
    Jacobian vector products", 2017). has_aux: as for vjp. strict is accepted for PyTorch's sake. Raises ValueError where there
    is not one tangent for each primal.
    """
    (y, push, *aux) = _linear(func, primals, has_aux)
    if len(primals) != len(tangents):
        raise ValueError(f"jvp: {len(primals)} primals, {len(tangents)} tangents: as many expected")
    return y, push(*tangents), *aux


def linearize(func, *primals):
    """(func(*primals), the function from tangents of the primals to the derivative along them), which is computed once."""
    return _linear(func, primals)


def _linear(func, primals, has_aux=False):
    """The result of a function, its derivative as a linear function, and aux."""
    args, leaves, recorded = _on_tape(primals, range(len(primals)))
    with _inside():
        y, *aux = func(*args) if has_aux else (func(*args),)
        outputs = _flat(y)
        dummies = [zeros_like(out, requires_grad=True) for out in outputs]
        pulled = _pull(outputs, leaves, dummies, True)

    def push(*tangents):
        return _like_tree(y, iter(_pull(pulled, dummies, _flat(tuple(tangents)), recorded)))
    return _mapped(lambda out: out if recorded else out.detach(), y), push, *aux


def jacobian(func, argnums=0, *, has_aux=False, chunk_size=None):
    """A function with func's arguments that returns all derivatives of func. Shape: the result's, then the argument's.

    One vector-Jacobian product for each element of the result. argnums: a position, or a tuple of them for a tuple. Where
    func returns a structure of tensors, its Jacobians have the same one, and so have those of an argument. has_aux: func
    returns a pair of its result and anything else, and so does the function. chunk_size is accepted for PyTorch's sake.
    """
    @wraps(func)
    def call(*args, **kwargs):
        positions = (argnums,) if isinstance(argnums, int) else tuple(argnums)
        args, leaves, recorded = _on_tape(args, positions)
        with _inside():
            result = func(*args, **kwargs)

        def by_arguments(y):
            rows = []
            for at in np.ndindex(y.shape):
                seed = zeros_like(y)
                seed[at] = 1
                rows.append(_pull([y], leaves, [seed], recorded))
            found = [reshape(stack([row[k] for row in rows]), y.shape + x.shape) if rows else
                     wrap(np.zeros(y.shape + x.shape, x.dtype, like=x.array)) for k, x in enumerate(leaves)]
            found = _restored(args, positions, found)
            return found[0] if isinstance(argnums, int) else found
        found = _mapped(by_arguments, result[0] if has_aux else result)
        return (found, result[1]) if has_aux else found
    return call


jacrev = jacfwd = jacobian  # PyTorch's names; both have the same values


def hessian(func, argnums=0):
    """A function with func's arguments that returns all second derivatives of func: the Jacobian of its Jacobian.

    Shape: the result's, then the argument's twice.
    """
    return jacobian(jacobian(func, argnums), argnums)


def _on_tape(args, positions):
    """The arguments with those at `positions` on the tape, the list of these, and whether results are to stay on it."""
    args, leaves = list(args), []
    recorded = _level.depth > 0

    def leaf(x):
        nonlocal recorded
        x = x if isinstance(x, Tensor) else Tensor(x)
        if x.requires_grad:
            recorded = True
            x = positive(x)  # still on the tape of the derivative around this one, but a tensor of our own
        else:
            x = x.detach().requires_grad_()
        leaves.append(x)
        return x
    with enable_grad():
        for i in positions:
            args[i] = _mapped(leaf, args[i])
    return args, leaves, recorded


def _pull(outputs, inputs, cotangents, recorded):
    """The gradients of the outputs by the inputs, zeros where nothing depends on one."""
    cotangents = [None] * len(outputs) if cotangents is None else cotangents
    pairs = [(y, c) for y, c in zip(outputs, cotangents) if y.requires_grad]
    found = tape_grad([y for y, _ in pairs], inputs, [c for _, c in pairs], retain_graph=True, create_graph=recorded,
                      allow_unused=True) if pairs else [None] * len(inputs)
    return [zeros_like(x) if g is None else g for x, g in zip(inputs, found)]


def _restored(args, positions, flat):
    """The list of gradients in the structure of the arguments."""
    flat = iter(flat)
    return tuple(_like_tree(args[i], flat) for i in positions)


def _mapped(f, tree):
    if isinstance(tree, dict):
        return {k: _mapped(f, x) for k, x in tree.items()}
    if isinstance(tree, (list, tuple)) and any(isinstance(x, (Tensor, dict, list, tuple)) for x in tree):
        return type(tree)(_mapped(f, x) for x in tree)
    return f(tree)


def _flat(tree):
    found = []
    _mapped(found.append, tree)
    return found


def _like_tree(tree, values):
    return _mapped(lambda _: next(values), tree)
