"""minidl: deep learning from scratch, on NumPy alone.

Tensors and the functions on them follow the Python array API standard, neural networks (`nn`, `optim`) follow PyTorch, and
`layers`, `models` and `callbacks` follow Keras.

>>> import minidl
>>> x = minidl.tensor([1.0, 2.0, 3.0], requires_grad=True)
>>> y = (x ** 2).sum()
>>> y.backward()
>>> x.grad.tolist()
[2.0, 4.0, 6.0]
"""
from os import environ as _environ
from pathlib import Path as _Path

# In a source checkout the kernels lie beside this folder, not in it.
if not (_Path(__file__).parent / "kernels").is_dir():
    __path__.append(str(_Path(__file__).parent.parent))

if _environ.get("MINIDL_PURE"):
    from ._pure import prefer_sources
    prefer_sources()

from . import autograd, kernels, ops, random
from .autograd import Tensor, enable_grad, grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from .kernels import backend, get_num_threads, set_backend, set_num_threads
from .ops import *
from .ops import __all__ as _operations
from .ops.dtypes import (
    __array_namespace_info__,
    bool,
    can_cast,
    complex64,
    complex128,
    e,
    finfo,
    float16,
    float32,
    float64,
    iinfo,
    inf,
    int8,
    int16,
    int32,
    int64,
    isdtype,
    nan,
    newaxis,
    pi,
    result_type,
    uint8,
    uint16,
    uint32,
    uint64,
)
from .random import bernoulli, manual_seed, normal, rand, rand_like, randint, randn, randn_like, randperm

__version__ = "0.1.0"
__array_api_version__ = "2024.12"

# Loaded at their first use: module, or (module, name).
_LAZY = {
    "callbacks": ("callbacks", None), "data": ("data", None), "fft": ("fft", None), "func": ("func", None),
    "layers": ("layers", None), "linalg": ("linalg", None), "models": ("models", None), "nn": ("nn", None),
    "optim": ("optim", None), "train": ("train", None), "zoo": ("zoo", None), "compile": ("plan", "compile"),
    "save": ("serialization", "save"), "load": ("serialization", "load"), "show_config": ("_config", "show_config"),
}

__all__ = [
    *_operations, *_LAZY, "Tensor", "__array_api_version__", "__array_namespace_info__", "autograd", "backend", "bernoulli",
    "bool", "can_cast", "complex128", "complex64", "e", "enable_grad", "finfo", "float16", "float32", "float64",
    "get_num_threads", "grad", "iinfo", "inf", "inference_mode", "int16", "int32", "int64", "int8", "is_grad_enabled",
    "isdtype", "kernels", "manual_seed", "nan", "newaxis", "no_grad", "normal", "ops", "pi", "rand", "rand_like",
    "randint", "randn", "randn_like", "random", "randperm", "result_type", "set_backend", "set_grad_enabled",
    "set_num_threads", "uint16", "uint32", "uint64", "uint8",
]


def __getattr__(name):
    if name not in _LAZY:
        import sys
        # With name and obj Python adds the nearest name to the message.
        raise AttributeError(f"module 'minidl' has no attribute {name!r}", name=name, obj=sys.modules[__name__])
    from importlib import import_module
    module, attribute = _LAZY[name]
    found = import_module(f".{module}", __name__)
    found = found if attribute is None else getattr(found, attribute)
    globals()[name] = found
    return found


def __dir__():
    return sorted({*globals(), *__all__})
