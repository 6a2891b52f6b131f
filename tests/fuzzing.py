"""Random shapes, values and memory layouts for the kernels' property tests.

Arrays lie inside larger blocks of memory: around inputs it is NaN, so that a read beyond them is seen in the result,
and around outputs a value that must be there still afterwards. MINIDL_FUZZ=N multiplies the examples and draws others.
"""
import os

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl import kernels
from minidl.kernels import _check

MORE = int(os.environ.get("MINIDL_FUZZ", "0"))
EDGE = 99  # what lies around an output
LAYOUTS = ["C", "C", "images", "images", "transposed", "sliced", "reversed", "flipped", "offset", "misaligned",
           "broadcast"]
EXACT = [name for name in LAYOUTS if name != "broadcast"]


def fuzz(examples):
    profile = settings(max_examples=examples * max(1, MORE), derandomize=not MORE, deadline=None, database=None)
    return lambda test: profile(given(st.data())(test))


class Draw:
    """Random arrays and choices, all from Hypothesis, so that a failure shrinks."""

    def __init__(self, data, mixed=False):
        self.data = data
        self.layouts = [*LAYOUTS, "swapped"] if mixed else LAYOUTS  # mixed: arrays of both byte orders
        self.swapped = not mixed and self.number(0, 9) == 0
        self.random = np.random.default_rng(data.draw(st.integers(0, 10**6), "seed"))
        self.placed = []  # (memory, its bytes): the inputs

    def number(self, low, high):
        return self.data.draw(st.integers(low, high))

    def choice(self, *options):
        return self.data.draw(st.sampled_from(options))

    def layout(self):
        return self.choice(*self.layouts)

    def whole(self, *shape):
        """Small whole numbers, whose sums and products float32 holds exactly."""
        return self.array(self.random.integers(-3, 4, shape).astype("f4"))

    def normal(self, *shape, dtype="f4"):
        return self.array(self.random.standard_normal(shape).astype(dtype))

    def array(self, values, layout=None):
        """The values in some layout, in the midst of other memory, remembered as an input."""
        layout = layout or self.layout()
        if self.swapped:
            values = values.astype(values.dtype.newbyteorder(">"))
        if layout == "broadcast" and values.ndim:
            axis = self.number(0, values.ndim - 1)
            if values.shape[axis]:
                values = np.broadcast_to(values.take([0], axis), values.shape)
        x, memory = place(values, layout)
        self.placed.append((memory, memory.tobytes()))
        return x

    def exact(self, values):
        """The values in some layout that leaves every one as it is: not broadcast."""
        return self.array(values, self.choice(*EXACT))

    def out(self, result):
        """An array like the result in a layout of its own, with what surrounds it."""
        return place(np.full_like(result, EDGE), self.choice(*EXACT), EDGE)


def place(values, layout, around=None):
    """(array, memory): the values in this layout, inside memory that is filled with `around`, NaN if None."""
    dtype = values.dtype.newbyteorder(">") if layout == "swapped" else values.dtype
    shrunk = [i for i, stride in enumerate(values.strides) if layout == "broadcast" and stride == 0]
    core = values[tuple(slice(0, 1) if i in shrunk else slice(None) for i in range(values.ndim))]
    order = list(range(values.ndim))
    if layout in ("transposed", "reversed"):
        order = order[::-1]
    elif layout in ("images", "flipped", "broadcast") and values.ndim > 2:
        order = [0, *range(2, values.ndim), 1]
    steps = [{"sliced": 2, "reversed": -1}.get(layout, 1)] * values.ndim
    if layout == "flipped" and values.ndim > 1:
        steps[-2] = -1  # of images the columns
    shape = [core.shape[i] * abs(step) for i, step in zip(order, steps)]
    size, skip = int(np.prod(shape)), 17 if layout == "offset" else 16
    raw = np.empty((size + 33) * dtype.itemsize + 1, "u1")
    first = 1 if layout == "misaligned" else 0
    memory = raw[first:first + (size + 33) * dtype.itemsize].view(dtype)
    memory[...] = (np.nan if dtype.kind == "f" else 7) if around is None else around
    x = memory[skip:skip + size].reshape(shape)[(*(slice(None, None, step) for step in steps), ...)]
    x = x.transpose(np.argsort(order))
    x[...] = core
    return np.broadcast_to(x, values.shape) if shrunk else x, memory


def error(got, wanted, together):
    """How far results are from others, each relative to its largest value, or `together` to that of all: where one is a
    difference that may vanish, what is computed is the rounding of the others."""
    if together:
        assert [g.shape for g in got] == [w.shape for w in wanted]
        got, wanted = ([np.concatenate([a.ravel() for a in arrays])] for arrays in (got, wanted))
    return _check.difference(got, wanted)


def agree(draw, kernel, *args, tolerance=None, together=False, **kwargs):
    """Runs the kernel in every backend, with and without `out`, and compares with the reference."""
    tolerance = kernel.tolerance if tolerance is None else tolerance
    wanted = results_of(kernel(*args, **kwargs, backend="reference"))
    before = kernels.get_num_threads()
    kernels.set_num_threads(draw.number(1, 3))
    try:
        for backend in _check.versions(kernel)[1:]:
            got = results_of(kernel(*args, **kwargs, backend=backend))
            assert error(got, wanted, together) <= tolerance, backend
        outs = [draw.out(w) for w in wanted]
        given = [x for x, _ in outs]
        kernel(*args, **kwargs, out=given if len(given) > 1 else given[0])
        assert error(given, wanted, together) <= tolerance, "out"
        for x, memory in outs:
            x[...] = EDGE
            assert (memory == memory.dtype.type(EDGE)).all(), "written outside the result"
    finally:
        kernels.set_num_threads(before)
    assert all(memory.tobytes() == was for memory, was in draw.placed), "an input was changed"
    return wanted


def results_of(result):
    return list(result) if isinstance(result, tuple) else [result]


def heads(draw, dtype="f4"):
    """q, k, v and the options of an attention in which every query sees a key."""
    n, groups, each = draw.choice(0, 1, 2), draw.choice(1, 2, 3), draw.choice(1, 1, 2)
    length, keys = (draw.choice(1, 2, 5, 17, 64, 65, 100) for _ in range(2))
    size, value_size = draw.choice(1, 3, 8, 16, 33, 64), draw.choice(None, None, 5, 16)
    q, k = draw.normal(n, groups * each, length, size, dtype=dtype), draw.normal(n, groups, keys, size, dtype=dtype)
    v = draw.normal(n, groups, keys, value_size or size, dtype=dtype)
    how = {"causal": draw.choice(False, True), "scale": draw.choice(None, None, 0.5)}
    kind = draw.choice(None, None, "bool", dtype)
    if kind:
        shape = [draw.choice(full, 1) for full in (n, groups * each, length)] + [keys]
        mask = draw.random.standard_normal(shape[draw.number(0, 3):]).astype(dtype)
        mask[..., 0] = 1
        how["mask"] = draw.array(mask > 0) if kind == "bool" else draw.array(mask)
    return q, k, v, how
