"""Operations of one's own, in PyTorch's form: a class with `forward` and `backward`."""
from functools import wraps

import numpy as np

from .modes import no_grad, state
from .node import Node
from .tensor import Tensor, wrap


class Context:
    """What `forward` hands to `backward`: saved tensors, and any attribute one sets on it."""

    needs_input_grad = ()  # per argument of forward: does it want a gradient
    materialize = True
    _dirty = ()
    _saved = ()            # tensors, or (index of an output, its array)
    _not_differentiable = ()
    _node = None           # only while backward runs, since the node holds the context

    def save_for_backward(self, *tensors):
        """Keeps tensors (or None) for backward; a change of one of them in place in between is then an error."""
        self._saved = tensors

    @property
    def saved_tensors(self):
        """The tensors of `save_for_backward`, in its order."""
        return tuple(_output_of(self._node, *x) if type(x) is tuple else x for x in self._saved)

    def mark_non_differentiable(self, *outputs):
        """These outputs carry no gradient."""
        self._not_differentiable = {id(x) for x in outputs}

    def mark_dirty(self, *inputs):
        """These arguments of forward were changed in place and are among its results."""
        self._dirty = inputs

    def set_materialize_grads(self, value):
        """Whether the gradient of an output that was not used is given to backward as zeros (so at first) or as None."""
        self.materialize = bool(value)


class Function:
    """A differentiable operation given by two static methods.

        class Cube(Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                return x ** 3

            @staticmethod
            def backward(ctx, g):
                x, = ctx.saved_tensors
                return g * 3 * x ** 2

        y = Cube.apply(x)

    Instead of taking ctx itself, forward may leave it to a third method, setup_context(ctx, inputs, output).
    forward gets tensors and runs outside the tape. backward gets one gradient per output and returns one per argument of
    forward, None for those that want none. It is written with operations, and so can be differentiated again.
    """

    @staticmethod
    def forward(ctx, *args):
        raise NotImplementedError("Function: forward(ctx, ...) is to be defined")

    setup_context = None

    @staticmethod
    def backward(ctx, *gradients):
        raise NotImplementedError("Function: backward(ctx, *gradients) is to be defined")

    @classmethod
    def apply(cls, *args):
        """Runs forward and records backward. Raises TypeError where forward returns something else than tensors."""
        ctx = Context()
        tracked = state.recording and any(isinstance(x, Tensor) and x._requires_grad for x in args)
        ctx.needs_input_grad = tuple(tracked and isinstance(x, Tensor) and x._requires_grad for x in args)
        with no_grad():
            if cls.setup_context is None:
                result = cls.forward(ctx, *args)
            else:
                result = cls.forward(*args)
                cls.setup_context(ctx, args, result)
        outputs = result if isinstance(result, tuple) else (result,)
        for out in outputs:
            if not isinstance(out, Tensor):
                raise TypeError(f"{cls.__name__}.forward: returned {type(out).__name__}: a tensor or a tuple of them expected")
        if not tracked:
            return result
        edges = [x._edge() if isinstance(x, Tensor) and x._requires_grad else None for x in args]
        node = Node(cls.__name__, _run_backward, edges, len(outputs))
        for x in ctx._dirty:
            if x._requires_grad and x._node is None:
                raise RuntimeError(f"{cls.__name__}.forward: in-place change of a leaf that requires a gradient")
            x._cell.recorded = x._tracked = x._cell.recorded + 1
        kept = [id(x) for x in ctx._dirty]
        fresh = tuple(wrap(out.array) if any(out is x for x in args) and id(out) not in kept else out
                      for out in outputs)  # never the argument itself, unless it was changed
        for i, (out, given) in enumerate(zip(fresh, outputs)):
            if out.array.dtype.kind in "fc" and id(given) not in ctx._not_differentiable:
                out._node, out._index, out._requires_grad = node, i, True
        places = {id(given): i for i, (out, given) in enumerate(zip(fresh, outputs)) if out is given}
        node.cells = [x._cell for x in ctx._saved if x is not None]
        # An output is kept as its array: as a tensor it would point back to the node.
        ctx._saved = tuple((places[id(x)], x.array) if id(x) in places else x for x in ctx._saved)
        node.saved = [(cls, ctx, [(out.array.shape, out.array.dtype) for out in fresh]), ctx._saved]
        node.changes = node.count_changes()
        return fresh if isinstance(result, tuple) else fresh[0]


def once_differentiable(backward):
    """Decorator for a backward that is not written with operations: its results have no derivative, and asking is an error."""
    def no_rule(node, gradients):
        raise RuntimeError("once_differentiable: a second derivative of a function whose backward is marked so")

    @wraps(backward)
    def call(ctx, *gradients):
        with no_grad():
            results = backward(ctx, *gradients)
        edges = [g._edge() for g in gradients if isinstance(g, Tensor) and g._requires_grad]
        listed = results if isinstance(results, tuple) else (results,)
        node = Node("once_differentiable", no_rule, edges, len(listed)) if state.recording and edges else None
        for i, g in enumerate(listed if node is not None else ()):
            if g is not None:
                g._node, g._index, g._requires_grad = node, i, True
        return results
    return call


def _run_backward(node, gradients):
    cls, ctx, outputs = node.saved[0]
    if ctx.materialize:
        like = next(g.array for g in gradients if g is not None)
        gradients = [wrap(np.zeros(shape, dtype, like=like)) if g is None else g
                     for g, (shape, dtype) in zip(gradients, outputs)]
    ctx._node = node
    try:
        results = cls.backward(ctx, *gradients)
    finally:
        ctx._node = None
    results = results if isinstance(results, tuple) else (results,)
    while len(results) > len(node.edges) and results[-1] is None:
        results = results[:-1]
    if len(results) != len(node.edges):
        raise RuntimeError(f"{cls.__name__}.backward: {len(results)} gradients returned: one for each of {len(node.edges)} "
                           "arguments expected")
    return results


def _output_of(node, index, array):
    out = wrap(array)
    if node is not None:
        out._node, out._index, out._requires_grad = node, index, True
    return out
