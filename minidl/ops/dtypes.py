"""Data types and what the array API standard (2024.12) lets one ask about them. They are NumPy's dtypes.

bfloat16 is not among them: NumPy has no such type.
"""
from typing import NamedTuple

import numpy as np

from ..autograd import Tensor

bool = np.dtype("bool")
int8, int16, int32, int64 = (np.dtype(f"int{n}") for n in (8, 16, 32, 64))
uint8, uint16, uint32, uint64 = (np.dtype(f"uint{n}") for n in (8, 16, 32, 64))
float16, float32, float64 = (np.dtype(f"float{n}") for n in (16, 32, 64))
complex64, complex128 = np.dtype("complex64"), np.dtype("complex128")

e, inf, nan, newaxis, pi = np.e, np.inf, np.nan, None, np.pi

KINDS = {
    "bool": (bool,),
    "signed integer": (int8, int16, int32, int64),
    "unsigned integer": (uint8, uint16, uint32, uint64),
    "integral": (int8, int16, int32, int64, uint8, uint16, uint32, uint64),
    "real floating": (float16, float32, float64),
    "complex floating": (complex64, complex128),
    "numeric": (int8, int16, int32, int64, uint8, uint16, uint32, uint64, float16, float32, float64, complex64, complex128),
}


def _plain(x):
    return x.array if isinstance(x, Tensor) else x


def can_cast(from_, to):
    """Whether a tensor or dtype converts to another dtype by the rules of type promotion."""
    return np.can_cast(from_.dtype if isinstance(from_, Tensor) else from_, to)


def result_type(*arrays_and_dtypes):
    """The dtype that an operation on these tensors, dtypes and Python numbers gives."""
    return np.result_type(*map(_plain, arrays_and_dtypes))


def isdtype(dtype, kind):
    """Whether a dtype is of a kind: a dtype, a name such as 'real floating', or a tuple of these."""
    if isinstance(kind, tuple):
        return any(isdtype(dtype, k) for k in kind)
    if isinstance(kind, str):
        if kind not in KINDS:
            raise ValueError(f"isdtype: kind={kind!r}: one of {', '.join(KINDS)} expected")
        return np.dtype(dtype) in KINDS[kind]
    return np.dtype(dtype) == np.dtype(kind)


class FloatLimits(NamedTuple):
    """What finfo gives. Python's floats, which leave a tensor's dtype as it is; `tiny` and `resolution` as in PyTorch."""
    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    tiny: float
    resolution: float
    dtype: np.dtype


def finfo(dtype):
    """Limits of a floating-point dtype, or of a tensor's: bits, eps, max, min, smallest_normal, dtype."""
    limits = np.finfo(getattr(dtype, "dtype", dtype))
    eps, top, bottom, normal = (float(x) for x in (limits.eps, limits.max, limits.min, limits.smallest_normal))
    return FloatLimits(limits.bits, eps, top, bottom, normal, normal, 10.0 ** -limits.precision, limits.dtype)


def iinfo(dtype):
    """Limits of an integer dtype, or of a tensor's: bits, max, min, dtype."""
    return np.iinfo(getattr(dtype, "dtype", dtype))


class ArrayNamespaceInfo:
    """What the array API standard asks a namespace to tell of itself."""

    def capabilities(self):
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self):
        return "cpu"

    def default_dtypes(self, *, device=None):
        return {"real floating": float32, "complex floating": complex64, "integral": int64, "indexing": int64}

    def devices(self):
        return ["cpu"]

    def dtypes(self, *, device=None, kind=None):
        """{name: dtype} of the standard's dtypes, float16 not among them; of one kind or a tuple of kinds, or all."""
        return {d.name: d for d in (bool, *KINDS["numeric"]) if d != float16 and (kind is None or isdtype(d, kind))}


def __array_namespace_info__():
    return ArrayNamespaceInfo()
