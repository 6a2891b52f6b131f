"""What makes a function on arrays an operation on tensors, and what the tape writes down of each call.

An operation is a function on arrays; its rule, directly below it, gives the vector-Jacobian product:

    @op
    def mul(x1, x2):
        return np.multiply(x1, x2)

    @mul.vjp
    def mul_vjp(g, x1, x2, need):
        return g * x2 if need[0] else None, g * x1 if need[1] else None

A rule names what it needs: `g` (the gradient of the output), `y` (the output), any parameter of the operation, and
`need` (which parameters want a gradient), or `x_shape` where the shape of x is enough. What it does not name is not kept
for backward. It returns one gradient per parameter, in their order; a missing one is None and a single one needs no tuple.
It is written with operations and so can itself be recorded. The engine sums a gradient over broadcast axes and casts it to
the parameter's dtype, of a real parameter the real part.

The gradient of a real result by a complex number a + ib is, as in PyTorch, its derivative by a plus i times that by b. For a
holomorphic function, g goes back times the conjugate of its derivative.
"""
import sys
from functools import partial, update_wrapper

import numpy as np
from numpy import ndarray

from .._quick import Quick
from .edge import Edge
from .modes import DEBUG_TAPE, paused, state, watchers
from .node import Node, sequence
from .tensor import Cell, Fields, Tensor, now

_ALIASES = {"dim": "axis", "dims": "axis", "dim1": "axis1", "dim2": "axis2", "keepdim": "keepdims", "input": "x",
            "other": "x2"}  # PyTorch's names for ours
NEVER, ALWAYS = -1, -2  # when the tape keeps an argument


def op(forward=None, *, view=False):
    """Decorator: makes a function on arrays an operation on tensors. view: the result shares its first input's memory."""
    if forward is None:
        return partial(op, view=view)
    return Operation(forward, view)


class Operation(Quick):
    """A function on arrays, its rule, and what the tape keeps of each call. Compiled, a C struct: op.pxd has its fields."""

    def __init__(self, forward, view):
        code = forward.__code__
        named = code.co_argcount + code.co_kwonlyargcount
        self.forward, self.name, self.view = forward, forward.__name__, view
        self.names = code.co_varnames[:code.co_argcount]
        self.keywords = code.co_varnames[code.co_argcount:named]
        self.keyword_defaults = forward.__kwdefaults__ or {}
        self.variadic = code.co_varnames[named] if code.co_flags & 0x04 else None  # the name of *arrays
        values = forward.__defaults__ or ()
        self.defaults = dict(zip(self.names[len(self.names) - len(values):], values))
        self.trailing = [self.defaults.get(n) for n in self.names]  # the values of arguments that a call may leave out
        self.rule = self.waits = None
        self.complex_rule = None  # the operation to record where complex numbers are: itself, or one with another rule
        self.g_at = self.y_at = self.need_at = self.y_for = -1  # places among the rule's parameters
        self.first_for = ALWAYS  # when the tape keeps the first of several outputs
        self.blank = []  # a place for each of these
        self.arguments, self.noted = [], []  # what fills them: (place, position) of a parameter; (place, what, name) of others
        self.kept = [NEVER] * len(self.names)  # when the tape keeps a parameter: or for the gradient of the one at a position
        update_wrapper(self, forward)

    def complex_vjp(self, function=None, **kept_for):
        """Decorator: as vjp, the rule where an argument that wants a gradient, or the result, is complex."""
        if function is None:
            return partial(self.complex_vjp, **kept_for)
        self.complex_rule = Operation(self.forward, self.view)
        return self.complex_rule.vjp(function, complex=True, **kept_for)

    def vjp(self, function=None, complex=False, **kept_for):
        """Decorator: `function` is the operation's vector-Jacobian product. The names of its parameters say what it needs.

        complex: whether the rule is right for complex numbers too; without one that is, they are an error on the tape.
        kept_for: x1="x2" says that x1 is needed for x2's gradient alone, and so kept only where x2 wants one;
        y="activation" that the output is needed, and kept, only where an activation is given; first="activation" the same of
        the first of several outputs, which may then be changed in place; first=None that the rule never needs it.
        """
        if function is None:
            return partial(self.vjp, complex=complex, **kept_for)
        self.rule = function
        if "first" in kept_for:
            first = kept_for["first"]
            self.first_for = NEVER if first is None else self.names.index(first)
        if complex:
            self.complex_rule = self
        for place, n in enumerate(function.__code__.co_varnames[:function.__code__.co_argcount]):
            self.blank.append(None)
            if n == "g":
                self.g_at = place
            elif n == "need":
                self.need_at = place
            elif n == "y":
                self.y_at = place
                self.y_for = self.names.index(kept_for["y"]) if "y" in kept_for else -1
            elif n in self.names:
                position = self.names.index(n)
                self.arguments.append((place, position))
                self.kept[position] = self.names.index(kept_for[n]) if n in kept_for else ALWAYS
            elif n.endswith("_shape") and n[:-6] in self.names:
                self.noted.append((place, "shape", self.names.index(n[:-6])))
            elif self.variadic and n == self.variadic:
                self.noted.append((place, "all", None))
            elif self.variadic and n[:-6] == self.variadic:
                self.noted.append((place, "shapes", None))
            elif n in self.keywords:
                self.noted.append((place, "keyword", n))
            else:
                raise TypeError(f"{function.__name__}: parameter {n!r} is none of g, y, need or {self.name}'s {self.names}")
        return function

    # ---- a call ----
    def called(self, args, kwargs):
        """What the forward function makes of the arguments' arrays, at once, or when somebody looks (waiting.py)."""
        if kwargs and self.variadic is None:
            args, kwargs = self.bound(args, kwargs), None
        if now.chain is not None and (joined := now.chain.joined(self, self.name, args)) is not None:
            return joined
        if self.waits is not None and (waiting := self.waits(*args)) is not None:
            return waiting
        return self.run(args, kwargs)

    def run(self, args, kwargs=None):
        """The forward function on the arguments' arrays; recorded where one of them requires a gradient."""
        given = len(args)
        if kwargs or given == 0 or given > 3:
            y = self.forward(*[_array(x) for x in args], **(kwargs or {}))
        elif given == 1:  # the same, without building a list
            y = self.forward(_array(args[0]))
        elif given == 2:
            y = self.forward(_array(args[0]), _array(args[1]))
        else:
            y = self.forward(_array(args[0]), _array(args[1]), _array(args[2]))
        outs = tuple([_wrapped(part) for part in y]) if type(y) is tuple else _wrapped(y)
        for x in args:
            if _wants(x):
                if not paused or state.recording:
                    self.record(args, kwargs, outs)
                break
        if self.view:
            x = args[0]
            if isinstance(x, Fields):
                for out in outs if type(outs) is tuple else (outs,):
                    _share(out, x)
        return outs

    def bound(self, args, kwargs):
        """All arguments in the order of the signature."""
        names, args = self.names, list(args)
        kwargs = {_ALIASES[k] if k not in names and _ALIASES.get(k) in names else k: v for k, v in kwargs.items()}
        for n in names[len(args):]:
            if n in kwargs:
                args.append(kwargs.pop(n))
            elif n in self.defaults:
                args.append(self.defaults[n])
            else:
                raise TypeError(f"{self.name}: missing argument {n!r}")
        if kwargs:
            bad = next(iter(kwargs))
            raise TypeError(f"{self.name}: {'argument given twice' if bad in names else 'unknown argument'} {bad!r}")
        return tuple(args)

    def record(self, args, kwargs, outs):
        """Writes the call down: a node that knows where the arguments came from and what the rule will need."""
        if self.rule is None:
            flows = [o for o in (outs if type(outs) is tuple else (outs,)) if o.array.dtype.kind in "fc"]
            if not flows:
                return
            raise RuntimeError(f"{self.name}: has no derivative, and an argument requires a gradient: use x.detach()")
        if self.complex_rule is not self and _holds_complex(args, outs):
            if self.complex_rule is None:
                raise TypeError(f"{self.name}: has no derivative for complex numbers: use x.detach(), or real and imag")
            self.complex_rule.record(args, kwargs, outs)
            return
        given = len(args)
        node: Node = Node.__new__(Node)  # past __init__, whose call costs as much as the rest
        node.name, node.rule, node.sequence, node.n_outputs = self.name, self, next(sequence), 1
        node.edges = edges = [_edge(args[0]), _edge(args[1])] if given == 2 else [_edge(x) for x in args]
        node.saved = self.needed(args, edges) if self.arguments else ()
        node.cells = ()
        if self.noted:
            node.noted = [self.note(what, name, args, kwargs or {}) for _, what, name in self.noted]
            if self.variadic:
                node.cells = [x._cell for x in args if isinstance(x, Fields)]
        keeps_y = self.y_at >= 0 and (self.y_for < 0 or self.given(self.y_for, args))
        if type(outs) is tuple:
            node.n_outputs = len(outs)
            for i, out in enumerate(outs):
                flows_through(out, node, i)
            if keeps_y:  # as arrays: tensors would point back to the node
                arrays, cells = [out.array for out in outs], [out._cell for out in outs]
                if self.first_for != ALWAYS and (self.first_for == NEVER or not self.given(self.first_for, args)):
                    arrays[0] = None
                    del cells[0]
                node.out, node.cells = tuple(arrays), cells
        else:
            flows_through(outs, node, 0)
            if keeps_y:
                node.out, node.cells = outs.array, (outs._cell,)
        node.changes = node.count_changes()
        if watchers and state.anomaly:
            import traceback
            calls = [call for call in traceback.extract_stack() if call.filename != __file__]
            node.trace = "".join(traceback.format_list(calls))
        if DEBUG_TAPE:
            sources = [e and getattr(e.source, "name", "leaf") for e in node.edges]
            print(f"minidl: tape {node.sequence}: {self.name} <- {sources}", file=sys.stderr)

    def given(self, position, args):
        """Whether the call has an argument there, other than None."""
        return (args[position] if position < len(args) else self.trailing[position]) is not None

    def needed(self, args, edges):
        """The arguments, without those that the rule will not ask for."""
        saved = None
        for position in range(len(args)):
            wanted_for = self.kept[position]
            if wanted_for != ALWAYS and (wanted_for == NEVER or edges[wanted_for] is None):
                if saved is None:
                    saved = list(args)
                saved[position] = None
        return args if saved is None else saved

    def note(self, what, name, args, kwargs):
        """What a rule needs of the arguments beside their values."""
        if what == "shape":
            return getattr(_array(args[name]), "shape", ())
        if what == "keyword":
            return kwargs.get(name, self.keyword_defaults.get(name))
        return args if what == "all" else [getattr(_array(x), "shape", ()) for x in args]

    def run_rule(self, node, gradients):
        """The gradients of the inputs from those of the outputs."""
        values, saved = self.blank.copy(), node.saved
        given = len(saved)
        for place, position in self.arguments:
            values[place] = saved[position] if position < given else self.trailing[position]
        if self.noted:
            for i in range(len(self.noted)):
                values[self.noted[i][0]] = node.noted[i]
        if node.out is not None:
            values[self.y_at] = tuple([None if a is None else _output(node, a, i) for i, a in enumerate(node.out)]) \
                if type(node.out) is tuple else _output(node, node.out, 0)
        if self.g_at >= 0:
            values[self.g_at] = gradients[0] if node.n_outputs == 1 else tuple(gradients)
        if self.need_at >= 0:
            values[self.need_at] = need = [e is not None for e in node.edges]
            for _ in range(len(need), len(self.trailing)):
                need.append(False)
        count = len(values)
        if count == 1:  # the usual numbers of parameters, without another list
            return self.rule(values[0])
        if count == 2:
            return self.rule(values[0], values[1])
        if count == 3:
            return self.rule(values[0], values[1], values[2])
        if count == 4:
            return self.rule(values[0], values[1], values[2], values[3])
        return self.rule(*values)

    def __repr__(self):
        return f"<operation {self.name}>"


def _array(x):
    if isinstance(x, Fields):
        tensor: Fields = x
        return tensor.held
    return x


def _wants(x):
    return isinstance(x, Fields) and x._requires_grad


def _edge(x):
    return x._edge() if _wants(x) else None


def _wrapped(array):
    cls = Tensor
    out: Fields = cls.__new__(cls)
    out.held = array if type(array) is ndarray or not isinstance(array, (np.generic, float, int)) else np.asarray(array)
    out._cell = Cell.__new__(Cell)
    return out


def _holds_complex(args, outs):
    """Whether a result, or an argument that wants a gradient, is complex."""
    found = type(outs) is not tuple and _is_complex(outs)
    for x in args:
        found = found or (_wants(x) and _is_complex(x))
    if type(outs) is tuple:
        for out in outs:
            found = found or _is_complex(out)
    return found


def _is_complex(tensor):
    return Edge.kind(tensor.held) == "c"


def flows_through(out, node, index):
    """Marks a result as made by the node, if it is of a kind that has gradients."""
    kind = Edge.kind(out.held)
    if kind == "f" or kind == "c":
        out._node, out._requires_grad = node, True
        if index:
            out._index = index


def _share(out, x):
    """Marks a result as a view of x, if the operation, which may copy (reshape, an advanced index), gave one."""
    y, source = out.held, x.held
    base = getattr(y, "base", source)
    if y is source or base is source or (base is not None and base is getattr(source, "base", None)):
        out._share(x)


def _output(node, array, index):
    """An operation's saved output as a tensor that, when backward is recorded, leads back to the operation."""
    out = _wrapped(array)
    if state.recording:
        flows_through(out, node, index)
    return out
