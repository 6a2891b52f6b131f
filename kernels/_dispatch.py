"""A kernel is a specification and its versions; calling it picks the version that runs.

The specification is a function that checks the arguments and returns `(outs, ins, p)`:

- `outs`: what is computed. `(shape, dtype)` or `(shape, dtype, layout)`, one of LAYOUTS, is allocated here; an array (or a
  list of arrays) is written in place.
- `ins`: the arrays that are read, in a fixed order; an absent one is None.
- `p`: a NamedTuple of plain numbers.

Every version of it, in every backend, is then `version(*outs, *ins, p)` and only computes. A version that does not serve
the arrays at hand returns NotImplemented before it writes anything, and the reference runs.
"""
import importlib
import os
import sys
import time
from contextlib import contextmanager
from functools import partial, update_wrapper, wraps
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np

from minidl._quick import Quick

try:
    from ._native import core
except ImportError:  # built without a compiler
    core = None

MODULES = {"reference": "reference", "numba": "numba_", "cuda": "cuda"}  # backend -> file in the family's folder
BACKENDS = ("reference", "numba", "native", "cuda")
ISA_LEVELS = ("v4", "v3", "v2", "neon", "portable")  # best first

LAYOUTS = {"channels_last": (0, 2, 3, 1), "window_first": (2, 3, 1, 0)}  # the axes from the outermost in memory inwards

kernels: dict[str, "Kernel"] = {}  # by name, in the order of registration
_debug = os.environ.get("MINIDL_DEBUG", "0") not in ("", "0")
tracer = None  # asked before each call while minidl.compile writes down what a model does: see minidl/plan/trace.py


class Case(NamedTuple):
    """One set of arguments that checks, timings and benchmarks share. `bench` marks shapes of real networks."""
    label: str
    args: tuple
    kwargs: dict
    bench: bool


def case(label, *args, bench=False, **kwargs):
    return Case(label, args, kwargs, bench)


class Kernel(Quick):
    """A callable `kernel(*args, out=None, **kwargs)` on plain arrays; the specification's docstring says what it does.

    Compiled, a C struct: _dispatch.pxd has its fields.
    """

    def __init__(self, spec, tolerance, repeats, numpy):
        self.spec, self.repeats, self.again = spec, repeats, None
        self.numpy, self.small = numpy, numpy and (core.Small(numpy).run if core else lambda args, out: numpy(*args, out=out))
        self.name = spec.__name__
        self.family = spec.__module__
        self.tolerance = tolerance
        self.flops = lambda outs, ins, p: 0
        self.cases = lambda: ()
        self._versions = {}
        update_wrapper(self, spec)

    def cost(self, function):
        """Decorator: `function(outs, ins, p)` counts floating-point operations."""
        self.flops = function
        return function

    def examples(self, function):
        """Decorator: `function()` yields the kernel's `case`s."""
        self.cases = function
        return function

    def implementation(self, backend):
        """Decorator: the version in one backend, of a kernel that is a single file instead of a family's folder."""
        if backend not in BACKENDS:
            raise ValueError(f"{self.name}: implementation({backend!r}): one of {', '.join(BACKENDS)} expected")

        def add(version):
            self._versions[backend] = version
            return version
        return add

    def called(self, args, kwargs):
        out = backend = None
        if kwargs is not None:
            out, backend = kwargs.pop("out", None), kwargs.pop("backend", None)
        if self.small is not None and backend is None and not kwargs:
            found = self.small(args, out)
            if found is not NotImplemented:
                return found
        if tracer is not None and (traced := tracer(self, args, kwargs or {}, out)) is not NotImplemented:
            return traced
        direct = _direct and out is None and (backend is None or backend == "native")
        if direct and self.again is not None and not kwargs:  # a call like an earlier one: no need to ask the specification
            found = self.again(args)
            if found is not NotImplemented:
                return found
        outs, ins, p = self.spec(*args, **kwargs) if kwargs else self.spec(*args)
        if direct and hasattr(native := self.version("native"), "compute"):  # written in C: in one step
            self.again = native.again if self.repeats else None
            found = native.compute(outs, ins, p, args if self.repeats and not kwargs else None)
            if found is not NotImplemented:
                return found
            if backend is None and self.numpy is not None and not kwargs:
                return self.numpy(*args)
        results = [_allocate(o, ins) if type(o) is tuple else o for o in outs] if out is None else _given(self.name, out, outs)
        if backend is None:
            backend = _active
        first = results[0]
        if type(first) is list and first:
            first = first[0]
        if type(first) is not np.ndarray and type(first) is not list:
            backend = "cuda" if type(first).__module__.partition(".")[0] == "cupy" else "reference"
        elsewhere = out is not None and any(type(o) is tuple and len(o) > 2 for o in outs)
        (self._traced if _debug else self._computed)(backend, results, ins, p, outs if elsewhere else None)
        return results[0] if len(results) == 1 else tuple(results)

    def version(self, backend):
        """The function of one backend, or None where the kernel has none there."""
        if backend not in self._versions:
            self._versions[backend] = _load(self, backend)
        return self._versions[backend]

    def _computed(self, backend, results, ins, p, outs):
        """Runs the version of a backend, or of the reference where it does not serve the arguments. Returns whose it was.

        outs: where `out` may lie as no version writes it, what the specification asks for; it is copied then. Else None.
        """
        version = self.version(backend)
        if version is not None and version(*results, *ins, p) is not NotImplemented:
            return backend
        if version is not None and outs is not None:
            own = [_allocate(o, ins) if type(o) is tuple else o for o in outs]
            if version(*own, *ins, p) is not NotImplemented:
                for result, computed in zip(results, own):
                    result[...] = computed
                return backend
        self.version("reference")(*results, *ins, p)
        return "reference"

    def _traced(self, backend, results, ins, p, outs):
        start = time.perf_counter()
        backend = self._computed(backend, results, ins, p, outs)
        seconds = time.perf_counter() - start
        shapes = " ".join("x".join(map(str, a.shape)) or "()" for a in flatten(ins))
        flops = self.flops(results, ins, p)
        print(f"minidl: {self.name} {backend} [{shapes}] {seconds * 1e6:.1f} us, {flops / seconds / 1e9:.1f} GFLOP/s",
              file=sys.stderr)

    def __repr__(self):
        return f"<kernel {self.name}: {', '.join(b for b in BACKENDS if self.version(b))}>"


def kernel(spec=None, *, tolerance=1e-6, repeats=True, numpy=None):
    """Decorator: makes a specification a kernel.

    tolerance: the largest error of a float32 version, relative to the largest value of the reference's result.
    repeats: what the specification says follows from shapes, strides, dtypes and options, so that it is asked once for
    calls alike. False where it looks at values, or where an option is another in every call.
    numpy: NumPy's function for the same, which serves small arrays and what the native version does not, unless the call names
    a backend.
    """
    if spec is None:
        return lambda spec: kernel(spec, tolerance=tolerance, repeats=repeats, numpy=numpy)
    made = kernels[spec.__name__] = Kernel(spec, tolerance, repeats, numpy)
    return made


def flatten(arrays):
    """The arrays of `outs` or `ins`: lists opened, absent ones left out."""
    for a in arrays:
        if type(a) is list:
            yield from a
        elif a is not None:
            yield a


def _allocate(o, ins):
    """The array that a specification asks for, of the inputs' library."""
    like = ins[0][0] if type(ins[0]) is list else ins[0]
    if type(like) is np.ndarray:
        if core and (pooled := core.empty(*o)) is not None:
            return pooled
        like = None
    shape, dtype, *layout = o
    if not layout:
        return np.empty(shape, dtype, like=like)
    order = LAYOUTS[layout[0]]
    return np.empty([shape[axis] for axis in order], dtype, like=like).transpose([order.index(axis) for axis in range(4)])


def _given(name, out, outs):
    given = list(out) if isinstance(out, (tuple, list)) else [out]
    if len(given) != len(outs):
        raise ValueError(f"{name}: out has {len(given)} arrays: {len(outs)} expected")
    for array, o in zip(given, outs):
        if type(o) is list:
            raise ValueError(f"{name}: out={type(array).__name__}: none expected, the kernel writes its arguments")
        shape, dtype = o[:2] if type(o) is tuple else (o.shape, o.dtype)
        if array.shape != shape or array.dtype != dtype:
            raise ValueError(f"{name}: out is {array.dtype}{array.shape}: {np.dtype(dtype)}{shape} expected")
    return given


def _load(kernel, backend):
    if backend == "native":
        return core.find(kernel.name, isa()) if core else None
    if backend not in backends():
        return None
    try:
        module = importlib.import_module(f"{kernel.family}.{MODULES[backend]}")
    except ModuleNotFoundError as missing:
        if missing.name != f"{kernel.family}.{MODULES[backend]}":
            raise
        return None
    found = getattr(module, kernel.name, None)
    return _for_numba(found) if backend == "numba" and found else found


def _for_numba(version):
    """Numba compiles no code for half precision or another byte order, and anew for arrays that are not aligned."""
    @wraps(version)
    def run(*arrays_and_p):
        for a in flatten(arrays_and_p[:-1]):
            if not (a.dtype.isnative and a.flags.aligned) or a.dtype == np.float16:
                return NotImplemented
        return version(*arrays_and_p)
    return run


def backends():
    """The backends that are built and usable here, `reference` first."""
    usable = ["reference"]
    if find_spec("numba"):
        usable.append("numba")
    if core:
        usable.append("native")
    if find_spec("cupy"):
        usable.append("cuda")
    return tuple(usable)


def isa():
    """The instruction set whose native kernels run: the best that was built and that the processor has.

    MINIDL_ISA in the environment asks for a lower one.
    """
    global _isa
    if _isa is None and core:
        built = [level for level in ISA_LEVELS if level in core.isas() and core.cpu_has(level)]
        wanted = os.environ.get("MINIDL_ISA") or built[0]
        if wanted not in built:
            raise ValueError(f"MINIDL_ISA={wanted}: not built or not in this processor: one of {', '.join(built)} expected")
        _isa = wanted
    return _isa


_isa = None
_active = "native" if core else "reference"
_direct = bool(core) and not _debug  # a call without options goes to the native version at once


def set_backend(name):
    """Chooses the backend for NumPy arrays in the whole process: 'reference', 'numba' or 'native'."""
    global _active, _direct
    if name not in backends():
        raise ValueError(f"set_backend: {name!r}: one of {', '.join(backends())} expected")
    _active, _direct = name, name == "native" and not _debug


@contextmanager
def backend(name):
    """`with backend("numba"):` runs the block's kernels in that backend."""
    before = _active
    set_backend(name)
    try:
        yield
    finally:
        set_backend(before)


def get_backend():
    return _active


def get(name, backend="native"):
    """The kernel `name` as a function that always runs in one backend. Raises KeyError where there is none."""
    if name not in kernels:
        raise KeyError(f"get: no kernel {name!r}: one of {', '.join(kernels)} expected")
    if kernels[name].version(backend) is None:
        raise KeyError(f"get: kernel {name!r} has no {backend!r} version here")

    return partial(kernels[name], backend=backend)


def table():
    """{kernel: {backend: 'own' | 'reference' | 'missing'}}: what runs where."""
    usable = backends()
    return {name: {b: "missing" if b not in usable else "own" if k.version(b) else "reference" for b in BACKENDS}
            for name, k in kernels.items()}
