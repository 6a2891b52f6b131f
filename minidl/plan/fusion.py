"""Passes that make one step of two: a step and the maker of what it reads, where nothing else reads that."""
from collections import defaultdict
from functools import partial

import numpy as np
from numpy.lib.array_utils import byte_bounds

from ..kernels.conv2d import ACTIVATIONS as CONV_ACTIVATIONS
from ..kernels.conv2d import ConvPoolParams, conv2d_max_pool2d
from ..kernels.matmul import ACTIVATIONS
from .step import Buffer, Ref, Step

WITH_EPILOGUE = ("conv2d", "matmul")  # kernels of (x, weight, bias, perhaps residual) with an activation


def fuse(steps, results):
    """Batch norms, flattening, biases, residual sums and activations go into the kernel that made their argument."""
    read = {r.buffer for step in steps for r in step.reads()}
    for rule in (flattening, batch_norm, bias, residual, activation, partial(pooling, read)):
        steps = joined(steps, rule)
    return steps, results


def joined(steps, rule):
    """The steps, with rule(maker, step, ref) in the place of a step wherever it makes one step of the two."""
    steps, i = list(steps), 0
    writers, readers = uses(steps)
    while i < len(steps):
        step = steps[i]
        for ref in step.reads():
            made, read = writers[ref.buffer], readers[ref.buffer]
            if ref.buffer.kind != "temporary" or len(made) != 1 or read != [step] or len(made[0].outs) != 1:
                continue
            if any(len(writers[r.buffer]) > 1 for r in made[0].reads()):
                continue  # the maker moves to the step's place: what it reads must still be there
            new = rule(made[0], step, ref)
            if new is not None:
                steps[i] = new
                steps.remove(made[0])
                writers, readers = uses(steps)
                i -= 2
                break
        i += 1
    return steps


def uses(steps):
    """buffer -> the steps that write it, and those that read it."""
    writers, readers = defaultdict(list), defaultdict(list)
    for step in steps:
        for r in step.outs:
            writers[r.buffer].append(step)
        for buffer in {r.buffer for r in step.reads()}:
            readers[buffer].append(step)
    return writers, readers


def batch_norm(maker, step, ref):
    """norm(x w + b) = x (w s) + (b - mean) s + shift, with s = scale / sqrt(var + eps): an affine map of each channel."""
    if step.name != "batch_norm" or not takes_more(maker) or not ref.same(maker.outs[0]):
        return None
    if not all(r is None or r.buffer.kind == "constant" for r in (*maker.ins[1:], *step.ins[1:])):
        return None
    x, weight, offset, *rest = maker.ins
    scale, shift, mean, var = (None if r is None else value(r).astype(np.float64) for r in step.ins[1:])
    s = (1 if scale is None else scale) / np.sqrt(var + step.p.eps)
    moved = ((0 if offset is None else value(offset)) - mean) * s + (0 if shift is None else shift)
    weights = value(weight)
    along = (-1, 1, 1, 1) if maker.name == "conv2d" else (1, -1)
    scaled = np.empty_like(weights)  # in the layout of the weights
    scaled[...] = weights * s.reshape(along)
    return taken_over(maker, step, step.outs, [x, constant(scaled), constant(moved.astype(weights.dtype)), *rest])


def flattening(maker, step, ref):
    """An image flattened in C order times a constant matrix is its memory as it lies times the matrix's rows reordered."""
    if maker.name != "copy" or step.name != "matmul" or ref is not step.ins[0] or len(ref.shape) != 2:
        return None
    to, source, weight = maker.outs[0], maker.ins[0], step.ins[1]
    rows, columns = ref.shape
    if not (weight.buffer.kind == "constant" and ref.whole and to.whole and source.is_dense() and to.dtype == source.dtype
            and len(to.shape) > 2 and to.shape == source.shape and to.shape[0] == rows and ref.is_c_order()
            and (rows == 1 or source.strides[0] == columns * to.dtype.itemsize)):
        return None
    order = sorted(range(1, len(to.shape)), key=lambda d: -source.strides[d])  # of the axes in the source's memory
    positions = np.arange(columns).reshape(to.shape[1:]).transpose([d - 1 for d in order]).reshape(-1)
    x = Ref(source.buffer, source.offset, ref.shape, ref.strides, ref.dtype)
    return taken_over(maker, step, step.outs, [x, constant(np.ascontiguousarray(value(weight)[positions])), *step.ins[2:]],
                      of=step)


def bias(maker, step, ref):
    """A constant vector added along the last axis of a product."""
    other = sum_with(step, ref)
    if (other is None or maker.name != "matmul" or not takes_more(maker) or maker.ins[2] is not None
            or other.buffer.kind != "constant" or other.size != other.shape[-1] or other.dtype != ref.dtype):
        return None
    out = same_memory(maker, step, ref)
    if out is None or maker.outs[0].shape[-1] != other.size:
        return None
    vector = constant(np.ascontiguousarray(value(other).reshape(-1)))
    return taken_over(maker, step, [out], [*maker.ins[:2], vector, *maker.ins[3:]])


def residual(maker, step, ref):
    """A sum with another array of the same shape and layout."""
    other = sum_with(step, ref)
    if other is None or not takes_more(maker) or len(maker.ins) < 4 or other.shape != ref.shape:
        return None
    out = same_memory(maker, step, ref)
    if out is None or other.strides != ref.strides or other.dtype != ref.dtype:
        return None
    seen = maker.outs[0]
    term = Ref(other.buffer, other.offset, seen.shape, seen.strides, seen.dtype)
    return taken_over(maker, step, [out], [*maker.ins[:3], term])


def activation(maker, step, ref):
    """An activation that the kernel's epilogue knows."""
    known = CONV_ACTIVATIONS if maker.name == "conv2d" else ACTIVATIONS
    name = "relu6" if step.name == "hardtanh" and tuple(step.p) == (0, 6) else step.name
    if name not in known or step.kernel is None or not fusable(maker):
        return None
    out = same_memory(maker, step, ref)
    if out is None:
        return None
    return taken_over(maker, step, [out], maker.ins, maker.p._replace(activation=known[name]))


def pooling(read, maker, step, ref):
    """The largest of windows, while the sums are in registers; read: the buffers that some step reads."""
    if step.name != "max_pool2d" or maker.name != "conv2d" or maker.ins[3] is not None or not ref.same(maker.outs[0]):
        return None
    pool, (y, taps) = step.p, step.outs
    sizes = tuple((n - k) // s + 1 for n, k, s in zip(ref.shape[2:], pool[:2], pool[2:4]))
    if pool[4:8] != (0, 0, 1, 1) or y.shape[2:] != sizes:
        return None
    if maker.p.activation not in (0, 1):
        return None
    if maker.p.activation and (taps.buffer in read or pool.activation not in (0, maker.p.activation)):
        return None  # of equal values, such as zeros, another tap may be named
    p = ConvPoolParams(*maker.p._replace(activation=maker.p.activation or pool.activation), *pool[:4])
    new = Step("conv2d_max_pool2d", None, step.outs, maker.ins[:3], p, kernel=conv2d_max_pool2d)
    new.parts = maker.parts
    return new


def fusable(maker):
    return maker.kernel is not None and maker.name in WITH_EPILOGUE and not maker.p.activation


def takes_more(maker):
    """Whether the maker's sum may have more terms."""
    return fusable(maker) and (len(maker.ins) < 4 or maker.ins[3] is None)


def sum_with(step, ref):
    """The other term where the step adds it to ref."""
    if step.name != "add" or step.kernel is None or len(step.ins) != 2 or None in step.ins or step.outs[0].shape != ref.shape:
        return None
    a, b = step.ins
    return None if a.buffer is b.buffer else b if a is ref else a


def same_memory(maker, step, ref):
    """The step's output in the shape of the maker's, where the step keeps every element's place; else None."""
    out, made = step.outs[0], maker.outs[0]
    if not (ref.whole and made.whole and out.whole and out.shape == ref.shape and out.strides == ref.strides
            and out.dtype == made.dtype):
        return None
    return Ref(out.buffer, 0, made.shape, made.strides, made.dtype)


def taken_over(maker, step, outs, ins, p=None, of=None):
    """One step in the place of two: `of` the two, by default the maker, says which kernel runs."""
    kept = of or maker
    new = Step(kept.name, None, outs, ins, kept.p if p is None else p, kernel=kept.kernel)
    new.parts = [*maker.parts, step.name, *step.parts] if kept is maker else [*maker.parts, "flatten", *step.parts]
    return new


def value(ref):
    """The values of a constant."""
    held = ref.buffer.array
    memory = np.empty(ref.buffer.size, np.uint8)
    Ref.of(held, ref.buffer).array(memory)[...] = held
    return ref.array(memory)


def constant(array):
    """A reference to a new constant."""
    low, high = byte_bounds(array)
    return Ref.of(array, Buffer("constant", array, low, high - low))
