"""Runs a function once on arrays that write down what is done to them: the steps of a plan, in order.

A traced array computes as an ndarray does and refuses to leave: what would make it a Python number or an ndarray (`bool(x)`,
`item()`, `numpy()`) is an error, because a plan cannot know it. So nothing that depends on the input is missed. Results that
share memory with an argument are views and no steps: a reshape, a transpose, a slice costs nothing in the plan.
"""
import threading
from contextlib import contextmanager

import numpy as np
from numpy.lib.array_utils import byte_bounds
from numpy.lib.mixins import NDArrayOperatorsMixin

from .. import kernels
from ..kernels import _dispatch
from .step import Buffer, Ref, Step, copied, fill_in, in_range, run_kernel, slots_of

# What NumPy says of arrays without looking at their values.
_ABOUT = {np.result_type, np.can_cast, np.shape, np.ndim, np.size, np.iscomplexobj, np.isrealobj, np.may_share_memory,
          np.shares_memory, np.common_type, np.min_scalar_type}
_WRITES = {np.copyto, np.put, np.putmask, np.place, np.fill_diagonal, np.put_along_axis}  # to their first argument
_SHAPE_FROM_DATA = {np.nonzero, np.flatnonzero, np.argwhere, np.unique, np.extract, np.compress, np.unique_all,
                    np.unique_counts, np.unique_inverse, np.unique_values, np.trim_zeros, np.bincount, np.repeat}
_COPIES = {"copy", "astype", "reshape", "ravel", "flatten", "ascontiguousarray", "asfortranarray", "require", "positive"}


def refused(what):
    return RuntimeError(f"compile: {what} of a value that depends on the inputs: a plan is prepared from shapes and weights "
                        "alone, so what is computed must not depend on such values (where(...) chooses without knowing them)")


class Traced(NDArrayOperatorsMixin):
    """An ndarray whose uses a trace writes down."""

    __array_priority__ = 1000
    replaceable = True  # a whole tensor is changed in place by another array: no copy, and a plan's inputs stay as they are

    def __init__(self, trace, array, ref):
        self._trace, self._array, self._ref = trace, array, ref

    shape = property(lambda self: self._array.shape)
    dtype = property(lambda self: self._array.dtype)
    ndim = property(lambda self: self._array.ndim)
    size = property(lambda self: self._array.size)
    strides = property(lambda self: self._array.strides)
    itemsize = property(lambda self: self._array.itemsize)
    nbytes = property(lambda self: self._array.nbytes)
    flags = property(lambda self: self._array.flags)
    base = property(lambda self: self._array.base)

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        if method == "at":
            return self._trace.write(name, ufunc.at, inputs, options)
        function = ufunc if method == "__call__" else getattr(ufunc, method)
        if out is None:
            return self._trace.call(name, function, inputs, options)
        return self._trace.into(name, function, inputs, options, out)

    def __array_function__(self, function, types, args, kwargs):
        name = function.__name__
        if function in _SHAPE_FROM_DATA and not (function is np.repeat and not _traced(args[1:])):
            raise refused(f"the shape of {name}()")
        if function in _WRITES:
            return self._trace.write(name, function, args, kwargs)
        if kwargs.get("out") is not None:
            kwargs = dict(kwargs)
            out = kwargs.pop("out")
            return self._trace.into(name, function, args, kwargs, out if type(out) is tuple else (out,))
        return self._trace.call(name, function, args, kwargs)

    def __getitem__(self, key):
        for part in key if type(key) is tuple else (key,):
            if isinstance(part, Traced) and part.dtype == bool:
                raise refused("the shape of x[mask]")
        return self._trace.call("getitem", np.ndarray.__getitem__, (self, key), {})

    def __setitem__(self, key, value):
        self._trace.write("setitem", np.ndarray.__setitem__, (self, key, value), {})

    def __len__(self):
        return len(self._array)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __array__(self, *args, **kwargs):
        raise refused("conversion to a NumPy array")

    def __bool__(self):
        raise refused("bool()")

    def __int__(self):
        raise refused("int()")

    def __float__(self):
        raise refused("float()")

    def __complex__(self):
        raise refused("complex()")

    def __index__(self):
        raise refused("use as an index or a size")

    def item(self, *args):
        raise refused("item()")

    def tolist(self):
        raise refused("tolist()")

    def __deepcopy__(self, memo):
        return self.copy()

    def __getattr__(self, name):
        found = getattr(np.ndarray, name, None)
        if found is None or name.startswith("__"):
            raise AttributeError(f"ndarray has no attribute {name!r}")
        if not callable(found):  # T, mT, real, imag, flat
            if name in ("data", "ctypes", "flat"):
                raise refused(name)
            return self._trace.call(name, getattr, (self, name), {})
        if name in ("sort", "partition", "fill", "put", "itemset", "setfield", "byteswap", "resize"):
            return lambda *args, **kwargs: self._trace.write(name, found, (self, *args), kwargs)
        if name in ("tobytes", "tofile", "dump", "dumps", "nonzero", "compress", "__dlpack__"):
            raise refused(f"{name}()")
        return lambda *args, **kwargs: self._trace.call(name, found, (self, *args), kwargs)

    def __repr__(self):
        return f"<traced {self.dtype}{self.shape}>"


class Trace:
    """The steps that have been written down, and the memory that they work on."""

    def __init__(self):
        self.steps, self.inputs, self._constants = [], [], {}

    def input(self, array):
        """The traced array of one more input."""
        low, high = byte_bounds(array)
        buffer = Buffer("input", array, low, high - low)
        self.inputs.append(buffer)
        return Traced(self, array, Ref.of(array, buffer))

    def call(self, name, function, args, options):
        """function(*args) where the result is new, or a view of an argument."""
        result = function(*_plain(args), **_plain(options))
        if function in _ABOUT:
            return result
        parts = result if isinstance(result, (tuple, list)) else [result]
        if not all(isinstance(part, (np.ndarray, np.generic)) for part in parts):
            raise refused(f"{name}()")
        memory = [t._ref.buffer for t in _traced((args, options))]
        made, outs = [], []
        for part in parts:
            part = np.asarray(part)
            home = _home(part, memory)
            if home is None:
                home = self.fresh(part)
                outs.append(Ref.of(part, home))
            made.append(Traced(self, part, Ref.of(part, home)))
        if outs and not (name.startswith("empty") or (function in (np.zeros, np.ones) and not parts[0].size)):
            if name in _COPIES and args and isinstance(args[0], Traced) and (
                    outs[0].shape == args[0].shape or not any(isinstance(x, str) for x in (*args, *options.values()))):
                self._copy(outs[0], args[0]._ref)
            elif name == "concatenate" and outs[0].shape:
                self._concatenate(outs[0], *args, **options)
            elif not (self._as_pooling(name, outs[0], *args, **options)
                      or self._as_kernel(name, function, args, options, outs)):
                self._add(name, _maker(function, len(outs), isinstance(result, (tuple, list))), outs, args, options)
        if not isinstance(result, (tuple, list)):
            return made[0]
        return type(result)(*made) if hasattr(result, "_fields") else type(result)(made)

    def into(self, name, function, args, options, out):
        """function(*args, out=out): written to arrays that are there."""
        for x in out:
            if x is not None and not isinstance(x, Traced):
                raise refused(f"{name}(..., out=ndarray), a write outside of the plan, of")
        _not_an_input(name, *[x for x in out if x is not None])
        function(*_plain(args), out=_plain(out) if isinstance(function, np.ufunc) else _plain(out[0]), **_plain(options))
        self._add(name, _maker(function, len(out), len(out) > 1), [x._ref for x in out], args, options)
        return out[0] if len(out) == 1 else out

    def write(self, name, function, args, options):
        """function(target, ...), which changes the target."""
        target, *rest = args
        if not isinstance(target, Traced):
            raise refused(f"{name}() on an ndarray, a write outside of the plan, of")
        _not_an_input(name, target)
        function(*_plain(args), **_plain(options))
        if name == "setitem":
            place = target._array[_plain(rest[0])]
            if isinstance(place, np.ndarray) and not _traced(rest[0]) and _home(place, [target._ref.buffer]):
                self._copy(Ref.of(place, target._ref.buffer), self.ref(rest[1], place.dtype))
                return
        self._add(name, _changer(function), [target._ref], rest, options, reads=True)

    def kernel(self, kernel, args, options, out):
        """A call of one of the kernels."""
        plain = _plain(args)
        outs, ins, p = kernel.spec(*plain, **_plain(options))
        if out is None:
            results = [_dispatch._allocate(o, ins) if type(o) is tuple else o for o in outs]
        else:
            results = list(_plain(out)) if isinstance(out, (tuple, list)) else [_plain(out)]
        memory = [t._ref.buffer for t in _traced((args, options, out))]
        given = [x for x in (*args, *options.values()) if isinstance(x, np.ndarray)]
        for o in outs:
            if type(o) is list or (type(o) is not tuple and any(np.may_share_memory(o, x) for x in given)):
                raise refused(f"{kernel.name}(), a write outside of the plan,")
        run_kernel(kernel, results, ins, p)
        refs = [[self._known(x, memory, given) for x in part] if type(part) is list else self._known(part, memory, given)
                for part in ins]
        homes = [_home(x, memory) for x in results]
        made = [Ref.of(x, home or self.fresh(x)) for x, home in zip(results, homes)]
        checked = any(t.dtype.kind in "iu" for t in _traced((args, options)))  # the specification looks at the values
        if kernel.name == "embedding" and not any(r is False for r in refs):
            self.steps.append(Step("index_in_range", in_range, [], [refs[1]], (refs[0].shape[0],)))
            checked = False
        if checked or any(r is False for part in refs for r in (part if type(part) is list else [part])):
            self._add(kernel.name, _kernel_call(kernel, len(made)), made, args, options)
        else:
            self.steps.append(Step(kernel.name, None, made, refs, p, kernel=kernel))
        wrapped = [Traced(self, x, ref) for x, ref in zip(results, made)]
        return wrapped[0] if len(wrapped) == 1 else tuple(wrapped)

    def ref(self, x, dtype=None):
        """Where a traced array lies, or a constant that is kept for the plan."""
        if isinstance(x, Traced):
            return x._ref
        array = np.asarray(x, None if isinstance(x, np.ndarray) else dtype)
        key = (array.__array_interface__["data"][0], array.shape, array.strides, array.dtype)
        if key not in self._constants:
            low, high = byte_bounds(array)
            self._constants[key] = Ref.of(array, Buffer("constant", array, low, high - low))
        return self._constants[key]

    def fresh(self, array):
        """The memory of a new result."""
        low, high = byte_bounds(array)
        return Buffer("temporary", array, low, high - low)

    def _known(self, x, memory, given):
        """The place of a kernel's argument; False where the specification made it from others."""
        if x is None:
            return None
        home = _home(x, memory)
        if home is not None:
            return Ref.of(x, home)
        if x.size == 0 or any(np.may_share_memory(x, g) for g in given):
            return self.ref(x)
        return False

    def _add(self, name, version, outs, args, options, reads=False):
        """Notes a call of a NumPy function: its arrays become inputs of the step, everything else its parameters."""
        ins = []
        pattern = slots_of((tuple(args), dict(options)), lambda x: isinstance(x, (Traced, np.ndarray)),
                           lambda x: ins.append(self.ref(x)) or len(ins) - 1)
        self.steps.append(Step(name, version, outs, ins, pattern, reads_outs=reads))

    def _as_pooling(self, name, out, x=None, *args, axis=None, **options):
        """Notes the mean of images, over rows and columns, as a pooling with one window."""
        if name != "mean" or args or x.ndim != 4 or axis not in ((2, 3), (-2, -1)) or not x.size or out.dtype != x.dtype:
            return False
        _, (_,), p = kernels.avg_pool2d.spec(_plain(x), x.shape[2:])
        seen = Ref(out.buffer, 0, (*x.shape[:2], 1, 1), (*out.strides[:2], out.dtype.itemsize, out.dtype.itemsize), out.dtype)
        self.steps.append(Step("avg_pool2d", None, [seen], [x._ref], p, kernel=kernels.avg_pool2d))
        return True

    def _as_kernel(self, name, function, args, options, outs):
        """Notes a call of NumPy as one of the kernel of the same name and arguments, if there is one for such arrays."""
        kernel = _dispatch.kernels.get(name)
        if kernel is None or function is not getattr(np, name, None) or options or outs[0].dtype.kind not in "fb":
            return False
        plain = [_plain(x) for x in args]
        given = [x for x in plain if isinstance(x, np.ndarray)]
        if any(x.dtype != given[-1].dtype for x in given if x.dtype != bool) or given[-1].dtype.kind != "f":
            return False
        try:
            (made,), ins, p = kernel.spec(*plain)
        except (TypeError, ValueError):
            return False
        known = [x is None or any(x is g for g in given) for x in ins]
        if type(made) is not tuple or made[:2] != (outs[0].shape, outs[0].dtype) or not all(known):
            return False
        places = {id(_plain(x)): self.ref(x) for x in args if isinstance(x, (Traced, np.ndarray))}
        self.steps.append(Step(name, None, outs, [None if x is None else places[id(x)] for x in ins], p, kernel=kernel))
        return True

    def _copy(self, to, source):
        """Elements in C order: where the shapes differ, broadcast, or with the new memory seen in the source's shape."""
        if to.size != source.size:
            source = source.broadcast(to.shape)
        if to.size != source.size or to.shape == source.shape:
            self.steps.append(Step("copy", copied, [to], [source], ()))
        elif to.is_c_order():
            self.steps.append(Step("copy", copied, [to.seen_as(source.shape)], [source], ()))
        else:
            self.steps.append(Step("copy", reshaped, [to], [source], ()))

    def _concatenate(self, to, arrays, axis=0, **options):
        """One copy for each part."""
        axis, start = axis % len(to.shape), 0
        for x in arrays:
            stop = start + x.shape[axis]
            self.steps.append(Step("copy", copied, [to.part(axis, start, stop)], [self.ref(x)], ()))
            start = stop


def reshaped(y, x, p):
    y[...] = x.reshape(y.shape)


def _maker(function, count, several):
    """The version of a step that writes what `function` returns."""
    if isinstance(function, np.ufunc):
        def version(*arrays_and_p):
            outs, ins, pattern = arrays_and_p[:count], arrays_and_p[count:-1], arrays_and_p[-1]
            args, options = fill_in(pattern, ins)
            function(*args, out=outs, **options)
        return version

    def version(*arrays_and_p):
        outs, ins, pattern = arrays_and_p[:count], arrays_and_p[count:-1], arrays_and_p[-1]
        args, options = fill_in(pattern, ins)
        result = function(*args, **options)
        for y, value in zip(outs, result if several else (result,)):
            y[...] = value
    return version


def _changer(function):
    """The version of a step that changes its output."""
    def version(target, *ins_and_p):
        args, options = fill_in(ins_and_p[-1], ins_and_p[:-1])
        function(target, *args, **options)
    return version


def _kernel_call(kernel, count):
    """The version of a step that calls a kernel with its specification, which checks the values."""
    def version(*arrays_and_p):
        args, options = fill_in(arrays_and_p[-1], arrays_and_p[count:-1])
        outs = arrays_and_p[:count]
        kernel(*args, out=outs[0] if count == 1 else outs, **options)
    return version


def _home(array, memory):
    """The buffer in which an array lies, or None."""
    if array.size:
        at = array.__array_interface__["data"][0]
        for buffer in memory:
            if buffer.start <= at < buffer.start + buffer.size:
                return buffer
    return None


def _not_an_input(name, *written):
    for x in written:
        if x._ref.buffer.kind == "input":
            raise RuntimeError(f"compile: {name}: an input is changed in place: a plan leaves its inputs as they are (use "
                               "x = x + y in place of x += y)")


def _plain(x):
    if isinstance(x, Traced):
        return x._array
    if type(x) in (tuple, list):
        return type(x)(_plain(y) for y in x)
    return {k: _plain(y) for k, y in x.items()} if type(x) is dict else x


def _traced(x):
    """The traced arrays in nested arguments."""
    if isinstance(x, Traced):
        return [x]
    if isinstance(x, (tuple, list)):
        return [t for y in x for t in _traced(y)]
    return _traced(list(x.values())) if isinstance(x, dict) else []


_lock = threading.RLock()


def _watch(kernel, args, options, out):
    """What the dispatcher asks before each call of a kernel while something is traced."""
    found = _traced((args, options, out))
    return found[0]._trace.kernel(kernel, args, options, out) if found else NotImplemented


@contextmanager
def tracing():
    """For the block, kernels that get traced arrays are written down. One trace at a time."""
    with _lock:
        before, _dispatch.tracer = _dispatch.tracer, _watch
        try:
            yield Trace()
        finally:
            _dispatch.tracer = before
