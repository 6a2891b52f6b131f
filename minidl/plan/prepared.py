"""A plan for one set of shapes: its memory laid out, its steps in one list, ready to run."""
import threading

import numpy as np

from .. import kernels
from ..kernels import core
from . import passes
from .step import Ref, run_kernel


class Prepared:
    """The steps from `inputs` (buffers) to `results` (references), optimised: prepared(arrays) gives new arrays.

    The arrays have the shapes, dtypes and layouts of the inputs. Native steps run in one call without Python between them;
    where there are others, Python runs these in between. Constants are copied: a later change of the weights does not reach
    the plan. One thread runs at a time, the others wait.
    """

    def __init__(self, steps, inputs, results):
        self.steps, self.results = passes.optimized(steps, results)
        self.inputs = [Ref.of(buffer.array, buffer) for buffer in inputs]
        example = tuple(buffer.array for buffer in inputs)
        self.backend = kernels.get_backend()
        self.arena_size = passes.arena(self.steps)
        self.arena = aligned(self.arena_size)
        self.constants = {}  # buffer -> its bytes
        for step in self.steps:
            for ref in step.reads():
                buffer = ref.buffer
                if buffer.kind == "constant" and buffer not in self.constants:
                    self.constants[buffer] = memory = aligned(buffer.size)
                    Ref.of(buffer.array, buffer).array(memory)[...] = buffer.array
        for ref in [r for step in self.steps for r in (*step.reads(), *step.outs)] + self.inputs + self.results:
            ref.buffer.array = None  # what lay there while it was traced
        self.python = set(range(len(self.steps)))  # the steps that Python runs
        if core and self.backend == "native":
            self._link(example)
        else:
            self._lock, self.call = threading.Lock(), self._run_all

    def __call__(self, arrays):
        return self.call(arrays)

    @property
    def is_native(self):
        """Whether `call` is a plan of the native runner."""
        return core is not None and isinstance(self.call, core.Plan)

    # ---- native ----
    def _link(self, example):
        """Hands the steps to the native runner, and finds those that it cannot run by running once."""
        numbers = {ref.buffer: i for i, ref in enumerate([*self.inputs, *self.results])}

        def described(ref):
            if ref is None:
                return None
            kind, offset = ref.buffer.kind, ref.offset
            if kind == "temporary":
                memory, offset = self.arena, offset + ref.buffer.offset
            else:
                memory = self.constants[ref.buffer] if kind == "constant" else numbers[ref.buffer]
            return memory, offset, ref.shape, ref.strides, ref.dtype, kind == "constant"

        steps = []
        for step in self.steps:
            flat = [*step.outs, *(ref for part in step.ins for ref in (part if type(part) is list else [part]))]
            kernel = step.native()
            steps.append((kernel, [described(ref) for ref in flat], step.p) if kernel is not None else (None, [], ()))
        found = []

        def fallback(i, inputs, outputs):
            found.append(i)
            self._run_one(i, inputs, outputs)

        def specs(refs):
            return [(ref.shape, ref.strides, ref.dtype) for ref in refs]

        lock = threading.Lock()
        core.Plan(specs(self.inputs), specs(self.results), steps, fallback, lock)(example)
        self.python = {i for i in found if self.steps[i].name != "index_in_range"}
        steps = [(None, [], ()) if i in self.python else step for i, step in enumerate(steps)]
        self.call = core.Plan(specs(self.inputs), specs(self.results), steps, self._run_one, lock)

    # ---- Python ----
    def _run_all(self, arrays):
        results = [laid_out(ref) for ref in self.results]
        with self._lock:
            for i in range(len(self.steps)):
                self._run_one(i, arrays, results)
        return results

    def _run_one(self, i, arrays, results):
        """Step number i on the arrays of a call."""
        step, memory = self.steps[i], {}
        for ref, array in zip((*self.inputs, *self.results), (*arrays, *results)):
            memory[ref.buffer] = array

        def array(ref):
            if ref is None:
                return None
            kind = ref.buffer.kind
            if kind == "temporary":
                return ref.array(self.arena, ref.buffer.offset)
            return ref.array(self.constants[ref.buffer] if kind == "constant" else bytes_of(memory[ref.buffer]))
        outs = [array(ref) for ref in step.outs]
        ins = [[array(ref) for ref in part] if type(part) is list else array(part) for part in step.ins]
        if step.kernel is not None:
            run_kernel(step.kernel, outs, ins, step.p)
        else:
            step.version(*outs, *ins, step.p)

    # ---- what it is ----
    def describe(self):
        """The list of steps as text.

        For each step: its name and what it has taken over, where it runs, the shapes, the bytes of its outputs and where they
        lie, and how many bytes it keeps between calls (packed weights).
        """
        rows = [("step", "what", "runs in", "shapes", "bytes", "at", "keeps")]
        for i, step in enumerate(self.steps):
            kept = self.call.kept_bytes(i) if self.is_native else 0
            rows.append((str(i), " + ".join([step.name, *step.parts]), self._where(i), shapes(step),
                         str(sum(r.nbytes for r in step.outs)), ", ".join(map(place, step.outs)), str(kept or "")))
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in rows]
        constants = sum(memory.nbytes for memory in self.constants.values())
        lines.append(f"{len(self.steps)} steps, {len(self.python)} of them in Python; arena {self.arena_size} bytes, "
                     f"constants {constants} bytes")
        return "\n".join(lines)

    def _where(self, i):
        if i not in self.python:
            return f"native {kernels.isa()}"
        step = self.steps[i]
        if step.kernel is None:
            return "python"
        return self.backend if self.backend != "native" and step.kernel.version(self.backend) else "reference"


def shapes(step):
    """'2x3, 4 -> 2x4'"""
    def text(ref):
        return "x".join(map(str, ref.shape)) or "()"
    ins = [r for part in step.ins for r in (part if type(part) is list else [part]) if r is not None]
    return f"{', '.join(map(text, ins))} -> {', '.join(map(text, step.outs))}"


def place(ref):
    """'arena+128'"""
    if ref.buffer.kind == "temporary":
        return f"arena+{ref.buffer.offset + ref.offset}"
    return ref.buffer.kind + (f"+{ref.offset}" if ref.offset else "")


def aligned(size):
    """So many bytes, 64-byte aligned."""
    memory = np.empty(size + 64, np.uint8)
    start = -memory.__array_interface__["data"][0] % 64
    return memory[start:start + size]


def laid_out(ref):
    """A new array, laid out as a reference to all of a buffer."""
    return ref.array(aligned(ref.buffer.size))


def bytes_of(array):
    """The memory of an array without gaps, as bytes."""
    order = sorted(range(array.ndim), key=lambda d: (-array.strides[d], -array.shape[d]))
    return array.transpose(order).reshape(-1).view(np.uint8)
