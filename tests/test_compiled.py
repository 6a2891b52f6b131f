"""The compiled twins of the tape and the dispatcher: built from today's sources, and left out by MINIDL_PURE=1."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

import minidl

MODULES = ["minidl._quick", "minidl.autograd.edge", "minidl.autograd.tensor", "minidl.autograd.node", "minidl.autograd.op",
           "minidl.autograd.engine", "minidl.autograd.waiting", "minidl.kernels._dispatch"]


def files(**environment):
    code = "import sys, minidl\n" + "\n".join(f"print(sys.modules[{m!r}].__file__)" for m in MODULES)
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True,
                          check=True)
    return [Path(line) for line in done.stdout.split("\n") if line]


def test_pure_runs_the_sources():
    assert [p.suffix for p in files(MINIDL_PURE="1")] == [".py"] * 8


def test_compiled_twins_are_as_new_as_their_sources():
    built = files(MINIDL_PURE="")
    if {p.suffix for p in built} == {".py"}:
        pytest.skip("built without a compiler: there are no compiled twins")
    for twin in built:
        source = twin.with_name(twin.name.partition(".")[0] + ".py")
        source = source.with_suffix(".pyx") if source.with_suffix(".pyx").exists() else source
        assert twin.suffix != ".py", f"{twin} has no compiled twin: make build"
        assert twin.stat().st_mtime >= source.stat().st_mtime, f"{twin} is older than its source: make build"


def test_the_configuration_tells_which_runs():
    expected = "Python" if sys.modules["minidl.kernels._dispatch"].__file__.endswith(".py") else "compiled"
    assert minidl.show_config(show=False)["tape and dispatch"] == expected


@pytest.mark.parametrize("pure", ["", "1"])
def test_operations_and_kernels_are_like_functions(pure):
    code = """if True:
        import copy, inspect, pickle
        import minidl as ml
        from minidl import kernels
        from minidl._quick import Quick
        class Pairs(Quick):
            def called(self, args, kwargs):
                return args, kwargs
        class Owner:
            pairs = Pairs()
        assert Pairs()() == ((), None) and Pairs()(1, a=2) == ((1,), {"a": 2}) and Owner.pairs(3) == ((3,), None)
        owner = Owner()
        assert owner.pairs(3, a=4) == ((owner, 3), {"a": 4})
        for function in (ml.relu, ml.add, kernels.relu):
            assert copy.deepcopy(function) is function and pickle.loads(pickle.dumps(function)) is function
            assert inspect.isroutine(function) and function.__doc__ and function.__module__
        assert list(inspect.signature(ml.add).parameters) == ["x1", "x2"] and "add" in repr(ml.add)
        assert ml.tensor([1.0]).add(other=ml.tensor([2.0])).item() == 3 and Owner.pairs is Owner.__dict__["pairs"]
        for wrong in (lambda: ml.add(1), lambda: ml.relu(ml.ones(1), slope=2), lambda: ml.add(1, x1=2)):
            try:
                wrong()
            except TypeError:
                continue
            raise AssertionError
    """
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "MINIDL_PURE": pure}, check=True)
