"""What `import minidl` costs: the modules it loads, listed, so that nothing heavy slips in."""
import subprocess
import sys

import pytest

LISTED = {
    "minidl.random", "minidl._quick", "minidl._pure",  # the latter with MINIDL_PURE=1 only
    "minidl", "minidl.autograd", "minidl.config", "minidl.kernels", "minidl.ops",
    *(f"minidl.autograd.{name}" for name in (
        "checkpoint", "edge", "engine", "function", "gradcheck", "modes", "node", "op", "tensor", "waiting")),
}
# Standard library modules that NumPy has not loaded already and that are light.
LIGHT = {"cython_runtime", "threading", "__future__", "typing", "contextlib", "heapq", "_heapq", "bisect", "_bisect"}


def loaded(code):
    done = subprocess.run([sys.executable, "-c", f"import numpy, sys\nbefore = set(sys.modules)\n{code}\n"
                           "print(*sorted(set(sys.modules) - before))"], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_loads_only_what_is_listed():
    new = loaded("import minidl")
    rest = {name for name in new - LISTED - LIGHT if not name.startswith(("minidl.kernels.", "minidl.ops.", "_cython_"))}
    assert not rest
    assert not {name for name in new if name.endswith((".numba_", ".cuda"))}, "a backend is loaded when it is asked for"


@pytest.mark.parametrize("heavy", ["numba", "matplotlib", "tqdm", "scipy", "torch", "inspect", "asyncio", "multiprocessing",
                                   "urllib.request", "importlib.metadata", "difflib", "dataclasses", "unittest", "pickle"])
def test_import_leaves_heavy_modules_alone(heavy):
    assert heavy not in loaded("import minidl")


def test_parts_are_loaded_when_they_are_used():
    assert "minidl.nn" not in loaded("import minidl")
    assert "minidl.nn" in loaded("import minidl\nminidl.nn.Linear")
    assert "minidl.data" in loaded("import minidl\nminidl.data.DataLoader")


def test_an_unknown_name_is_an_attribute_error():
    import minidl
    with pytest.raises(AttributeError, match="nonsense"):
        minidl.nonsense  # noqa: B018
