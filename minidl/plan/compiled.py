"""compile(model, *example_inputs): the callable that users hold, and the plans that it has prepared."""
import threading
from collections import OrderedDict

import numpy as np

from .. import kernels, random
from ..autograd import Tensor, no_grad
from ..autograd.tensor import wrap
from .prepared import Prepared
from .step import Ref, Slot, fill_in, slots_of
from .trace import Traced, tracing

PLANS = 8  # shapes for which a compiled model keeps plans: the ones used last


def compile(model, *example_inputs):
    """A callable that computes what `model` computes in evaluation mode, prepared for speed; without gradients.

    The model runs once on the example, in evaluation mode; what it does is written down as a list of kernel calls, which is
    simplified (batch norms go into the convolution before them, activations and sums into the kernel that made their
    argument) and gets its memory laid out once. A call then runs the list. Other shapes, dtypes or memory layouts are prepared
    at their first call; the last 8 are kept.

    model: a Module or any function of tensors. example_inputs: arrays or tensors, also in tuples, lists and dicts; their
    values do not matter. The callable takes such arguments, and gives tensors if any of them is one, else NumPy arrays:
    always new memory. It may be used from several threads.

    The weights are those at the time a plan is prepared: a later change of the model does not reach it; compile again.
    Module hooks run while a plan is prepared and not later.

    Raises RuntimeError where the model's control flow depends on values (bool(tensor), item(), numpy()), or where it draws
    random numbers: a list of calls cannot know them.
    """
    compiled = Compiled(model)
    compiled.prepare(*example_inputs)
    return compiled


class Compiled:
    """What `compile` gives: call it like the model. `describe()` says what a call does."""

    def __init__(self, model):
        if not callable(model):
            raise TypeError(f"compile: a {type(model).__name__}: a module or a function of tensors expected")
        self._model, self._plans, self._lock = model, OrderedDict(), threading.RLock()
        self._direct = None  # the native plan used last, where its inputs are arrays side by side and its result is one array

    def __call__(self, *inputs):
        plan = self._direct
        if plan is not None and kernels.get_backend() == "native":
            if type(inputs[0]) is np.ndarray:
                if plan.fits(inputs):
                    return plan(inputs)[0]
            elif all(type(x) is Tensor for x in inputs):
                arrays = tuple([x.array for x in inputs])
                if plan.fits(arrays):
                    return wrap(plan(arrays)[0])
        return self._call(inputs)

    def _call(self, inputs):
        """A call in general: nested arguments and results, any backend."""
        arrays, tensors, pattern = taken_apart(inputs)
        prepared, result = self._plan(arrays, pattern)
        flat = len(pattern) == len(arrays) and all(type(x) is Slot for x in pattern)
        self._direct = prepared.call if flat and type(result) is Slot and prepared.is_native else None
        outputs = prepared(tuple(arrays))
        return fill_in(result, [wrap(y) for y in outputs] if tensors else outputs)

    def prepare(self, *inputs):
        """Prepares the plan for such inputs where it is not there yet."""
        arrays, _, pattern = taken_apart(inputs)
        self._plan(arrays, pattern)

    def describe(self, *inputs):
        """The steps of the plan for such inputs, by default of the one used last, as text."""
        if inputs:
            self.prepare(*inputs)
        return next(reversed(self._plans.values()))[0].describe()

    def _plan(self, arrays, pattern):
        key = (kernels.get_backend(), repr(pattern), *[(x.shape, x.strides, x.dtype) for x in arrays])
        with self._lock:
            if key not in self._plans:
                self._plans[key] = prepared(self._model, arrays, pattern)
                if len(self._plans) > PLANS:
                    self._plans.popitem(last=False)
            self._plans.move_to_end(key)
            return self._plans[key]

    def __repr__(self):
        return f"<compiled {type(self._model).__name__} for {len(self._plans)} shapes>"


def taken_apart(inputs):
    """The arrays of nested arguments, whether any was a tensor, and the arguments with a Slot for each array."""
    arrays, tensors = [], False

    def chosen(x):
        if not isinstance(x, (Tensor, np.ndarray, tuple, list, dict, str, bool, int, float, type(None))):
            raise TypeError(f"compile: a {type(x).__name__} as input: arrays, tensors, or plain values expected")
        return isinstance(x, (Tensor, np.ndarray))

    def number(x):
        nonlocal tensors
        if isinstance(x, Tensor):
            tensors, x = True, x.array
        if type(x) is not np.ndarray:
            raise TypeError(f"compile: a {type(x).__name__} as input: tensors of NumPy arrays expected")
        arrays.append(in_order(x))
        return len(arrays) - 1

    pattern = slots_of(inputs, chosen, number)
    if not arrays:
        raise TypeError("compile: no array and no tensor as input: one or more expected")
    return arrays, tensors, pattern


def in_order(x):
    """x, copied where its memory has gaps, overlaps, or is not the processor's own byte order."""
    if not x.dtype.isnative or not x.flags.aligned:
        x = x.astype(x.dtype.newbyteorder("="))
    if x.flags.c_contiguous:
        return x
    return x if Ref(None, 0, x.shape, x.strides, x.dtype).is_dense() else np.ascontiguousarray(x)


def prepared(model, arrays, pattern):
    """(the plan, the model's result with Slots for its arrays)."""
    drawn = random.default_generator.get_state()
    refs = []
    with tracing() as trace, evaluating(model), no_grad():
        inputs = [trace.input(x) for x in arrays]
        result = model(*fill_in(pattern, [wrap(x) for x in inputs]))

        def number(y):
            refs.append(trace.ref(y.array if isinstance(y, Tensor) else y))
            return len(refs) - 1
        result = slots_of(result, lambda y: isinstance(y, (Tensor, Traced, np.ndarray)), number)
    if random.default_generator.get_state() != drawn:
        raise RuntimeError("compile: the model draws random numbers, which a plan would repeat: dropout(..., training=False), "
                           "or random numbers as an input, expected")
    return Prepared(trace.steps, trace.inputs, refs), result


class evaluating:
    """`with evaluating(model):` evaluation mode for the block; then every module is back in its own."""

    def __init__(self, model):
        self.changed = [m for m in model.modules() if m.training] if hasattr(model, "modules") else []

    def __enter__(self):
        for module in self.changed:  # past Module's __setattr__: this is no parameter, module or buffer to register
            object.__setattr__(module, "training", False)

    def __exit__(self, *exception):
        for module in self.changed:
            object.__setattr__(module, "training", True)


__all__ = ["Compiled", "compile"]
