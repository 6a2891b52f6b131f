"""The vector functions of kernels/_native/vmath.h against NumPy and SciPy in float64, for every instruction set here."""
import ctypes
import platform
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from minidl.kernels import _dispatch

special = pytest.importorskip("scipy.special", reason="SciPy gives the reference values")
compiler = shutil.which("cc")
if compiler is None or _dispatch.core is None:
    pytest.skip("vmath.h needs a C compiler and the native kernels", allow_module_level=True)

INCLUDE = Path(__file__).parents[2] / "kernels" / "_native"
X86 = {"portable": "-march=x86-64", "v2": "-march=x86-64-v2", "v3": "-march=x86-64-v3", "v4": "-march=x86-64-v4"}
FLAGS = X86 if platform.machine() in ("x86_64", "AMD64") else {"neon": "-O3"}
LEVELS = [level for level in FLAGS if level == "portable" or _dispatch.core.cpu_has(level)]

# name -> the C expression, the reference, where it is meant to be used, and the largest error in units in the last place
FUNCTIONS = {
    "exp": ("vexp(x)", np.exp, (-np.inf, np.inf), 1.4),
    "exp_at_most_16": ("vexp_at_most_16(x)", np.exp, (-np.inf, 16), 1.4),
    "expm1": ("vexpm1(x)", np.expm1, (-np.inf, 88), 1.5),
    "log": ("vlog(x)", np.log, (-np.inf, np.inf), 1),
    "log1p": ("vlog1p(x)", np.log1p, (0, 1), 1.5),
    "tanh": ("vtanh(x)", np.tanh, (-np.inf, np.inf), 5),
    "sigmoid": ("vsigmoid(x)", special.expit, (-np.inf, np.inf), 2.5),
    "normal_cdf": ("vnormal_cdf(x, &(vf){0})", special.ndtr, (-np.inf, np.inf), lambda x: 5 + x * x),
}
SOURCE = '#include "vmath.h"\n' + "\n".join(
    f"void all_{name}(float *y, const float *p, long n) "
    f"{{ for (long i = 0; i < n; i += VL) {{ vf x = vload(p + i); vstore(y + i, {expression}); }} }}"
    for name, (expression, *_) in FUNCTIONS.items())


@pytest.fixture(scope="module", params=LEVELS)
def library(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "vmath.c").write_text(SOURCE)
    flags = ["-O2", "-std=gnu11", "-fno-math-errno", "-fno-trapping-math", FLAGS[request.param], f"-I{INCLUDE}"]
    subprocess.run([compiler, *flags, "-shared", "-fPIC", "vmath.c", "-o", "vmath.so"], cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "vmath.so"))


@pytest.fixture(scope="module")
def all_floats():
    """Every 8,209th of all float32 numbers: NaN, subnormals and every exponent are among them; and the landmarks."""
    bits = np.arange(0, 2**32, 8209, dtype=np.uint64).astype(np.uint32)
    landmarks = np.array([0.0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 88.72, 88.73, -87.3, -103.9, -104.1], "f4")
    x = np.concatenate([bits.view("f4"), landmarks, np.linspace(-20, 20, 100_000, dtype="f4")])
    return x[:len(x) // 16 * 16]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_error_in_units_in_the_last_place(library, all_floats, name):
    _, exact, (low, high), bound = FUNCTIONS[name]
    x = np.where((all_floats >= low) & (all_floats <= high) | np.isnan(all_floats), all_floats, np.float32(0.5))
    y = np.empty_like(x)
    pointer = ctypes.POINTER(ctypes.c_float)
    getattr(library, f"all_{name}")(y.ctypes.data_as(pointer), x.ctypes.data_as(pointer), ctypes.c_long(len(x)))
    with np.errstate(all="ignore"):
        wanted = exact(x.astype("f8"))
        rounded = wanted.astype("f4")
        finite = np.isfinite(rounded)
        assert np.array_equal(y[~finite], rounded[~finite], equal_nan=True)
        ulps = np.abs(y[finite] - wanted[finite]) / np.spacing(np.abs(rounded[finite])).astype("f8")
        ulps[(y[finite] == 0) & (np.abs(rounded[finite]) < np.finfo("f4").tiny)] = 0  # subnormal results may be 0
    allowed = bound(x[finite].astype("f8")) if callable(bound) else bound
    worst = np.argmax(ulps - allowed)
    assert np.all(ulps <= allowed), (name, float(x[finite][worst]), float(ulps[worst]))
    if name == "tanh":
        assert np.array_equal(np.signbit(y[x == 0]), np.signbit(x[x == 0]))
