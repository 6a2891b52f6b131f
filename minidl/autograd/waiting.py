"""Results that wait, so that operations written one after the other can run as one kernel.

    F.max_pool2d(F.relu(self.conv(x)), 2)

The convolution checks its arguments and returns a tensor that waits: its shape is known, its array is not computed. The ReLU
that is called with it joins it, and so does the pooling; together they are a `Chain`. Anything else that the library is asked
to do settles the chain first: another operation, a look at the array of any tensor, a change of one. (A change in place of
the last result, by an operation that may join, joins; the two results are then one.) Results between that
nobody refers to any more are then left out: where the three have become one line, or one name, one kernel computes the last of
them and the two before it never exist. What still has a name is computed as it would have been at once.

Nobody can tell the difference, because nothing can change in between: every change in the library settles first, and where
memory can be reached from outside (an array that somebody shares with a tensor: `reached`) the operation does not wait.
There is one chain at most, in all threads.
"""
import os
import threading
from functools import partial
from math import prod
from sys import getrefcount
from weakref import ref

from numpy import dtype, empty, ndarray

from ..kernels import core, get_backend
from .modes import enable_grad, no_grad, paused, state, watchers
from .tensor import Fields, Tensor, now, wrap

WORTH = 4096  # elements of a result from which on waiting spares more than it costs
FLOAT32 = dtype("float32")
lock = threading.RLock()  # held while a chain is built or settled
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)


class Waiting(Tensor):
    """The result of an operation that waits. It becomes an ordinary Tensor as soon as it is asked for more than its shape."""

    def __getattribute__(self, name):
        held = object.__getattribute__(self, "__dict__")
        chain = held.get("_chain")
        if chain is not None:
            if name == "shape":
                return held["_shape"]
            if name == "ndim":
                return len(held["_shape"])
            chain.settle()
        return object.__getattribute__(self, name)


def join(name, function, *args):
    """The result of a function of tensors that joins what waits, or None where it does not."""
    return None if now.chain is None else now.chain.joined(function, name, args)


class Chain:
    """Operations that may become one kernel.

    head(**options) computes the first one; the options say which of those behind it are part of that. rules: by the names of
    the operations that may join, rule(chain, *its other arguments) -> (shape, options), or None where it may not.
    """

    def __init__(self, head, rules):
        self.head, self.rules = head, rules
        self.stages = []  # of each operation: a weak reference to its result, options, the operation, its other arguments
        self.over = set()  # the numbers of those that changed the result before them in place
        self.running = False
        self.recording = not paused or state.recording

    def add(self, shape, options, operation=None, rest=()):
        """One more operation: its result, which waits."""
        result = Waiting.__new__(Waiting)
        held = object.__getattribute__(result, "__dict__")
        held["_chain"], held["_shape"] = self, shape
        self.shape, self.options = shape, options
        self.stages.append((ref(result), options, operation, rest))
        return result

    def joined(self, operation, name, args):
        """The result of an operation that joins the chain, or None: then the chain is settled."""
        rule = None if self.running or watchers else self.rules.get(name)
        if rule is not None:
            with lock:
                if now.chain is self and not self.running:
                    last = self.stages[-1][0]()
                    if last is not None and len(args) > 1 and args[1] is last and name == "add":
                        args = args[::-1]
                    if last is not None and args and args[0] is last and (not paused or state.recording) == self.recording:
                        found = rule(self, *args[1:])
                        if found is not None:
                            shape, options = found
                            return self.add(shape, options, operation, args[1:])
        self.settle()
        return None

    def written(self, operation, tensor, rest):
        """The result of a change in place, by an operation that joins the chain, of its last result; None where it does not.

        Both results are then one: what refers to the one before sees the change.
        """
        if self.stages[-1][0]() is not tensor:
            return None
        result = self.joined(operation, operation.__name__, (tensor, *rest))
        if result is not None:
            self.over.add(len(self.stages) - 1)
        return result

    def settle(self):
        """Computes the last result, and those before it that somebody still refers to."""
        with lock:
            if self.running or now.chain is not self:  # running: by this thread, in an operation below
                return
            self.running = True
            try:
                if (not paused or state.recording) == self.recording:
                    self.compute()
                else:
                    with enable_grad() if self.recording else no_grad():
                        self.compute()
                now.chain = None
            finally:
                self.running = False

    def compute(self):
        last = len(self.stages) - 1  # is computed even if nobody refers to it: who times a call in a loop would wonder
        tensor, alike = None, []  # alike: results that the operation being looked at has changed in place
        for i, (reference, options, operation, rest) in enumerate(self.stages):
            alike = [result for result in (*alike, reference()) if result is not None]
            if tensor is not None:
                tensor = operation(tensor, *rest)
            if i + 1 in self.over:
                continue
            if tensor is None and (alike or i == last):
                tensor = self.head(**options)
            for result in alike:
                tensor = fill(result, tensor)
            alike = []


def fill(result, tensor):
    """Makes a result that waited what it would have been: it takes over the array and the node of a tensor."""
    result.held, result._cell, result._node = tensor.held, tensor._cell, tensor._node
    result._index, result._requires_grad, result._tracked = tensor._index, tensor._requires_grad, tensor._tracked
    held = object.__getattribute__(result, "__dict__")
    del held["_chain"], held["_shape"]
    result.__class__ = Tensor
    return result


def wait(shape, x, others, rules, head):
    """The tensor of this shape that head(x, **options) will compute, or None where that has to be done at once.

    others: the tensors beside x that the operation reads or writes, or None. They, x and the result are of float32. Where
    somebody else reaches x and it is much smaller than the result, as a batch of images is, head gets a copy.
    """
    if now.chain is not None:
        now.chain.settle()
    if now.chain is not None or watchers or prod(shape) < WORTH or get_backend() != "native":
        return None  # without a compiler there are no kernels to gain
    for other in others:
        if other is not None and (reached(other) or other.held.dtype != FLOAT32):
            return None
    if x.dtype != FLOAT32:
        return None
    if reached(x):
        array, wanted = (x.held, x._requires_grad) if isinstance(x, Fields) else (x, False)
        if wanted or type(array) is not ndarray or 4 * array.size > prod(shape):
            return None
        x = wrap(array.copy(order="K"))
    with lock:
        if now.chain is not None:
            return None
        now.chain = chain = Chain(partial(head, x), rules)
        return chain.add(shape, {})


def reached(x):
    """Whether a tensor's memory can be seen or changed by somebody who does not ask the tensor for it."""
    if not isinstance(x, Fields):
        return True
    tensor: Fields = x
    array = tensor.held
    if type(array) is not ndarray:
        return True
    count = getrefcount(array)
    node = tensor._node
    if count != ALONE and node is not None:  # the tape may keep an output
        for part in node.out if type(node.out) is tuple else (node.out,):
            if part is array:
                count -= 1
    if count != ALONE:
        return True
    base = array.base
    while base is not None:  # of a view
        if getrefcount(base) != OWNED or (type(base) is not ndarray and type(base) is not Block):
            return True
        base = base.base if type(base) is ndarray else None
    return False


def references():
    """What getrefcount says in `reached` of an array that one tensor holds, and of one that one view holds."""
    x = Tensor.__new__(Tensor)
    x.held = empty(2)[:1]
    array = x.held
    alone = getrefcount(array)
    base = array.base
    return alone, getrefcount(base)


ALONE, OWNED = references()
Block = core and core.Block  # the pool's memory
