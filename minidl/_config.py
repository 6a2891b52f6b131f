"""What was built and what runs."""
import os
import platform
import sys

import numpy as np

from . import kernels


def show_config(show=True):
    """Prints and returns what minidl was built with and what it chose here: a dict of plain values.

    version, python, numpy and its BLAS, the processor; whether the native extension was built, for which instruction
    sets, which one runs, and whether it uses matrix tiles; the backends, the one in use; how many threads a kernel may use.
    """
    import minidl
    from minidl.kernels import _dispatch
    core = _dispatch.core
    found = {
        "minidl": minidl.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numpy blas": _blas(),
        "processor": f"{_processor()}, {os.cpu_count()} logical cores",
        "native extension": "built" if core else "not built: kernels run in NumPy or Numba",
        "tape and dispatch": "Python" if _dispatch.__file__.endswith(".py") else "compiled",
        "instruction sets built": list(core.isas()) if core else [],
        "instruction set": kernels.isa(),
        "matrix tiles": "used" if core and core.has_amx() else "not used",
        "backends": list(kernels.backends()),
        "backend": kernels.get_backend(),
        "threads": kernels.get_num_threads(),
    }
    if show:
        width = max(map(len, found))
        for name, value in found.items():
            print(f"{name:{width}}  {', '.join(value) or 'none' if isinstance(value, list) else value}")
    return found


def _blas():
    try:
        blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return f"{blas['name']} {blas['version']}"
    except (KeyError, TypeError):
        return "unknown"


def _processor():
    if sys.platform == "linux":
        with open("/proc/cpuinfo") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
