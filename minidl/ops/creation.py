"""New tensors. `requires_grad=True` makes a leaf of the tape of any of them.

Floating-point defaults are float32; arrays keep their dtype. `device`: only 'cpu' is built.
"""
import numpy as np

from ..autograd import Tensor
from ..autograd.tensor import as_array, wrap

FLOAT, COMPLEX = np.dtype("float32"), np.dtype("complex64")


def _leaf(array, requires_grad, device=None):
    if device not in (None, "cpu"):
        raise ValueError(f"device={device!r}: 'cpu' expected")
    out = wrap(array)
    if requires_grad:
        out.requires_grad = True
    return out


def _shape(name, sizes):
    """zeros(2, 3) as in PyTorch, or zeros((2, 3)) as in the standard."""
    shape = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes
    try:
        shape = tuple(int(n.__index__()) for n in shape)
    except AttributeError:
        raise TypeError(f"{name}: shape {shape!r}: whole numbers expected") from None
    if any(n < 0 for n in shape):
        raise ValueError(f"{name}: shape {shape}: sizes of 0 or more expected")
    return shape


def tensor(data, dtype=None, device=None, requires_grad=False):
    """A tensor with its own copy of numbers, nested lists, an array or a tensor."""
    data = _opened(data)
    array = as_array(data, dtype, device)
    source = data.array if isinstance(data, Tensor) else data
    if hasattr(source, "dtype") and not isinstance(source, np.generic) and _may_share(array, source):
        array = array.copy()
    return _leaf(array, requires_grad)


def _opened(obj):
    """The memory of an object that is no array but shows it, as an array; anything else as it is."""
    if hasattr(obj, "dtype") or isinstance(obj, (int, float, complex, list, tuple, bytes)):
        return obj
    if hasattr(obj, "__dlpack__"):
        return np.from_dlpack(obj)
    try:
        return np.asarray(memoryview(obj))
    except TypeError:  # no buffer
        return obj


def _may_share(array, source):
    return array is source or (isinstance(array, np.ndarray) and np.may_share_memory(array, source))


def asarray(obj, dtype=None, device=None, copy=None, requires_grad=False):
    """A tensor of numbers, nested lists, an array, a tensor or what shows its memory (DLPack, the buffer protocol), which is
    shared where it can be.

    copy: True always copies; False raises ValueError where a copy would be needed; None copies where needed.
    A tensor given without dtype and copy is returned as it is, on the tape.
    """
    if isinstance(obj, Tensor) and copy is not True and (dtype is None or obj.dtype == dtype) and not requires_grad:
        return obj
    obj = _opened(obj)
    array = as_array(obj, dtype, device)
    source = obj.array if isinstance(obj, Tensor) else obj
    shared = hasattr(source, "dtype") and _may_share(array, source)
    if copy is False and not shared:
        raise ValueError("asarray: copy=False: this object needs a copy")
    return _leaf(array.copy() if copy and shared else array, requires_grad)


as_tensor = asarray


def from_numpy(array):
    """A tensor that shares the memory of a NumPy array."""
    return asarray(array, copy=False)


def from_dlpack(x, device=None, copy=None):
    """A tensor that shares the memory of any object with `__dlpack__`."""
    return _leaf(np.from_dlpack(x, copy=copy), False, device)


def zeros(*shape, dtype=None, device=None, requires_grad=False):
    """Zeros of a shape, given as a tuple or as numbers; float32 by default."""
    return _leaf(np.zeros(_shape("zeros", shape), dtype or FLOAT), requires_grad, device)


def ones(*shape, dtype=None, device=None, requires_grad=False):
    """Ones of a shape, given as a tuple or as numbers; float32 by default."""
    return _leaf(np.ones(_shape("ones", shape), dtype or FLOAT), requires_grad, device)


def empty(*shape, dtype=None, device=None, requires_grad=False):
    """Memory of a shape, given as a tuple or as numbers, with whatever it holds; float32 by default."""
    return _leaf(np.empty(_shape("empty", shape), dtype or FLOAT), requires_grad, device)


def full(shape, fill_value, dtype=None, device=None, requires_grad=False):
    """A shape filled with one value; the value's dtype by default, float32 for Python floats."""
    value = as_array(fill_value, dtype)
    return _leaf(np.full(_shape("full", (shape,) if not isinstance(shape, (tuple, list)) else shape), value,
                         value.dtype), requires_grad, device)


def zeros_like(x, dtype=None, device=None, requires_grad=False):
    """Zeros of x's shape, dtype and kind of array."""
    return _leaf(np.zeros_like(_array(x), dtype=dtype), requires_grad, device)


def ones_like(x, dtype=None, device=None, requires_grad=False):
    """Ones of x's shape, dtype and kind of array."""
    return _leaf(np.ones_like(_array(x), dtype=dtype), requires_grad, device)


def empty_like(x, dtype=None, device=None, requires_grad=False):
    """Memory of x's shape, dtype and kind of array, with whatever it holds."""
    return _leaf(np.empty_like(_array(x), dtype=dtype), requires_grad, device)


def full_like(x, fill_value, dtype=None, device=None, requires_grad=False):
    """x's shape, dtype and kind of array filled with one value."""
    value = fill_value.array if isinstance(fill_value, Tensor) else fill_value
    return _leaf(np.full_like(_array(x), value, dtype=dtype), requires_grad, device)


def _array(x):
    return x.array if isinstance(x, Tensor) else as_array(x)


def arange(start, stop=None, step=1, dtype=None, device=None, requires_grad=False):
    """start, start + step, ... below stop; arange(n) counts 0 to n - 1. Integers give int64, Python floats float32."""
    if stop is None:
        start, stop = 0, start
    start, stop, step = (x.item() if isinstance(x, Tensor) else x for x in (start, stop, step))
    if step == 0:
        raise ValueError("arange: step=0: a step other than 0 expected")
    array = np.arange(start, stop, step)
    if dtype is None and array.dtype == np.float64:
        dtype = FLOAT
    return _leaf(array if dtype is None else array.astype(dtype, copy=False), requires_grad, device)


def linspace(start, stop, num, dtype=None, device=None, endpoint=True, requires_grad=False):
    """`num` evenly spaced numbers from start to stop, which is left out under endpoint=False.

    float32 by default, complex64 where start or stop is complex.
    """
    start, stop = (x.item() if isinstance(x, Tensor) else x for x in (start, stop))
    default = COMPLEX if isinstance(start, complex) or isinstance(stop, complex) else FLOAT
    return _leaf(np.linspace(start, stop, num, endpoint=endpoint, dtype=dtype or default), requires_grad, device)


def eye(n_rows, n_cols=None, k=0, dtype=None, device=None, requires_grad=False):
    """Ones on the k-th diagonal of a matrix, zeros elsewhere; float32 by default."""
    return _leaf(np.eye(n_rows, n_cols, k, dtype=dtype or FLOAT), requires_grad, device)


def meshgrid(*arrays, indexing="xy"):
    """Coordinates of a grid from one vector per axis, each broadcast to the grid's shape.

    indexing: 'xy' exchanges the first two axes, 'ij' does not. Returns a list of tensors. Derivatives flow through.
    """
    from .shape import broadcast_to, reshape
    if len(arrays) == 1 and isinstance(arrays[0], (tuple, list)):
        arrays = arrays[0]
    if indexing not in ("xy", "ij"):
        raise ValueError(f"meshgrid: indexing={indexing!r}: 'xy' or 'ij' expected")
    if any(x.ndim > 1 for x in arrays):
        raise ValueError(f"meshgrid: {[x.ndim for x in arrays]} axes: vectors expected")
    axes = list(range(len(arrays)))
    if indexing == "xy" and len(arrays) > 1:
        axes[0], axes[1] = 1, 0
    shape = [1] * len(arrays)
    for axis, x in zip(axes, arrays):
        shape[axis] = x.size
    return [broadcast_to(reshape(x, [-1 if i == axis else 1 for i in range(len(shape))]), tuple(shape))
            for axis, x in zip(axes, arrays)]
