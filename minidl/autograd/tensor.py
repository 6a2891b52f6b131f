"""Tensor: an array, its gradient, and the node of the tape that made it.

The operators and `backward` are attached from above: by minidl/ops/methods.py and the engine.
Compiled, the fields of `Cell` and `Fields` are those of a C struct: tensor.pxd declares them.
"""
from weakref import ref

import numpy as np

from .edge import Edge
from .modes import state


def defaults(cls, **values):
    """Interpreted, a class has no fields declared: what is usual then lives on the class."""
    if not hasattr(cls, next(iter(values))):
        for name, value in values.items():
            setattr(cls, name, value)


class Cell:
    """How often a piece of memory was changed in place, and how many of these changes were recorded.

    A tensor shares it with all its views. owner: a weak reference to that tensor, from its first view on.
    """

    def __reduce__(self):
        return Cell, ()  # pickled, it begins again: the tape stays behind


defaults(Cell, changes=0, recorded=0, owner=None)


class Now:
    """chain: the operations that wait to become one kernel, or None. One object holds it for all threads."""


defaults(Now, chain=None)
now = _now = Now()  # compiled, _now is typed; other modules import now


class Fields:
    """What the tape knows of a tensor.

    held: the array, or None while the tensor waits (waiting.py). array: the same, and nothing waits any more once somebody
    looks. _requires_grad. _node: the tape's record of the operation that made it, None for a leaf. _index: which of
    that operation's outputs it is. _cell: counts the changes of its memory. _is_view. _tracked: the recorded changes that its
    node knows of.
    """

    @property
    def array(self):
        if _now.chain is not None:
            _now.chain.settle()
        return self.held

    @array.setter
    def array(self, value):
        if _now.chain is not None:
            _now.chain.settle()
        self.held = value

    def _share(self, tensor):
        """Says that this is a view of the other's memory. It keeps the count of changes only, not the tensor and its tape."""
        cell = tensor._cell
        self._cell, self._is_view, self._tracked = cell, True, cell.recorded
        if not tensor._is_view and (cell.owner is None or cell.owner() is not tensor):
            cell.owner = ref(tensor)

    def _edge(self):
        """How the tape refers to it as an input."""
        source = self._node
        if source is None:
            source = self
        elif self._cell.recorded != self._tracked:
            raise RuntimeError("the memory of this tensor, or view, was changed in place on the tape through another view "
                               "since it was made: take the view again")
        return Edge.to(source, self._index, self.held)


defaults(Fields, held=None, _requires_grad=False, _node=None, _index=0, _cell=None, _is_view=False, _tracked=0)


class Tensor(Fields):
    """An n-dimensional array that remembers how it was computed.

    data: numbers, nested lists, an array or a Tensor; Python floats become float32, arrays keep their dtype.
    array: the array itself, shared, not copied (`numpy.ndarray`, or `cupy.ndarray` on a GPU).
    grad: after `backward()`, the derivative of the result by this tensor; same shape and dtype. None before.

    Raises TypeError for data that is not numeric and for `requires_grad` on integers.
    """

    grad = None  # most tensors never have any of these
    _hooks = _after_grad = None
    __array_ufunc__ = None  # array + tensor is the tensor's to compute
    __array_priority__ = 1000

    def __init__(self, data, dtype=None, device=None, requires_grad=False):
        self.array = as_array(data, dtype, device)
        self._cell = Cell.__new__(Cell)
        if requires_grad:
            self.requires_grad = True

    # ---- what it is ----
    @property
    def shape(self):
        return self.array.shape

    @property
    def dtype(self):
        return self.array.dtype

    @property
    def ndim(self):
        return self.array.ndim

    @property
    def size(self):
        return self.array.size

    @property
    def device(self):
        """Where the array lives: 'cpu', or the array library's own device."""
        return "cpu" if isinstance(self.array, np.ndarray) else getattr(self.array, "device", "cpu")

    @property
    def requires_grad(self):
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value):
        if _now.chain is not None:
            _now.chain.settle()
        if self._node is not None and not value:
            raise RuntimeError("requires_grad: this tensor was computed from others: use detach() to cut it from the tape")
        if value and self.array.dtype.kind != "f":
            raise TypeError(f"requires_grad: dtype {self.array.dtype}: only real floating-point tensors have gradients")
        self._requires_grad = bool(value)

    def requires_grad_(self, requires_grad=True):
        self.requires_grad = requires_grad
        return self

    @property
    def is_leaf(self):
        return self._node is None

    @property
    def grad_fn(self):
        """The tape's record of the operation that made the tensor; None for a leaf."""
        return self._node

    @property
    def retains_grad(self):
        """Whether `grad` is kept for this tensor, which is not a leaf."""
        return "_retains" in self.__dict__

    @property
    def data(self):
        """The same memory as a tensor outside the tape; assigning replaces the array."""
        return self.detach()

    @data.setter
    def data(self, value):
        self.array = as_array(value)
        self._mark_changed()

    # ---- leaving the tape ----
    def numpy(self):
        """The values as a NumPy array that shares memory. Raises RuntimeError while the tape runs through the tensor."""
        if self._requires_grad:
            raise RuntimeError("numpy: this tensor requires a gradient: use x.detach().numpy()")
        if isinstance(self.array, np.ndarray):
            return self.array
        if hasattr(self.array, "get"):
            return self.array.get()  # a GPU array is copied to the host
        raise TypeError(f"numpy: a {type(self.array).__name__} does not convert to a NumPy array")

    def __array__(self, dtype=None, copy=None):
        array = self.numpy()
        if dtype is not None and array.dtype != dtype:
            if copy is False:
                raise ValueError(f"__array__: {array.dtype} to {np.dtype(dtype)} needs a copy, and copy=False")
            return array.astype(dtype)
        return array.copy() if copy else array

    def __dlpack__(self, **kwargs):
        if self._requires_grad:
            raise BufferError("__dlpack__: this tensor requires a gradient: use x.detach()")
        return self.array.__dlpack__(**kwargs)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

    def item(self):
        """The only element as a Python number. Raises ValueError where there are more or none."""
        if self.array.size != 1:
            raise ValueError(f"item: shape {self.shape}: exactly one element expected")
        return self.array.item()

    def tolist(self):
        return self.array.tolist()

    def detach(self):
        """The same memory outside the tape."""
        out = wrap(self.array)
        out._share(self)
        return out

    def detach_(self):
        """Takes this tensor off the tape. Returns it. Raises RuntimeError for a view, whose memory others have on the tape."""
        if self._is_view and self._node is not None:
            raise RuntimeError("detach_: a view that is on the tape: use x = x.detach()")
        self._node, self._index, self._requires_grad = None, 0, False
        return self

    # ---- the tape ----
    def register_hook(self, hook):
        """Calls hook(gradient) when this tensor's gradient is known; what it returns, if not None, takes its place.

        Returns a handle whose `remove()` takes the hook away.
        """
        if not self._requires_grad:
            raise RuntimeError("register_hook: this tensor does not require a gradient")
        owner = self if self._node is None else self._node
        if owner is self:
            if self._hooks is None:
                self._hooks = []
            hooks = self._hooks
        else:
            if owner.hooks is None:
                owner.hooks = {}
            hooks = owner.hooks.setdefault(self._index, [])
        hooks.insert(len(hooks) - self.retains_grad, hook)  # what is kept is kept behind all of them
        return Handle(hooks, hook)

    def register_post_accumulate_grad_hook(self, hook):
        """Calls hook(this tensor), a leaf, whenever backward has added to its `grad`. Returns a handle to take it away."""
        if self._node is not None or not self._requires_grad:
            raise RuntimeError("register_post_accumulate_grad_hook: a leaf that requires a gradient expected")
        if self._after_grad is None:
            self._after_grad = []
        self._after_grad.append(hook)
        return Handle(self._after_grad, hook)

    def retain_grad(self):
        """Keeps `grad` for a tensor that is not a leaf too. Raises RuntimeError where it requires no gradient."""
        if not self._requires_grad:
            raise RuntimeError("retain_grad: this tensor does not require a gradient")
        if self._node is not None and not self.retains_grad:
            me = ref(self)

            def keep(g):
                if me() is not None:
                    me().grad = g if me().grad is None else me().grad + g
            self.register_hook(keep)
            self._retains = True

    def _mark_changed(self):
        """Notes that the memory changed in place, so that backward can tell where it needed the old values."""
        self._cell.changes += 1

    def __deepcopy__(self, memo):
        if self._node is not None:
            raise RuntimeError("deepcopy: only leaf tensors can be copied: use detach() first")
        out = self.__class__.__new__(self.__class__)
        memo[id(self)] = out
        out.array = self.array.copy(order="K")
        out._cell = Cell.__new__(Cell)
        out._requires_grad = self._requires_grad
        if self.grad is not None:
            out.grad = wrap(self.grad.array.copy(order="K"))
        return out

    def __repr__(self):
        text = np.array2string(self.array, separator=", ", prefix="tensor(") if isinstance(self.array, np.ndarray) \
            else str(self.array)
        notes = "" if self.dtype in (np.float32, np.int64, np.bool_) else f", dtype={self.dtype}"
        if self._node is not None:
            notes += f", op={self._node.name}"
        elif self._requires_grad:
            notes += ", requires_grad=True"
        return f"tensor({text}{notes})"

    def __len__(self):
        if self.array.ndim == 0:
            raise TypeError("len() of a 0-d tensor")
        return self.array.shape[0]

    def __iter__(self):
        if self.array.ndim == 0:
            raise TypeError("iteration over a 0-d tensor")
        return (self[i] for i in range(self.array.shape[0]))

    def __bool__(self):
        return bool(self.array)

    def __int__(self):
        return int(self.array)

    def __float__(self):
        return float(self.array)

    def __complex__(self):
        return complex(self.array)

    def __index__(self):
        return self.array.__index__()

    __hash__ = object.__hash__  # by identity: == compares elementwise


class Handle:
    """Takes a hook away again."""

    def __init__(self, hooks, hook):
        self._hooks, self._hook = hooks, hook

    def remove(self):
        if self._hook in self._hooks:
            self._hooks.remove(self._hook)


def wrap(array):
    """A tensor of an array, without looking at it."""
    cls = Tensor
    out: Fields = cls.__new__(cls)
    out.held = array
    out._cell = Cell.__new__(Cell)
    return out


def as_array(data, dtype=None, device=None):
    """An array of numbers, lists, arrays or tensors; Python floats become float32. Shares memory where it can."""
    if device not in (None, "cpu"):
        raise ValueError(f"device={device!r}: 'cpu' expected")
    if isinstance(data, Tensor):
        data = data.array
    if not hasattr(data, "dtype"):
        if isinstance(data, (list, tuple)):
            data = _plain(data)
        try:
            array = np.asarray(data)
        except ValueError as error:
            raise ValueError("tensor: lists of different lengths: a rectangular array expected") from error
        if dtype is None and array.dtype == np.float64 and not _holds_arrays(data):
            dtype = np.float32
        elif dtype is None and array.dtype == np.complex128 and not _holds_arrays(data):
            dtype = np.complex64
        data = array
    elif isinstance(data, np.generic):
        data = np.asarray(data)
    if data.dtype.kind not in "biufc":
        raise TypeError(f"tensor: {type(data).__name__} of dtype {data.dtype}: numbers expected")
    return data if dtype is None or data.dtype == dtype else data.astype(dtype)


def _plain(data):
    """Nested lists with the arrays of any tensors in them."""
    return [_plain(x) if isinstance(x, (list, tuple)) else x.array if isinstance(x, Tensor) else x for x in data]


def _holds_arrays(data):
    return any(_holds_arrays(x) for x in data) if isinstance(data, (list, tuple)) else hasattr(data, "dtype")


def write_in_place(tensor, op, *operands, replace=False):
    """tensor.array[...] = op(tensor, *operands): one change in place, recorded on the tape where that is right.

    replace: nobody else reaches the tensor's array, whose place the result's may take without a copy.
    Returns the tensor, or what takes its place where it waits (waiting.py). Raises RuntimeError where the tape could not be
    kept true: for a leaf that requires a gradient and a view of one, and for a view of memory that the tape does not know.
    """
    if _now.chain is not None and (over := _now.chain.written(op, tensor, operands)) is not None:
        return over
    tracked = state.recording and (tensor._requires_grad or any(
        isinstance(x, Tensor) and x._requires_grad for x in operands))
    leaf, owner = tracked and tensor._requires_grad and tensor._node is None, None
    if tracked and tensor._is_view and not leaf:
        from . import through
        if not tensor._requires_grad:
            raise RuntimeError(f"{op.__name__}: in-place change, recorded, of a view of a tensor that is not on the tape: "
                               "write x[i] = x[i] + y for x[i] += y")
        leaf = through.of_leaf(tensor)
        owner = None if leaf else through.owner_of(tensor)
    if leaf:
        raise RuntimeError(f"{op.__name__}: in-place change of a leaf that requires a gradient: use no_grad(), or x = x + y")
    array = tensor.array
    before = tensor
    if tracked and tensor._requires_grad:  # what the derivative will need is the values before
        tensor._edge()  # raises for a tensor that is stale
        before = wrap(array)
        before._node, before._index, before._requires_grad = tensor._node, tensor._index, True
    out = op(before, *operands)
    if out.array.shape != array.shape:
        raise ValueError(f"{op.__name__}: in place: shape {array.shape} cannot hold the result's {out.array.shape}")
    if not np.can_cast(out.array.dtype, array.dtype, "same_kind"):
        raise TypeError(f"{op.__name__}: in place: {array.dtype} cannot hold the result's {out.array.dtype}")
    cell = tensor._cell
    if type(array) is not np.ndarray:  # one of a plan's that is being traced, of which no view was taken
        replace = cell.owner is None and getattr(array, "replaceable", False)
    replace = replace and out.array.dtype == array.dtype
    if replace:
        tensor.array = out.array
    else:
        if before is not tensor:
            kept = ref(before)
            before = None
            if kept() is not None:  # the tape holds it
                kept().array = array.copy(order="K")
        array[...] = out.array
    cell.changes += 1
    if tracked:
        cell.recorded += 1
        tensor._node, tensor._index, tensor._requires_grad = out._node, out._index, True
        tensor._tracked = cell.recorded
        if replace and out._cell in out._node.cells:  # the node keeps the array, which now is the tensor's
            out._node.cells = [cell if each is out._cell else each for each in out._node.cells]
            out._node.changes = out._node.count_changes()
        if owner is not None:
            through.written_through(*owner, tensor)
    return tensor
