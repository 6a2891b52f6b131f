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


def backward(self, gradient=None, retain_graph=False, create_graph=False):
    """Computes the derivative of this tensor by every leaf that requires a gradient and adds it to the leaf's `grad`.

    gradient: the derivative of the final result by this tensor, of its shape; may be left out for a single element.
    retain_graph: keep the tape for another backward. create_graph: record backward itself, for higher orders.
    """
    sweep([self], [gradient], None, retain_graph or create_graph, create_graph)


Tensor.backward = backward


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
            g = _hooked(leaf._hooks, g)
            leaf.grad = g if leaf.grad is None else leaf.grad + g
    finally:
        paused.pop()
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
    return g if g.array.dtype == dtype else g.astype(dtype)


def grad(outputs, inputs, grad_outputs=None, retain_graph=None, create_graph=False, allow_unused=False):
    """The gradients of the sum of `outputs` by each of `inputs`, without touching any `grad`.

    outputs, inputs: a tensor or a sequence of them. grad_outputs: as `gradient` of `Tensor.backward`.
    Returns a tuple, one gradient per input. Raises RuntimeError where an input was not used, or gives None for it with
    allow_unused.
    """
    outputs, inputs = _listed(outputs), _listed(inputs)
    grad_outputs = [None] * len(outputs) if grad_outputs is None else _listed(grad_outputs)
    if len(grad_outputs) != len(outputs):
        raise ValueError(f"grad: {len(grad_outputs)} grad_outputs for {len(outputs)} outputs: one each expected")
    for i, x in enumerate(inputs):
        if not x._requires_grad:
            raise RuntimeError(f"grad: inputs[{i}] does not require a gradient")
    keep = create_graph if retain_graph is None else retain_graph
    found = sweep(outputs, grad_outputs, inputs, keep, create_graph)
    for i, g in enumerate(found):
        if g is None and not allow_unused:
            raise RuntimeError(f"grad: inputs[{i}] was not used for the outputs: pass allow_unused=True to get None for it")
    return tuple(found)


def sum_to(g, shape):
    """The sum of g over the axes that broadcasting from `shape` added or stretched."""
    if not shape:
        return g.sum()
    lead = g.ndim - len(shape)
    axes = tuple(range(lead)) + tuple(lead + i for i, n in enumerate(shape) if n == 1 and g.shape[lead + i] != 1)
    total = g.sum(axis=axes)
    return total if total.shape == shape else total.reshape(shape)


def _start(output, g):
    """The first gradient: what was given, checked, or one."""
    if not output._requires_grad:
        raise RuntimeError("backward: this tensor does not require a gradient: nothing it was computed from does, or it "
                           "was computed under no_grad()")
    if g is None:
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
