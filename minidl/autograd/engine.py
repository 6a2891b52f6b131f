"""Backward: walks the tape from the results to the leaves, newest operation first, without recursion.

An operation's sequence number is above those of its inputs, so taking the highest number first guarantees that every use
of a tensor has added its share before the tensor's own operation is reached.
"""
import numpy as np

from .. import kernels
from .edge import Edge
from .modes import paused, state
from .node import Node
from .op import Operation
from .tensor import Fields, Tensor, now, wrap


def backward(tensors, grad_tensors=None, retain_graph=None, create_graph=False, *, inputs=None):
    """Computes the derivative of a sum of tensors by every leaf that requires a gradient and adds it to the leaf's `grad`.

    grad_tensors: the derivatives of the final result by these tensors, each of its shape; None for a single element.
    retain_graph: keep the tape for another backward; None: create_graph, which records backward itself, for higher orders.
    inputs: tensors, to whose `grad` alone is added. Raises ValueError for another number of grad_tensors or no inputs.
    """
    tensors = _listed(tensors)
    gradients = _one_each("backward", "grad_tensors", grad_tensors, tensors)
    keep = create_graph if retain_graph is None else retain_graph
    if inputs is None:
        sweep(tensors, gradients, None, keep, create_graph)
        return
    inputs = _listed(inputs)
    if not inputs:
        raise ValueError("backward: inputs is empty: tensors expected, or None for all leaves")
    for x, g in zip(inputs, sweep(tensors, gradients, inputs, keep, create_graph)):
        if g is not None and not (x._node is not None and x.retains_grad):  # else it was kept already
            _add_to(x, g)


def tensor_backward(self, gradient=None, retain_graph=None, create_graph=False, inputs=None):
    """Computes the derivative of this tensor by every leaf that requires a gradient and adds it to the leaf's `grad`.

    gradient: the derivative of the final result by this tensor, of its shape; may be left out for a single element. The
    rest: as autograd.backward.
    """
    backward([self], [gradient], retain_graph, create_graph, inputs=inputs)


Tensor.backward = tensor_backward


def sweep(outputs, gradients, inputs=None, retain_graph=False, create_graph=False):
    """Adds to the `grad` of every leaf, or, with `inputs`, returns the gradients of these (None where there is no path)."""
    if now.chain is not None:
        now.chain.settle()
    walk: Sweep = Sweep(outputs, inputs)
    recording, state.recording = state.recording, create_graph
    paused.append(None)
    try:
        for output, g in zip(outputs, gradients):
            walk.start(output, _start(output, g))
        while walk.waiting:
            walk.step(retain_graph, create_graph)
        if inputs is not None:
            return [walk.found(x) for x in inputs]
        for leaf, g, _ in walk.leaves.values():
            _add_to(leaf, _hooked(leaf._hooks, g))
    finally:
        paused.remove(None)
        state.recording = recording
    return None


class Sweep:
    """One walk over the tape. Compiled, a C struct: engine.pxd has its fields."""

    def __init__(self, outputs, inputs):
        self.pending = {}   # node -> gradients of its outputs so far
        self.waiting = []   # these nodes, the newest last
        self.leaves = {}    # id of a leaf -> [leaf, its gradient so far, whether that is a sum of our own]
        self.wanted = None if inputs is None else _nodes_between(outputs, inputs)  # None: all nodes
        self.capture = {(x._node, x._index) for x in inputs or () if x._node is not None}
        self.captured = {}  # (node, index) of an input that is not a leaf -> its gradient
        self.anomaly = state.anomaly

    def start(self, output, g):
        """The gradient of a result."""
        if output._node is None:
            self.leaves[id(output)] = [output, g, False]
        else:
            self.add(output._node, output._index, g)

    def add(self, node, index, g):
        """One more share of the gradient of a node's output."""
        slots = self.pending.get(node)
        if slots is None:
            self.pending[node] = slots = [None] * node.n_outputs
            self.wait(node)
        before = slots[index]
        slots[index] = g if before is None else before + g

    def wait(self, node):
        """Puts a node in its place; mostly that is near the end."""
        waiting = self.waiting
        low, high = 0, len(waiting)
        while low < high:
            middle = (low + high) // 2
            other: Node = waiting[middle]
            if other.sequence < node.sequence:
                low = middle + 1
            else:
                high = middle
        waiting.insert(low, node)

    def step(self, retain_graph, create_graph):
        """Takes the newest node, runs its rule and passes the gradients on."""
        node: Node = self.waiting.pop()
        slots = self.pending.pop(node)
        if node.hooks is not None:
            for index, hooks in node.hooks.items():
                if slots[index] is not None:
                    slots[index] = _hooked(hooks, slots[index])
        if self.wanted is not None:
            for index, g in enumerate(slots):
                if (node, index) in self.capture:
                    self.captured[node, index] = g
            if node not in self.wanted:
                return
        _check(node)
        edges = node.edges
        inputs = len(edges)
        if isinstance(node.rule, Operation):
            operation: Operation = node.rule
            inputs = max(inputs, len(operation.trailing))  # a call may have left some out
            results = operation.run_rule(node, slots)
        else:
            results = node.rule(node, slots)
        if now.chain is not None:
            now.chain.settle()
        if type(results) is not tuple:
            results = (results,)
        if len(results) > inputs:
            raise RuntimeError(f"backward of {node.name}: {len(results)} gradients for {inputs} arguments")
        if self.anomaly:
            _check_nan(node, results)
        taken = None  # memory that is not free to become a leaf's own
        for i in range(min(len(results), len(edges))):
            edge: Edge = edges[i]
            g = results[i]
            if edge is None or g is None:
                continue
            if not edge.fits(g.held):
                g = _fitted(g, edge.shape, edge.dtype)
            target = edge.source
            if isinstance(target, Node):
                if self.wanted is None or target in self.wanted or (target, edge.index) in self.capture:
                    self.add(target, edge.index, g)
            elif create_graph or id(target) in self.leaves:
                self.accumulate(target, g, create_graph)
            else:
                taken = _taken(node, slots) if taken is None else taken
                self.leaves[id(target)] = [target, _own(g, taken), False]
        if not retain_graph:
            node.saved = node.out = node.noted = None

    def accumulate(self, leaf, g, create_graph):
        """One more share of a leaf's gradient. From the third on the sum is memory of our own, and is written in place."""
        entry = self.leaves.get(id(leaf))
        if entry is None:
            self.leaves[id(leaf)] = [leaf, g, False]
        elif entry[2] and type(g.array) is np.ndarray:
            total = entry[1].array
            kernels.add(total, g.array, out=total)
        else:
            entry[1], entry[2] = entry[1] + g, not create_graph

    def found(self, x):
        """The gradient of one of the inputs."""
        entry = self.leaves.get(id(x))
        return self.captured.get((x._node, x._index)) if entry is None else _hooked(x._hooks, entry[1])


def _fitted(g, shape, dtype):
    """g summed over the axes that broadcasting added or stretched, in the dtype of what it is the gradient of."""
    if g.array.shape != shape:
        g = sum_to(g, shape)
    if g.array.dtype.kind == "c" and dtype.kind != "c":
        g = g.real
    return g if g.array.dtype == dtype else g.astype(dtype)


def grad(outputs, inputs, grad_outputs=None, retain_graph=None, create_graph=False, only_inputs=True, allow_unused=None,
         is_grads_batched=False, materialize_grads=False):
    """The gradients of the sum of `outputs` by each of `inputs`, without touching any `grad`.

    outputs, inputs: a tensor or a sequence of them. grad_outputs: as `gradient` of `Tensor.backward`; is_grads_batched: they
    have another first axis, and so have the results, one for each. only_inputs is accepted for PyTorch's sake.
    Returns a tuple, one gradient per input. Raises RuntimeError where an input was not used, or gives None for it with
    allow_unused, zeros with materialize_grads.
    """
    outputs, inputs = _listed(outputs), _listed(inputs)
    grad_outputs = _one_each("grad", "grad_outputs", grad_outputs, outputs)
    for i, x in enumerate(inputs):
        if not x._requires_grad:
            raise RuntimeError(f"grad: inputs[{i}] does not require a gradient")
    keep = create_graph if retain_graph is None else retain_graph
    if is_grads_batched:
        found = _batched(outputs, inputs, grad_outputs, create_graph)
    else:
        found = sweep(outputs, grad_outputs, inputs, keep, create_graph)
    for i, g in enumerate(found):
        if g is None and materialize_grads:
            found[i] = wrap(np.zeros_like(inputs[i].array))
        elif g is None and not allow_unused:
            raise RuntimeError(f"grad: inputs[{i}] was not used for the outputs: pass allow_unused=True to get None for it")
    return tuple(found)


def _batched(outputs, inputs, grad_outputs, create_graph):
    """The gradients for each of a batch of grad_outputs, put together along a new first axis."""
    counts = {g.shape[0] for g in grad_outputs if g is not None}
    if len(counts) != 1:
        raise ValueError(f"grad: is_grads_batched with {len(counts)} lengths of the first axis in grad_outputs: one expected")
    rows = [sweep(outputs, [None if g is None else g[i] for g in grad_outputs], inputs, True, create_graph)
            for i in range(counts.pop())]
    found = []
    for x, gradients in zip(inputs, zip(*rows)):
        whole = None if gradients[0] is None else wrap(np.zeros((len(rows), *x.shape), x.dtype, like=x.array))
        for i, g in enumerate(gradients if whole is not None else ()):
            whole[i] = g
        found.append(whole)
    return found


def _add_to(x, g):
    """Adds a gradient to `grad`."""
    x.grad = g if x.grad is None else x.grad + g
    for hook in x._after_grad or ():
        hook(x)


def sum_to(g, shape):
    """The sum of g over the axes that broadcasting from `shape` added or stretched."""
    if not shape:
        return g.sum()
    lead = g.ndim - len(shape)
    axes = tuple(range(lead)) + tuple(lead + i for i, n in enumerate(shape) if n == 1 and g.shape[lead + i] != 1)
    total = g.sum(axis=axes)
    return total if total.shape == shape else total.reshape(shape)


def _one_each(name, what, gradients, outputs):
    """A list of a gradient, or None, for each output."""
    gradients = [None] * len(outputs) if gradients is None else _listed(gradients)
    if len(gradients) != len(outputs):
        raise ValueError(f"{name}: {len(gradients)} {what} for {len(outputs)} outputs: one each expected")
    return gradients


def _start(output, g):
    """The first gradient: what was given, checked, or one."""
    if output._node is not None:
        output._edge()  # raises where the tape lost it by a change in place
    if not output._requires_grad:
        raise RuntimeError("backward: this tensor does not require a gradient: nothing it was computed from does, or it "
                           "was computed under no_grad()")
    if g is None:
        if output.array.dtype.kind == "c":
            raise RuntimeError(f"backward: a {output.dtype}: give `gradient`, or start from a real number (y.real)")
        if output.array.size != 1:
            raise RuntimeError(f"backward: shape {output.shape}: give `gradient`, or reduce to one element (y.sum())")
        one = np.empty_like(output.array)
        one[...] = 1
        return wrap(one)
    if not isinstance(g, Tensor):
        g = Tensor(g, dtype=output.dtype)
    if g.shape != output.shape:
        raise ValueError(f"backward: gradient {g.shape}: the tensor's shape {output.shape} expected")
    return g


def _check(node):
    if node.saved is None:
        raise RuntimeError(f"backward of {node.name}: the tape was freed by an earlier backward: pass retain_graph=True to it")
    changes = node.count_changes()
    if changes != node.changes:
        raise RuntimeError(
            f"backward of {node.name}: a tensor that its derivative needs was changed in place since (change {changes}, kept "
            f"at {node.changes}): compute a new tensor instead of x += y or x[...] = y")


def _check_nan(node, results):
    for i, g in enumerate(results):
        if g is not None and g.array.dtype.kind in "fc" and bool(np.isnan(g.array).any()):
            raise RuntimeError(f"backward of {node.name}: NaN in the gradient of argument {i}. The operation was called at:\n"
                               f"{node.trace or '(outside detect_anomaly: run the forward pass inside it too)'}")


def _hooked(hooks, g):
    for hook in hooks or ():
        changed = hook(g)
        if changed is not None:
            g = changed
    return g


def _nodes_between(outputs, inputs):
    """The nodes on a path from an output to one of the inputs."""
    seen, stack = set(), [x._node for x in outputs if x._node is not None]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack += [e.source for e in node.edges if e and type(e.source) is Node]
    leaves = {id(x) for x in inputs if x._node is None}
    ends = {(x._node, x._index) for x in inputs if x._node is not None}
    wanted = set()
    for node in sorted(seen, key=lambda n: n.sequence):  # inputs before what uses them
        if any(e and (id(e.source) in leaves or e.source in wanted or (e.source, e.index) in ends) for e in node.edges):
            wanted.add(node)
    return wanted


def _memory(array):
    """What owns an array's memory."""
    base = getattr(array, "base", None)
    while base is not None:
        array, base = base, getattr(base, "base", None)
    return id(array)


def _taken(node, slots):
    """Memory that a rule was given, and so may have passed on."""
    taken = {_memory(g.array) for g in slots if g is not None}
    for value in (*node.saved, node.out):
        for x in value if type(value) is tuple else (value,):
            if isinstance(x, Fields):
                taken.add(_memory(x.array))
            elif type(x) is not int and x is not None and hasattr(x, "dtype"):
                taken.add(_memory(x))
    return taken


def _own(g, taken):
    """A gradient to keep on a leaf: copied when someone else may hold the same memory."""
    memory = _memory(g.array)
    if memory in taken or (type(g.array) is np.ndarray and not g.array.flags.writeable):
        return wrap(g.array.copy())
    taken.add(memory)
    return g


def _listed(x):
    return list(x) if isinstance(x, (list, tuple)) else [x]
