"""Checkpointing: memory for time. Chen et al., "Training deep nets with sublinear memory cost", 2016."""
import numpy as np

from .edge import Edge
from .engine import sweep
from .modes import enable_grad, state
from .node import Node
from .tensor import Tensor, wrap

generators = []  # random generators whose numbers repeat; minidl.random puts its own in


def checkpoint(function, *args, use_reentrant=None, preserve_rng_state=True, **kwargs):
    """function(*args, **kwargs), whose intermediate results are not kept but computed again at backward.

    The result has the same values and gradients, those of parameters inside the function and of higher orders too. Random
    numbers from the default generator repeat, unless preserve_rng_state is False. use_reentrant is accepted for PyTorch's
    sake. The function must compute the same each time, and return a tensor or a tuple
    of tensors.
    """
    if not state.recording:
        return function(*args, **kwargs)
    drawn = [generator.get_state() for generator in generators if preserve_rng_state]
    start = Node("start of checkpoint", None, [])  # what the function records has higher numbers
    cut = [_cut(x) for x in args]
    result = function(*cut, **kwargs)
    outputs = result if isinstance(result, tuple) else (result,)
    if not all(isinstance(out, Tensor) for out in outputs):
        raise TypeError("checkpoint: the function returned something else than tensors")
    originals = {id(c): x for c, x in zip(cut, args) if isinstance(c, Tensor)}
    sources = [originals.get(id(x), x) for x in _sources(outputs, start.sequence)]
    if not sources:
        return result
    fresh = [wrap(out.array) for out in outputs]
    differentiable = [i for i, out in enumerate(outputs) if out._requires_grad]

    def again(node, gradients):
        """The rule: compute once more, now on a tape, and go back through it."""
        before = [generator.get_state() for generator in generators]
        _restore(drawn)
        higher = state.recording  # the backward pass itself is recorded
        inputs = list(args) if higher else [_cut(x) for x in args]
        try:
            with enable_grad():
                repeated = function(*inputs, **kwargs)
        finally:
            _restore(before)
        repeated = repeated if isinstance(repeated, tuple) else (repeated,)
        pairs = [(repeated[i], gradients[i]) for i in differentiable if gradients[i] is not None]
        replaced = {id(x): c for x, c in zip(args, inputs)}
        found = sweep([y for y, _ in pairs], [g for _, g in pairs], [replaced.get(id(x), x) for x in sources],
                         retain_graph=higher, create_graph=higher)
        return tuple(found)

    node = Node("checkpoint", again, [x._edge() for x in sources], len(fresh))
    node.saved = [tuple(sources)]
    node.cells = [x._cell for x in (*args, *sources) if isinstance(x, Tensor)]
    node.changes = node.count_changes()
    for i in differentiable:
        fresh[i]._node, fresh[i]._index, fresh[i]._requires_grad = node, i, True
    return tuple(fresh) if isinstance(result, tuple) else fresh[0]


def checkpoint_sequential(functions, segments, input, use_reentrant=None, preserve_rng_state=True):
    """The functions, or modules of a Sequential, one after the other, cut into so many checkpointed segments.

    The last segment, as in PyTorch, keeps its results. Raises ValueError unless 1 <= segments <= the number of functions.
    """
    functions = list(functions)
    if not 1 <= segments <= len(functions):
        raise ValueError(f"checkpoint_sequential: segments={segments}: a number from 1 to {len(functions)} expected")

    def through(part):
        def run(x):
            for function in part:
                x = function(x)
            return x
        return run
    size = len(functions) // segments
    for start in range(0, size * (segments - 1), size):
        input = checkpoint(through(functions[start:start + size]), input, preserve_rng_state=preserve_rng_state)
    return through(functions[size * (segments - 1):])(input)


def _restore(states):
    for generator, state_ in zip(generators, states):
        generator.set_state(state_)


def _cut(x):
    """The same memory as a leaf of its own."""
    if not (isinstance(x, Tensor) and x._requires_grad):
        return x
    leaf = x.detach()
    leaf._requires_grad = True
    return leaf


def _sources(outputs, start):
    """The tensors that the tape of a function began with: leaves, and what was recorded before `start`."""
    found, seen = {}, set()
    stack = [(x._node, x._index, x) if x._node is not None else (x, 0, x) for x in outputs if x._requires_grad]
    while stack:
        target, index, tensor = stack.pop()
        if type(target) is not Node:
            found.setdefault(id(target), target)
        elif target.sequence <= start:
            found.setdefault((id(target), index), tensor)
        elif target not in seen:
            seen.add(target)
            for e in target.edges:
                if e is not None:
                    stack.append((e.source, e.index, e))
    return [_tensor_of(x) if type(x) is Edge else x for x in found.values()]


def _tensor_of(e):
    """A stand-in for a tensor recorded earlier, of which only the edge is known."""
    out = wrap(np.broadcast_to(np.zeros((), e.dtype), e.shape))
    out._node, out._index, out._requires_grad = e.source, e.index, True
    return out
