"""What this machine can do: floating-point operations, traffic to memory, caches; and what NumPy's products run on."""
import ctypes
import time
from pathlib import Path

import numpy as np

import minidl
from minidl import kernels
from minidl.kernels import _dispatch

LEAST_BYTES, MOST_BYTES = 64 << 20, 256 << 20  # of an array whose traffic is measured
PIECE = 16384  # elements per task, as in kernels/_native/machine.c
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


def caches(folder: Path = CACHES) -> dict[str, int]:
    """{"L1 data": bytes, ..., "L3": bytes} of the first core, as Linux tells them; empty elsewhere."""
    found = {}
    for index in sorted(folder.glob("index*")):
        level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        if kind != "Instruction":
            unit = {"K": 1 << 10, "M": 1 << 20}.get(size[-1], 1)
            found[f"L{level}{' data' if kind == 'Data' else ''}"] = int(size.rstrip("KM")) * unit
    return found


def best_rate(call, amount: float, seconds: float) -> float:
    """The highest of the rates, amount per second, that repeated calls reach in `seconds`: others only ever slow it down."""
    best, calls, end = 0.0, 0, time.perf_counter() + seconds
    while time.perf_counter() < end or calls < 3:
        start = time.perf_counter()
        call()
        best = max(best, amount / (time.perf_counter() - start))
        calls += 1
    return best


def peak(kind: str, tasks: int, seconds: float) -> float | None:
    """Operations per second out of registers, in the processor's best instruction set, or None where it has no such thing.

    kind: "fma" of float32 fused multiply-adds, "tiles" of products of bfloat16 matrix tiles (Intel AMX). A single task runs on
    one thread; of several each thread takes its share.
    """
    run = _dispatch.core.find(f"machine_{kind}", best_isa())
    sums, flops = np.empty(tasks, np.float32), np.empty(tasks)
    rounds = (100_000,) if kind == "fma" else (5_000,)  # about a tenth of a millisecond each
    if run(sums, flops, rounds) is NotImplemented:
        return None
    return best_rate(lambda: run(sums, flops, rounds), flops.sum(), seconds)


def best_isa() -> str:
    """The best instruction set that is built and that the processor has, whichever the kernels run on."""
    core = _dispatch.core
    return next(level for level in _dispatch.ISA_LEVELS if level in core.isas() and core.cpu_has(level))


def bandwidth(size: int, seconds: float) -> dict[str, float]:
    """Bytes per second that reading, copying and y = x + 3 z move between memory and all threads, arrays of `size` bytes.

    Counted as in McCalpin's STREAM: what the loop names, without the line that a store may read first.
    """
    n = size // 4 // PIECE * PIECE
    y, x, z = (np.ones(n, np.float32) for _ in range(3))
    sums = np.empty(n // PIECE, np.float32)
    loops = {"read": ((sums, x), 1), "copy": ((y, x), 2), "triad": ((y, x, z), 3)}
    rates = {}
    for name, (arrays, moved) in loops.items():
        run = _dispatch.core.find(f"machine_{name}", kernels.isa())
        rates[name] = best_rate(lambda run=run, arrays=arrays: run(*arrays, ()), moved * n * 4, seconds)
    return rates


def measure(seconds: float = 0.3) -> dict:
    """The machine as plain values: peaks in flops and bytes per second, each the best within `seconds`.

    Without the native extension nothing can be measured, and the peaks are None.
    """
    sizes, config = caches(), minidl.show_config(show=False)
    found = {"processor": config["processor"], "minidl": config["minidl"], "numpy": config["numpy"], "isa": kernels.isa(),
             "threads": kernels.get_num_threads(), "blas": blas_kernel(), "caches": sizes,
             "fma_isa": None, "fma_one_thread": None, "fma_peak": None, "tiles_one_thread": None, "tiles_peak": None,
             "bandwidths": {}, "bandwidth": None}
    if _dispatch.core:
        found["fma_isa"] = best_isa()
        for kind in ("fma", "tiles"):
            one = peak(kind, 1, seconds)
            every = peak(kind, 16 * found["threads"], seconds) if found["threads"] > 1 else one
            found |= {f"{kind}_one_thread": one, f"{kind}_peak": every}
        size = min(max(LEAST_BYTES, 2 * max(sizes.values(), default=0)), MOST_BYTES)
        rates = bandwidth(size, seconds)
        found |= {"bandwidths": rates, "bandwidth": max(rates.values())}
    return found


def blas_kernel(maps: Path = Path("/proc/self/maps")) -> str:
    """Which processor's kernel the OpenBLAS in NumPy runs, such as 'SkylakeX'; 'unknown' where it cannot be asked."""
    if maps.exists():
        files = {line.split()[-1] for line in maps.read_text().splitlines() if "openblas" in line}
        for file in sorted(files):
            library = ctypes.CDLL(file)
            for name in ("scipy_openblas_get_corename64_", "openblas_get_corename64_", "openblas_get_corename"):
                if hasattr(library, name):
                    ask = getattr(library, name)
                    ask.restype = ctypes.c_char_p
                    return ask().decode()
    return "unknown"
