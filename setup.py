"""The native kernels: each family's native*.c is compiled once per instruction set, and all of it is one extension.

The six Python modules that every operation runs through are compiled by Cython as they stand; the .py files remain the
source, and MINIDL_PURE=1 runs them instead. With _quick.pyx and edge.pyx that takes half off the cost of an operation.

A build without a C compiler gives a working pure-Python install, with a warning. The processor decides at import which
instruction set runs, so a wheel built on one machine runs on any other of its architecture. MINIDL_LEVELS="v4" builds that one
only: quicker, while writing a kernel.
"""
import os
import platform
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).parent
NATIVE = "kernels/_native"
FLAGS = ["-O3", "-std=gnu11", "-Wall", "-Wextra", "-fno-math-errno", "-fno-trapping-math", "-fno-semantic-interposition",
         "-fvisibility=hidden"]

# instruction set -> the compiler's flags for it
X86_LEVELS = {
    "portable": [],
    "v2": ["-march=x86-64-v2"],
    "v3": ["-march=x86-64-v3"],
    "v4": ["-march=x86-64-v4", "-mprefer-vector-width=512"],
}
ARM_LEVELS = {"neon": []}
LEVELS = {"x86_64": X86_LEVELS, "AMD64": X86_LEVELS, "aarch64": ARM_LEVELS, "arm64": ARM_LEVELS}


NUMPY = [("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")]
COMPILED = ["minidl/_quick.pyx", "minidl/autograd/edge.pyx", "minidl/autograd/tensor.py", "minidl/autograd/node.py",
            "minidl/autograd/op.py", "minidl/autograd/engine.py", "minidl/autograd/waiting.py", "kernels/_dispatch.py"]


def family_sources():
    """The sources that are compiled per instruction set: the families' and the loops that measure the machine."""
    return [*sorted(str(p.relative_to(HERE)) for p in HERE.glob("kernels/*/native*.c")), f"{NATIVE}/machine.c"]


class BuildKernels(build_ext):
    def run(self):
        self.failures = []
        super().run()
        if self.failures:
            print(f"warning: {len(self.failures)} of {len(self.extensions)} C extensions were not built; minidl installs "
                  "without them and runs on NumPy (and Numba where it is installed). " + self.failures[0], file=sys.stderr)

    def build_extension(self, ext):
        """Compiles the families per level, then lets setuptools build the Cython module and link it all."""
        machine = os.environ.get("MINIDL_TARGET_MACHINE", platform.machine())
        levels = LEVELS.get(machine, {"portable": []})
        only = os.environ.get("MINIDL_LEVELS", " ".join(levels)).split()
        jobs = [(source, level, levels[level]) for level in only
                for source in family_sources()] if ext.name.endswith("._native.core") else []

        def compiled(job):
            source, level, flags = job
            folder = os.path.join(self.build_temp, level)
            newest = max(p.stat().st_mtime for p in [HERE / source, HERE / "setup.py", *HERE.glob("kernels/*/*.h")])
            built = Path(folder) / Path(source).with_suffix(".o")
            if not built.exists() or built.stat().st_mtime < newest:
                self.compiler.compile([source], output_dir=folder, include_dirs=[NATIVE],
                                      macros=[("MD_ISA", level)], extra_postargs=FLAGS + flags)
            return str(built)

        try:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                objects = list(pool.map(compiled, jobs))
            ext.extra_objects = objects
            ext.depends = [*ext.depends, *objects]  # newer ones are linked again
            super().build_extension(ext)
        except Exception as failure:
            if os.environ.get("MINIDL_REQUIRE_NATIVE"):
                raise
            self.failures.append(f"{ext.name}: {str(failure).splitlines()[0][:200]}")

    def get_outputs(self):
        return [path for path in super().get_outputs() if os.path.exists(path)]

    def copy_extensions_to_source(self):
        built = [ext for ext in self.extensions
                 if os.path.exists(os.path.join(self.build_lib, self.get_ext_filename(ext.name)))]
        everything, self.extensions = self.extensions, built
        super().copy_extensions_to_source()
        self.extensions = everything


strip = sys.platform.startswith("linux") and "-g" not in os.environ.get("CFLAGS", "").split()
link = ["-pthread", "-Wl,--strip-all"] if strip else ["-pthread"]
core = Extension(
    "minidl.kernels._native.core",
    [f"{NATIVE}/core.pyx", f"{NATIVE}/memory.c", f"{NATIVE}/plan.c", f"{NATIVE}/runtime.c"],
    include_dirs=[NATIVE, numpy.get_include()],
    define_macros=[*NUMPY, ("MD_ISA", "portable")],
    extra_compile_args=["-O2", "-std=gnu11", "-fvisibility=hidden"],
    libraries=["m"],
    extra_link_args=link,
    depends=[*(f"{NATIVE}/{part}.pxi" for part in ("calls", "plan", "small")),
             *(str(p.relative_to(HERE)) for p in HERE.glob("kernels/*/*.h")), *family_sources()],
)

compiled = [Extension(path.partition(".")[0].replace("/", ".").replace("kernels.", "minidl.kernels."), [path],
                      include_dirs=[numpy.get_include()], define_macros=NUMPY, extra_compile_args=["-O2"],
                      extra_link_args=link) for path in COMPILED]

# Cython looks for _dispatch.pxd where the package's name says, and in a checkout no folder is called minidl/kernels.
declared = HERE / "build/declared/minidl/kernels"
declared.mkdir(parents=True, exist_ok=True)
shutil.copy2(HERE / "kernels/_dispatch.pxd", declared)

families = ["minidl.kernels"] + [f"minidl.kernels.{name}" for name in find_packages("kernels")]
setup(
    packages=[*find_packages(include=["minidl", "minidl.*"], exclude=["minidl.kernels*"]), *families],
    package_dir={"minidl": "minidl", "minidl.kernels": "kernels"},
    package_data={"minidl": ["cli/style.css", "data/datasets/*"]},
    ext_modules=cythonize([core, *compiled], language_level=3, build_dir="build/cython", include_path=[".", "build/declared"],
                          compiler_directives={"freethreading_compatible": True, "binding": True}),
    cmdclass={"build_ext": BuildKernels},
)
