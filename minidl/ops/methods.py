"""The operators, properties and methods of Tensor: tables from names to operations.

Another family of operations adds its methods by `attach(name, operation)`.
"""
import numpy as np

from ..autograd import Tensor
from ..autograd.tensor import write_in_place
from . import (
    activation,
    arithmetic,
    creation,
    elementwise,
    index,
    linear,
    logic,
    reduce,
    rounding,
    shape,
    sorting,
    trigonometry,
)
from .aliases import aliased


def attach(name, operation):
    """Makes `operation` the method `name` of Tensor, the tensor being its first argument."""
    setattr(Tensor, name, operation)


def reflected(operation):
    """The operator for a tensor on the right: 2 - x calls x.__rsub__(2)."""
    def call(self, other):
        return operation(other, self)
    call.__name__ = operation.__name__
    return call


def compared(operation):
    """== and !=, by identity with what is no array at all: x == None is False."""
    def call(self, other):
        return NotImplemented if other is None or isinstance(other, str) else operation(self, other)
    call.__name__ = operation.__name__
    return call


def in_place(operation):
    """x += y and friends: the same memory, with an error where the tape would be made wrong."""
    def call(self, *operands):
        return write_in_place(self, operation, *operands)
    call.__name__ = operation.__name__
    return call


def with_factor(operation, in_place_too=False):
    """add and sub as methods: x + alpha other, x - alpha other."""
    change = in_place(operation)

    def call(self, other, *, alpha=1):
        other = other if type(alpha) is int and alpha == 1 else other * alpha
        return change(self, other) if in_place_too else operation(self, other)
    call.__name__, call.__doc__ = operation.__name__, operation.__doc__
    return call


def addcmul(x, tensor1, tensor2, *, value=1):
    """x + value tensor1 tensor2."""
    return x + value * tensor1 * tensor2


def addcdiv(x, tensor1, tensor2, *, value=1):
    """x + value tensor1 / tensor2."""
    return x + value * tensor1 / tensor2


def lerp(x, end, weight):
    """x + weight (end - x)."""
    return x + weight * (end - x)


def with_options(operation):
    """A method that changes x in place, with arguments by name."""
    def call(self, *args, **options):
        def changed(x):
            return operation(x, *args, **options)
        changed.__name__ = f"{operation.__name__}_"
        return write_in_place(self, changed)
    call.__name__ = f"{operation.__name__}_"
    return call


def sizes(operation):
    """A method that takes whole numbers one by one or as one tuple: x.reshape(2, 3) and x.reshape((2, 3))."""
    def call(self, *numbers, **kwargs):
        if len(numbers) == 1 and isinstance(numbers[0], (tuple, list)):
            numbers = tuple(numbers[0])
        return operation(self, numbers, **kwargs) if numbers or not kwargs else operation(self, **kwargs)
    call.__name__, call.__doc__ = operation.__name__, operation.__doc__
    return call


def view(x, *shape_or_dtype):
    """The same memory under another shape, as x.reshape, or the same bytes as another dtype."""
    if len(shape_or_dtype) == 1 and not isinstance(shape_or_dtype[0], (int, tuple, list)):
        out = x.detach()
        out.array = x.array.view(shape_or_dtype[0])
        return out
    return Tensor.reshape(x, *shape_or_dtype)


def view_as(x, other):
    """x under the shape of another tensor."""
    return shape.reshape(x, other.shape)


def permute(x, *axes):
    """The axes in another order: x.permute(0, 2, 1) or x.permute((0, 2, 1)). Negative axes count from the last."""
    axes = axes[0] if len(axes) == 1 and isinstance(axes[0], (tuple, list)) else axes
    return shape.permute_dims(x, tuple(index.normal_axis("permute", a, x.ndim) for a in axes))


def transpose(x, *axes):
    """Two axes exchanged, as in PyTorch; without arguments, or with all axes, NumPy's transpose."""
    if len(axes) == 2 and not isinstance(axes[0], (tuple, list)):
        return shape.swapaxes(x, *axes)
    return permute(x, *axes) if axes else permute(x, *range(x.ndim)[::-1])


def t(x):
    """A matrix with its axes exchanged; a vector or number as it is."""
    if x.ndim > 2:
        raise ValueError(f"t: shape {x.shape}: two axes at most expected (mT exchanges the last two)")
    return permute(x, *range(x.ndim)[::-1])


def T(x):
    """The matrix with its axes exchanged."""
    if x.ndim != 2:
        raise ValueError(f"T: shape {x.shape}: two axes expected (mT exchanges the last two)")
    return shape.permute_dims(x, (1, 0))


def expand(x, *shape_):
    """Axes of length one, or new ones in front, repeated without a copy; -1 keeps a size. Shape: `shape_`."""
    target = shape_[0] if len(shape_) == 1 and isinstance(shape_[0], (tuple, list)) else shape_
    lead = len(target) - x.ndim
    return shape.broadcast_to(x, tuple(x.shape[i - lead] if n == -1 and i >= lead else n for i, n in enumerate(target)))


def expand_as(x, other):
    """x broadcast to the shape of another tensor."""
    return shape.broadcast_to(x, other.shape)


@aliased
def unsqueeze(x, axis):
    """An axis of length one put in."""
    return shape.expand_dims(x, axis)


def clone(x):
    """A copy with its own memory, on the tape. d/dx = 1."""
    return arithmetic.positive(x) if x.array.dtype.kind != "b" else elementwise.astype(x, x.array.dtype)


def contiguous(x):
    """The tensor itself where its memory is in C order, else a copy that is."""
    flags = getattr(x.array, "flags", None)
    return x if flags is None or flags.c_contiguous else shape.reshape(elementwise.astype(x, x.dtype).ravel(), x.shape)


def to(x, *args, dtype=None, device=None, copy=False):
    """x in another dtype, on another device, or like another tensor: x.to(minidl.float64), x.to('cpu'), x.to(other).

    Raises ValueError for a device other than 'cpu'.
    """
    for arg in args:
        if isinstance(arg, Tensor):
            dtype = arg.dtype
        elif isinstance(arg, str) and arg.partition(":")[0] in ("cpu", "cuda", "gpu", "mps"):
            device = arg
        else:
            dtype = arg
    if device not in (None, x.device):
        raise ValueError(f"to: device={device!r}: {x.device!r} expected")
    if dtype is None:  # np.dtype("float64") == None: NumPy takes None for its default
        dtype = x.dtype
    return elementwise.astype(x, dtype) if copy or dtype != x.dtype else x


def to_device(x, device, stream=None):
    """x on another device; only its own is there."""
    return to(x, device=device)


def cast(dtype):
    """The method that gives x in one dtype."""
    dtype = np.dtype(dtype)

    def call(self):
        return self if self.array.dtype == dtype else elementwise.astype(self, dtype)
    call.__name__, call.__doc__ = dtype.name, f"x as {dtype.name}; x itself where it is that already."
    return call


def copy_(x, value):
    """Writes `value`, broadcast, into x in place. d/dvalue = 1."""
    return write_in_place(x, index.assign, value)


def zero_(x):
    """Fills x with zeros in place."""
    return write_in_place(x, index.assign, 0)


def clip_(x, min=None, max=None):
    """Clips x in place."""
    return write_in_place(x, arithmetic.clip, min, max)


def numel(x):
    """How many elements x has."""
    return x.array.size


def dim(x):
    """How many axes x has."""
    return x.array.ndim


def element_size(x):
    """How many bytes an element takes."""
    return x.array.dtype.itemsize


def is_floating_point(x):
    """Whether the dtype is a real floating-point one."""
    return x.array.dtype.kind == "f"


def is_contiguous(x):
    """Whether the memory is in C order."""
    return x.array.flags.c_contiguous


def new_zeros(x, *shape_, dtype=None):
    """Zeros of another shape in x's dtype."""
    return creation.zeros(*shape_, dtype=dtype or x.dtype)


def new_ones(x, *shape_, dtype=None):
    """Ones of another shape in x's dtype."""
    return creation.ones(*shape_, dtype=dtype or x.dtype)


def new_full(x, shape_, fill_value, dtype=None):
    """One value in another shape in x's dtype."""
    return creation.full(shape_, fill_value, dtype=dtype or x.dtype)


def new_tensor(x, data, dtype=None, requires_grad=False):
    """A tensor of new data in x's dtype."""
    return creation.tensor(data, dtype=dtype or x.dtype, requires_grad=requires_grad)


def array_namespace(x, api_version=None):
    """The module whose functions take such tensors: minidl. Raises ValueError for an unknown version of the standard."""
    if api_version not in (None, "2021.12", "2022.12", "2023.12", "2024.12"):
        raise ValueError(f"__array_namespace__: api_version={api_version!r}: '2024.12' or older expected")
    import minidl
    return minidl


OPERATORS = {"add": arithmetic.add, "sub": arithmetic.subtract, "mul": arithmetic.multiply, "truediv": arithmetic.divide,
             "floordiv": arithmetic.floor_divide, "mod": arithmetic.remainder, "pow": arithmetic.pow,
             "matmul": linear.matmul, "and": logic.bitwise_and, "or": logic.bitwise_or, "xor": logic.bitwise_xor,
             "lshift": logic.bitwise_left_shift, "rshift": logic.bitwise_right_shift}
COMPARISONS = {"eq": compared(logic.equal), "ne": compared(logic.not_equal), "lt": logic.less, "le": logic.less_equal,
               "gt": logic.greater, "ge": logic.greater_equal}
UNARY = {"neg": arithmetic.negative, "pos": arithmetic.positive, "abs": arithmetic.abs, "invert": logic.bitwise_invert}
SAME_NAME = (
    activation.log_softmax, activation.relu, activation.sigmoid, activation.softmax,
    arithmetic.abs, arithmetic.clip, arithmetic.hypot, arithmetic.maximum, arithmetic.minimum, arithmetic.pow,
    arithmetic.reciprocal, arithmetic.remainder, arithmetic.sign, arithmetic.sqrt, arithmetic.square, elementwise.astype,
    elementwise.exp, elementwise.exp2, elementwise.expm1, elementwise.log, elementwise.log10, elementwise.log1p,
    elementwise.log2, elementwise.logaddexp, elementwise.tanh, index.diagonal, index.gather, index.masked_fill,
    index.nonzero, index.take, index.tril, index.triu, linear.bmm, linear.dot, linear.matmul, linear.mm, linear.outer,
    logic.isfinite, logic.isinf, logic.isnan, logic.logical_and, logic.logical_not, logic.logical_or, logic.logical_xor,
    reduce.all, reduce.any, reduce.argmax, reduce.argmin, reduce.count_nonzero, reduce.diff, reduce.logsumexp, reduce.max,
    reduce.mean, reduce.min, reduce.norm, reduce.prod, reduce.std, reduce.sum, reduce.var, rounding.ceil, rounding.floor,
    rounding.round, rounding.trunc, shape.broadcast_to, shape.chunk, shape.flatten, shape.flip, shape.moveaxis,
    shape.permute_dims, shape.ravel, shape.roll, shape.split, shape.squeeze, shape.swapaxes, sorting.argsort, sorting.sort,
    sorting.topk, sorting.unique, trigonometry.acos, trigonometry.asin, trigonometry.atan, trigonometry.cos,
    trigonometry.cosh, trigonometry.sin, trigonometry.sinh, trigonometry.tan,
    view, view_as, permute, transpose, t, expand, expand_as, unsqueeze, clone, contiguous, to, to_device, copy_, zero_, dim,
    numel, element_size, is_floating_point, is_contiguous, new_zeros, new_ones, new_full, new_tensor)
OTHER_NAMES = {
    "add": with_factor(arithmetic.add), "sub": with_factor(arithmetic.subtract), "mul": arithmetic.multiply,
    "div": arithmetic.divide, "addcmul": addcmul, "addcdiv": addcdiv, "lerp": lerp, "addcmul_": with_options(addcmul),
    "addcdiv_": with_options(addcdiv), "lerp_": with_options(lerp), "sqrt_": in_place(arithmetic.sqrt),
    "neg_": in_place(arithmetic.negative), "neg": arithmetic.negative, "clamp": arithmetic.clip, "absolute": arithmetic.abs,
    "eq": logic.equal,
    "ne": logic.not_equal, "lt": logic.less, "le": logic.less_equal, "gt": logic.greater, "ge": logic.greater_equal,
    "amax": reduce.max, "amin": reduce.min, "cumsum": reduce.cumulative_sum, "cumprod": reduce.cumulative_prod,
    "unbind": shape.unstack, "repeat_interleave": shape.repeat, "tile": sizes(shape.tile), "reshape": sizes(shape.reshape),
    "where": lambda x, condition, other: index.where(condition, x, other), "clamp_": clip_, "clip_": clip_,
    "float": cast("float32"), "double": cast("float64"), "half": cast("float16"), "int": cast("int32"),
    "long": cast("int64"), "bool": cast("bool"), "fill_": copy_, "add_": with_factor(arithmetic.add, True),
    "sub_": with_factor(arithmetic.subtract, True), "mul_": in_place(arithmetic.multiply), "div_": in_place(arithmetic.divide),
    "masked_fill_": in_place(index.masked_fill), "__getitem__": index.getitem, "__setitem__": index.setitem,
    "__array_namespace__": array_namespace}

for symbol, operation in OPERATORS.items():
    attach(f"__{symbol}__", operation)
    attach(f"__r{symbol}__", reflected(operation))
    attach(f"__i{symbol}__", in_place(operation))
for symbol, operation in (COMPARISONS | UNARY).items():
    attach(f"__{symbol}__", operation)
for operation in SAME_NAME:
    attach(operation.__name__, operation)
for name, operation in OTHER_NAMES.items():
    attach(name, operation)
Tensor.mT = property(linear.matrix_transpose)
Tensor.T = property(T)
Tensor.real, Tensor.imag = property(elementwise.real), property(elementwise.imag)
