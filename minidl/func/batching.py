"""vmap: a function of single examples as one of batches."""
from functools import wraps

from ..autograd import Tensor
from ..ops import moveaxis, stack
from ..random import default_generator
from .derivatives import _flat, _like_tree, _mapped


def vmap(func, in_dims=0, out_dims=0, randomness="error", *, chunk_size=None):
    """A function of batches that calls func for one example after the other and stacks the results.

        per_example = vmap(grad(loss), in_dims=(None, 0, 0))(weights, inputs, targets)

    in_dims: the axis of each argument along which the examples lie, None for an argument that all of them share; one for all,
    or a tuple with one for each argument, which may be structured as the argument is; arguments by name are shared. out_dims:
    where the axis of the examples is in each result. randomness: whether func may draw random numbers: 'error', 'different' or
    the 'same' for each example. chunk_size is accepted for PyTorch's sake: the batch is never more than one example.
    Raises ValueError for batches of different or no length, RuntimeError where func draws random numbers under 'error'.
    """
    if randomness not in ("error", "different", "same"):
        raise ValueError(f"vmap: randomness={randomness!r}: 'error', 'different' or 'same' expected")

    @wraps(func)
    def call(*args, **kwargs):
        axes = in_dims if isinstance(in_dims, (tuple, list)) else (in_dims,) * len(args)
        if len(axes) != len(args):
            raise ValueError(f"vmap: in_dims={in_dims} for {len(args)} arguments: one each expected")
        axes = [_along(arg, axis) for arg, axis in zip(args, axes)]
        lengths = {_length(x, axis) for arg, dims in zip(args, axes) for x, axis in zip(_flat(arg), dims) if axis is not None}
        if len(lengths) != 1 or lengths == {0}:
            raise ValueError(f"vmap: examples along axes of lengths {sorted(lengths)}: one length of at least 1 expected")
        start, results = default_generator.get_state(), []
        for i in range(lengths.pop()):
            if randomness == "same":
                default_generator.set_state(start)
            given = [_like_tree(arg, iter([_example(x, axis, i) for x, axis in zip(_flat(arg), dims)]))
                     for arg, dims in zip(args, axes)]
            results.append(func(*given, **kwargs))
            if randomness == "error" and default_generator.get_state() != start:
                raise RuntimeError("vmap: the function drew random numbers: randomness='different' or 'same' expected")
        dims = iter(_along(results[0], out_dims))
        columns = zip(*(_flat(result) for result in results))
        return _like_tree(results[0], iter([_stacked(column, next(dims)) for column in columns]))
    return call


def _length(x, axis):
    shape = getattr(x, "shape", ())
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"vmap: examples along axis {axis} of an argument of shape {tuple(shape)}: one that it has expected")
    return shape[axis]


def _example(x, axis, i):
    """One example of a batch, or what all of them share."""
    if axis is None:
        return x
    x = x if isinstance(x, Tensor) else Tensor(x)
    return x[(slice(None),) * (axis % x.ndim) + (i,)]


def _along(tree, axes):
    """For each tensor in a structure its axis: the same for all, or a structure of them."""
    if isinstance(axes, dict):
        return [axis for key, part in tree.items() for axis in _along(part, axes[key])]
    if isinstance(axes, (tuple, list)):
        return [axis for part, each in zip(tree, axes, strict=True) for axis in _along(part, each)]
    found = []
    _mapped(lambda x: found.append(axes), tree)
    return found


def _stacked(column, axis):
    """The results of all examples as one tensor, or the first where there is no axis for them."""
    if axis is None:
        return column[0]
    whole = stack([x if isinstance(x, Tensor) else Tensor(x) for x in column])
    return whole if axis == 0 else moveaxis(whole, 0, axis)
