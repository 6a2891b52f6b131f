"""What is done to the steps between tracing and running. Each pass takes the steps and the results and gives both anew."""
from collections import Counter, defaultdict

from .fusion import fuse
from .step import Buffer, Ref, Step, copied


def optimized(steps, results):
    """All passes in their order."""
    for run in (compact_results, fold_constants, drop_copies, fuse, drop_unused, in_place):
        steps, results = run(steps, results)
    return steps, results


def compact_results(steps, results):
    """Results get memory of their own: not that of an input or a constant, nor a part of something larger."""
    own = []
    for ref in results:
        if ref.buffer.kind == "temporary" and ref.whole:
            ref.buffer.kind = "output"
        else:
            new = Ref(Buffer("output", None, 0, ref.nbytes), 0, ref.shape, (), ref.dtype).seen_as(ref.shape)
            steps = [*steps, Step("copy", copied, [new], [ref], ())]
            ref = new
        own.append(ref)
    return steps, own


def fold_constants(steps, results):
    """What is computed from constants alone is one: its values are those that were there when it was traced."""
    varying = {r.buffer for r in results if r.buffer.kind == "output" and r.buffer.array is None}
    changing = True
    while changing:  # a buffer that is written piece by piece varies if any piece does
        changing = False
        for step in steps:
            if any(r.buffer.kind == "input" or r.buffer in varying for r in step.reads()):
                new = {r.buffer for r in step.outs} - varying
                changing |= bool(new)
                varying |= new
    written = defaultdict(list)
    read = defaultdict(list)
    for i, step in enumerate(steps):
        for r in step.outs:
            written[r.buffer].append(i)
        for r in step.reads():
            read[r.buffer].append(i)
    folded = {b for b, at in written.items() if b not in varying and b.kind == "temporary"
              and max(at) < min((i for i in read[b] if i not in at), default=len(steps))}
    for buffer in folded:
        buffer.kind = "constant"
    return [step for step in steps if not step.outs or not all(r.buffer in folded for r in step.outs)], results


def drop_copies(steps, results):
    """A copy into fresh memory, of what never changes afterwards, is the thing itself."""
    writes = Counter(r.buffer for step in steps for r in step.outs)
    replaced, kept = {}, []
    for step in steps:
        _follow(step, replaced)
        if step.name == "copy" and step.outs[0].buffer.kind == "temporary":
            to, source = step.outs[0], step.ins[0]
            if (writes[to.buffer] == 1 and writes[source.buffer] <= 1 and to.whole and to.dtype == source.dtype
                    and to.shape == source.shape and to.strides == source.strides):
                replaced[to.buffer] = source
                continue
        kept.append(step)
    return kept, results


def in_place(steps, results):
    """An elementwise step writes over what it reads where that is not wanted any more: half the memory to go through."""
    touched = defaultdict(list)
    for i, step in enumerate(steps):
        for buffer in {r.buffer for r in (*step.reads(), *step.outs)}:
            touched[buffer].append(i)
    replaced = {}
    for i, step in enumerate(steps):
        if step.kernel is None or step.kernel.family.rpartition(".")[2] not in ("elementwise", "arithmetic"):
            continue
        (out,) = step.outs
        for ref in step.reads():
            if (ref.buffer.kind == "temporary" and touched[ref.buffer][-1] == i and touched[out.buffer][0] == i and ref.whole
                    and out.whole and ref.shape == out.shape and ref.strides == out.strides and ref.dtype == out.dtype):
                old, new = (ref, out) if out.buffer.kind == "output" else (out, ref)
                replaced[old.buffer] = new
                break
    for step in steps:
        _follow(step, replaced)
    return steps, results


def _follow(step, replaced):
    """Lets a step use what came in the place of buffers."""
    step.outs = [_followed(r, replaced) for r in step.outs]
    step.ins = [[_followed(r, replaced) for r in part] if type(part) is list else _followed(part, replaced)
                for part in step.ins]


def _followed(ref, replaced):
    if ref is None or ref.buffer not in replaced:
        return ref
    source = replaced[ref.buffer]
    return _followed(Ref(source.buffer, source.offset + ref.offset, ref.shape, ref.strides, ref.dtype), replaced)


def drop_unused(steps, results):
    """Without the steps whose results nothing reads."""
    wanted, kept = {r.buffer for r in results}, []
    for step in reversed(steps):
        if not step.outs or any(r.buffer in wanted or r.buffer.kind == "output" for r in step.outs):
            wanted |= {r.buffer for r in step.reads()}
            kept.append(step)
    return kept[::-1], results


def arena(steps):
    """Gives every temporary buffer its offset in one block, and returns the block's size.

    A buffer's place is free again behind the last step that touches it. The largest ones choose first, each the lowest gap.
    """
    first, last = {}, {}
    for i, step in enumerate(steps):
        for r in (*step.reads(), *step.outs):
            if r.buffer.kind == "temporary":
                first.setdefault(r.buffer, i)
                last[r.buffer] = i
    placed = []  # (offset, end, buffer)
    for buffer in sorted(first, key=lambda b: (-b.size, first[b])):
        size = -(-max(buffer.size, 1) // 64) * 64
        beside = sorted((start, end) for start, end, other in placed
                        if first[other] <= last[buffer] and first[buffer] <= last[other])
        at = 0
        for start, end in beside:
            if at + size <= start:
                break
            at = max(at, end)
        buffer.offset = at
        placed.append((at, at + size, buffer))
    return max((end for _, end, _ in placed), default=0)
