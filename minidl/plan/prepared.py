"""A plan for one set of shapes: its memory laid out, its steps in one list, ready to run."""
import threading

import numpy as np

from .. import kernels
from . import passes
from .step import Ref, run_kernel


class Prepared:
    """The steps from `inputs` (buffers) to `results` (references), optimised.

    Constants are copied: a later change of the weights does not reach the plan. One thread runs at a time, the others wait.
    """

    def __init__(self, steps, inputs, results):
        self.steps, self.results = passes.optimized(steps, results)
        self.inputs = [Ref.of(buffer.array, buffer) for buffer in inputs]
        self.arena_size = passes.arena(self.steps)
        self.arena = aligned(self.arena_size)
        self.constants = {}
        for step in self.steps:
            for ref in step.reads():
                buffer = ref.buffer
                if buffer.kind == "constant" and buffer not in self.constants:
                    self.constants[buffer] = memory = aligned(buffer.size)
                    Ref.of(buffer.array, buffer).array(memory)[...] = buffer.array
        for ref in [r for step in self.steps for r in (*step.reads(), *step.outs)] + self.inputs + self.results:
            ref.buffer.array = None  # what lay there while it was traced
        self.backend = kernels.get_backend()
        self._lock = threading.Lock()

    def __call__(self, arrays):
        """The results for input arrays, whose shapes, dtypes and layouts are those of `inputs`, as a list of new arrays."""
        memory = dict(self.constants)
        for ref, array in zip(self.inputs, arrays):
            memory[ref.buffer] = bytes_of(array)
        for ref in self.results:
            if ref.buffer not in memory:
                memory[ref.buffer] = aligned(ref.buffer.size)
        with self._lock:
            for step in self.steps:
                self._run(step, memory)
        return [ref.array(memory[ref.buffer]) for ref in self.results]

    def _run(self, step, memory):
        outs = [self._array(ref, memory) for ref in step.outs]
        ins = [[self._array(ref, memory) for ref in part] if type(part) is list else self._array(part, memory)
               for part in step.ins]
        if step.kernel is not None:
            run_kernel(step.kernel, outs, ins, step.p)
        else:
            step.version(*outs, *ins, step.p)

    def _array(self, ref, memory):
        if ref is None:
            return None
        if ref.buffer.kind == "temporary":
            return Ref(ref.buffer, ref.buffer.offset + ref.offset, ref.shape, ref.strides, ref.dtype).array(self.arena)
        return ref.array(memory[ref.buffer])

    def describe(self):
        """The list of steps as text: number, name and what it has taken over, where it runs, shapes, where the result lies."""
        rows = [("step", "what", "runs in", "shapes", "bytes", "at")]
        for i, step in enumerate(self.steps):
            rows.append((str(i), " + ".join([step.name, *step.parts]), self._where(step), shapes(step),
                         str(sum(r.nbytes for r in step.outs)), ", ".join(map(place, step.outs))))
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in rows]
        kept = sum(memory.nbytes for memory in self.constants.values())
        lines.append(f"{len(self.steps)} steps; arena {self.arena_size} bytes, constants {kept} bytes")
        return "\n".join(lines)

    def _where(self, step):
        if step.kernel is None:
            return "python"
        return self.backend if step.kernel.version(self.backend) else "reference"


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


def bytes_of(array):
    """The memory of an array without gaps, as bytes."""
    order = sorted(range(array.ndim), key=lambda d: (-array.strides[d], -array.shape[d]))
    return array.transpose(order).reshape(-1).view(np.uint8)
