"""What a plan is made of: buffers of memory, references to arrays in them, and steps that read and write these."""
from math import prod

import numpy as np

from .. import kernels
from ..kernels.embedding import index_in_range


class Buffer:
    """The memory of an array. kind: 'input', 'constant', 'temporary' (in the arena) or 'output' (new at every call).

    array: what lay there while the steps were written down; of a constant, its values.
    """

    def __init__(self, kind, array, start, size):
        self.kind, self.array, self.start, self.size = kind, array, start, size
        self.offset = 0  # in the arena

    def __repr__(self):
        return f"<{self.kind}, {self.size} bytes>"


class Ref:
    """An array in a buffer: offset and strides in bytes."""

    __slots__ = ("buffer", "dtype", "offset", "shape", "strides")

    def __init__(self, buffer, offset, shape, strides, dtype):
        self.buffer, self.offset, self.shape, self.strides, self.dtype = buffer, offset, shape, strides, dtype

    @classmethod
    def of(cls, array, buffer):
        at = array.__array_interface__["data"][0] - buffer.start if array.size else 0
        return cls(buffer, at, array.shape, array.strides, array.dtype)

    @property
    def size(self):
        return prod(self.shape)

    @property
    def nbytes(self):
        return self.size * self.dtype.itemsize

    @property
    def whole(self):
        """Whether it is all of the buffer, each element once."""
        return self.offset == 0 and self.nbytes == self.buffer.size and self.is_dense()

    def is_c_order(self):
        expected = self.dtype.itemsize
        for n, stride in zip(self.shape[::-1], self.strides[::-1]):
            if n != 1 and stride != expected:
                return False
            expected *= n
        return True

    def is_dense(self):
        """Whether its axes, in some order, are C order without gaps."""
        expected = self.dtype.itemsize
        for stride, n in sorted(zip(self.strides, self.shape)):
            if n != 1 and stride != expected:
                return False
            expected *= n
        return True

    def same(self, other):
        """Whether both are the same elements in the same shape."""
        return (self.buffer is other.buffer and self.offset == other.offset and self.shape == other.shape
                and self.dtype == other.dtype and all(a == b or n == 1 for a, b, n in
                                                      zip(self.strides, other.strides, self.shape)))

    def seen_as(self, shape):
        """The same memory, in C order, under another shape."""
        strides, step = [], self.dtype.itemsize
        for n in shape[::-1]:
            strides.append(step)
            step *= n
        return Ref(self.buffer, self.offset, tuple(shape), tuple(strides[::-1]), self.dtype)

    def broadcast(self, shape):
        """The same elements repeated along new axes and those of length one."""
        own, strides = list(self.shape), list(self.strides)
        while len(own) > len(shape):  # a value may have more axes of length one than what it is written to
            del own[0], strides[0]
        lead = len(shape) - len(own)
        strides = [0] * lead + [0 if n == 1 else s for n, s in zip(own, strides)]
        return Ref(self.buffer, self.offset, tuple(shape), tuple(strides), self.dtype)

    def part(self, axis, start, stop):
        """The slice start:stop of one axis."""
        shape = (*self.shape[:axis], stop - start, *self.shape[axis + 1:])
        return Ref(self.buffer, self.offset + start * self.strides[axis], shape, self.strides, self.dtype)

    def array(self, memory, start=0):
        """The array itself, in bytes of memory where the buffer begins at `start`."""
        return np.ndarray(self.shape, self.dtype, memory, start + self.offset, self.strides)

    def __repr__(self):
        return f"{self.dtype}{list(self.shape)} in {self.buffer!r}"


class Step:
    """One call: version(*outs, *ins, p) on the arrays that `outs` and `ins` refer to.

    kernel: the kernel whose version runs, or None for a function of Python. outs, ins: references; ins also None and lists, as
    in a kernel's specification. parts: names of the steps that this one has taken over. reads_outs: the old values count.
    """

    def __init__(self, name, version, outs, ins, p, kernel=None, reads_outs=False):
        self.name, self.version, self.outs, self.ins, self.p, self.kernel = name, version, outs, ins, p, kernel
        self.reads_outs = reads_outs
        self.parts = []

    def reads(self):
        """The references that are read."""
        flat = [r for part in self.ins for r in (part if type(part) is list else [part]) if r is not None]
        return [*flat, *self.outs] if self.reads_outs else flat

    def native(self):
        """The native kernel that runs this step, or None."""
        if self.kernel is not None:
            return self.kernel.version("native")
        return kernels.core.find(NATIVE[self.version], "portable") if self.version in NATIVE else None

    def __repr__(self):
        return f"<step {self.name}: {self.outs} from {self.ins}>"


def copied(y, x, p):
    """The version of a step that copies, broadcasts and converts."""
    y[...] = x


def in_range(index, p):
    """The version of a step that checks the rows of a table before they are read."""
    index_in_range("embedding", index, p[0])


NATIVE = {copied: "plan_copy", in_range: "index_in_range"}  # what only plans need as kernels


def run_kernel(kernel, outs, ins, p):
    """The kernel on arrays that are there, in the backend that was chosen, or by the reference where that does not serve."""
    version = kernel.version(kernels.get_backend()) or kernel.version("reference")
    if version(*outs, *ins, p) is NotImplemented:
        kernel.version("reference")(*outs, *ins, p)


class Slot(int):
    """The number of an array, in its place among a call's arguments."""


def slots_of(x, chosen, number):
    """Nested arguments with Slot(number(y)) in the place of each y that is chosen."""
    if chosen(x):
        return Slot(number(x))
    if isinstance(x, (tuple, list)):
        made = [slots_of(y, chosen, number) for y in x]
        return type(x)(*made) if hasattr(x, "_fields") else type(x)(made)
    return {k: slots_of(y, chosen, number) for k, y in x.items()} if isinstance(x, dict) else x


def fill_in(x, arrays):
    """The arguments again, with the arrays in their places."""
    if type(x) is Slot:
        return arrays[x]
    if isinstance(x, (tuple, list)):
        made = [fill_in(y, arrays) for y in x]
        return type(x)(*made) if hasattr(x, "_fields") else type(x)(made)
    return {k: fill_in(y, arrays) for k, y in x.items()} if isinstance(x, dict) else x
