"""Choosing the version of a kernel that runs: backends, out, fallback to the reference, tracing."""
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

from minidl import kernels
from minidl.kernels import __main__ as command
from minidl.kernels import _check, _dispatch

A = np.arange(12, dtype="f4").reshape(3, 4)
B = np.arange(20, dtype="f4").reshape(4, 5)


def test_backends_are_chosen_for_the_process_or_a_block():
    before = kernels.get_backend()
    with kernels.backend("reference"):
        assert kernels.get_backend() == "reference"
        with pytest.raises(ZeroDivisionError), kernels.backend("numba" if "numba" in kernels.backends() else "reference"):
            raise ZeroDivisionError
        assert kernels.get_backend() == "reference"
    assert kernels.get_backend() == before
    with pytest.raises(ValueError, match="set_backend: 'fortran': one of reference"):
        kernels.set_backend("fortran")


def test_get_runs_in_one_backend():
    for backend in _check.versions(_dispatch.kernels["matmul"]):
        np.testing.assert_array_equal(kernels.get("matmul", backend)(A, B), A @ B)
    with pytest.raises(KeyError, match="no kernel 'matmull'"):
        kernels.get("matmull")
    with pytest.raises(KeyError, match="no 'cuda' version here"):
        kernels.get("matmul", "cuda")


def test_table_tells_what_runs_where():
    table = kernels.table()
    assert table["matmul"]["reference"] == "own"
    for b in _dispatch.BACKENDS:
        assert (table["matmul"][b] == "missing") == (b not in kernels.backends())


def test_out_is_checked_and_written():
    out = np.empty((3, 5), "f4")
    assert kernels.matmul(A, B, out=out) is out
    np.testing.assert_array_equal(out, A @ B)
    with pytest.raises(ValueError, match=r"matmul: out is float64\(3, 5\): float32\(3, 5\) expected"):
        kernels.matmul(A, B, out=np.empty((3, 5)))
    with pytest.raises(ValueError, match="matmul: out has 2 arrays: 1 expected"):
        kernels.matmul(A, B, out=(out, out))


@pytest.mark.skipif("native" not in kernels.backends(), reason="needs the C kernels")
def test_out_in_another_layout_does_not_leave_the_backend(monkeypatch):
    def refused(*arguments):
        raise AssertionError("the reference ran")
    x, w = np.random.default_rng(0).standard_normal((2, 8, 3, 9, 9), dtype=np.float32)[:, :2]
    w = np.ascontiguousarray(w[..., :3, :3])
    wanted = kernels.conv2d(x, w, activation="relu")
    monkeypatch.setitem(_dispatch.kernels["conv2d"]._versions, "reference", refused)
    monkeypatch.setitem(_dispatch.kernels["max_pool2d"]._versions, "reference", refused)
    for order in "CF":  # the kernel itself writes channels last
        out = np.full(wanted.shape, np.nan, np.float32, order=order)
        with kernels.backend("native"):
            assert kernels.conv2d(x, w, activation="relu", out=out) is out
        np.testing.assert_array_equal(out, wanted)
    with kernels.backend("native"):
        found = kernels.max_pool2d(x, 3, out=(np.empty((2, 3, 3, 3), np.float32), np.empty((2, 3, 3, 3), np.uint8)))
    np.testing.assert_array_equal(found[0], x.reshape(2, 3, 3, 3, 3, 3).max(axis=(3, 5)))


def test_results_on_memory_of_any_layout():
    out = np.empty((5, 3), "f4").T
    kernels.matmul(A, B, out=out)
    np.testing.assert_array_equal(out, A @ B)
    x = np.asfortranarray(A)
    np.testing.assert_array_equal(kernels.matmul(x, B), A @ B)
    swapped = A.astype(">f4")  # byte order that native kernels leave to the reference
    np.testing.assert_array_equal(kernels.matmul(swapped, B), A @ B)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"matmul: \(3, 4\) @ \(3, 4\): inner sizes 4 and 3 differ"):
        kernels.matmul(A, A)
    with pytest.raises(ValueError, match="two axes or more"):
        kernels.matmul(A[0], B)
    with pytest.raises(ValueError, match="leading axes do not broadcast"):
        kernels.matmul(np.ones((2, 3, 4)), np.ones((3, 4, 5)))
    with pytest.raises(ValueError, match=r"bias \(4,\): \(5,\) expected"):
        kernels.matmul(A, B, np.ones(4, "f4"))
    with pytest.raises(ValueError, match="activation='swish'"):
        kernels.matmul(A, B, activation="swish")
    x, w = np.ones((1, 28, 28, 1), "f4"), np.ones((8, 1, 3, 3), "f4")
    with pytest.raises(ValueError, match=r"28 channels, weight .* expects 1: is the input channels-last"):
        kernels.conv2d(x, w)
    for how, message in [({"stride": 0}, "stride=0: at least 1"), ({"padding": "same"}, "padding='same'"),
                         ({"dilation": (1, 2, 3)}, "dilation"), ({"groups": 3}, "groups=3"),
                         ({"activation": "swish"}, "activation='swish'"), ({"dilation": 20}, "smaller than the window")]:
        with pytest.raises(ValueError, match=message):
            kernels.conv2d(x.transpose(0, 3, 1, 2), w, **how)
    x = x.transpose(0, 3, 1, 2)
    with pytest.raises(ValueError, match=r"bias \(3,\)"):
        kernels.conv2d(x, w, np.ones(3, "f4"))
    with pytest.raises(ValueError, match=r"\(N, C, H, W\) and"):
        kernels.conv2d(x[0], w)
    with pytest.raises(ValueError, match=r"gradient \(1, 8, 28, 28\): the output's shape \(1, 8, 26, 26\)"):
        kernels.conv2d_backward_data(np.ones((1, 8, 28, 28), "f4"), w, x.shape)


def test_debug_prints_each_call():
    code = "import numpy as np\nfrom minidl import kernels\nkernels.matmul(np.ones((3, 4), 'f4'), np.ones((4, 5), 'f4'))\n" \
           "kernels.matmul(np.ones((3, 4), 'i8'), np.ones((4, 5), 'i8'))"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "MINIDL_DEBUG": "1"}, capture_output=True,
                          text=True, check=True)
    first, second = done.stderr.splitlines()
    assert first.startswith(f"minidl: matmul {kernels.get_backend()} [3x4 4x5]") and "GFLOP/s" in first
    assert "matmul reference" in second, "integers fall back to the reference"


def test_an_unknown_instruction_set_is_an_error():
    if _dispatch.core is None:
        pytest.skip("no native kernels were built here")
    done = subprocess.run([sys.executable, "-c", "from minidl import kernels; kernels.isa()"],
                          env={**os.environ, "MINIDL_ISA": "v9"}, capture_output=True, text=True)
    assert "MINIDL_ISA=v9: not built or not in this processor" in done.stderr


def test_threads_start_at_what_the_environment_says():
    code = "from minidl import kernels; print(kernels.get_num_threads())"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "3"}, capture_output=True,
                          text=True, check=True)
    assert done.stdout.strip() == ("3" if _dispatch.core else "1")


def test_command_checks_and_times(capsys):
    assert command.main(["matmul"]) == 0
    text = capsys.readouterr().out
    assert ("GFLOP/s" in text and "native ok" in text) or _dispatch.core is None
    assert command.main(["softmax", "--check"]) == 0
    assert "GFLOP/s" not in capsys.readouterr().out
    with pytest.raises(SystemExit):
        command.main(["convolution"])
    assert "one of" in capsys.readouterr().err


def test_command_finds_a_wrong_version(capsys, monkeypatch):
    kernel = _dispatch.kernels["matmul"]
    monkeypatch.setattr(kernel, "_versions", {**kernel._versions, "reference": kernel.version("reference"),
                                              "numba": lambda y, a, b, bias, residual, p: y.fill(7)})
    monkeypatch.setattr(_check, "versions", lambda k: ["reference", "numba"])
    assert command.main(["matmul", "--check"]) == 1
    assert "numba WRONG by" in capsys.readouterr().out


def test_differences_are_seen():
    a = np.array([1.0, np.nan, np.inf], "f4")
    assert _check.difference([a], [a.copy()]) == 0
    assert _check.difference([a], [a.astype("f8")]) == np.inf
    assert _check.difference([a], [np.array([1.0, 2.0, np.inf], "f4")]) == np.inf
    assert _check.difference([np.array([1, 2])], [np.array([1, 3])]) == np.inf
    assert 0 < _check.difference([np.array([1.0001], "f4")], [np.array([1.0], "f4")]) < 1e-3


def test_kernels_print_what_they_are():
    assert repr(_dispatch.kernels["matmul"]).startswith("<kernel matmul: reference")


def test_calls_like_earlier_ones_compute_with_their_own_arrays():
    rng = np.random.default_rng(0)
    draw = [rng.random((4, 4), dtype="f4") for _ in range(6)]
    for a, b in [(draw[0], draw[0]), *itertools.pairwise(draw), (draw[0], draw[0])]:
        for left, right in [(a, b), (a.T, b), (a[:2], b), (a.astype("f8"), b.astype("f8")), (a[None], b[None])]:
            np.testing.assert_allclose(kernels.matmul(left, right), left @ right, rtol=1e-6)
            biased = kernels.matmul(left, right, right.reshape(-1)[:4], None)
            np.testing.assert_allclose(biased, left @ right + right.reshape(-1)[:4], rtol=1e-6)
    x = draw[1] - 0.5
    for slope in (0.5, 0.25, 0.5, 1):
        np.testing.assert_array_equal(kernels.leaky_relu(x, slope), np.where(x > 0, x, np.float32(slope) * x))
    with pytest.raises(ValueError, match="at least 0"):
        kernels.leaky_relu(x, -1.0)


class Unread(np.ndarray):
    """An array whose values nobody may look at."""

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        raise AssertionError(f"{ufunc.__name__} reads values")


def unread(x):
    return x.view(Unread) if type(x) is np.ndarray else x


@pytest.mark.parametrize("kernel", [k for k in _dispatch.kernels.values() if k.repeats], ids=lambda k: k.name)
def test_a_specification_that_looks_at_values_says_so(kernel):
    """Else it would not be asked again for other values: @kernel(repeats=False)."""
    for case in kernel.cases():
        if not any(isinstance(x, list) for x in case.args):
            kernel.spec(*map(unread, case.args), **{name: unread(x) for name, x in case.kwargs.items()})


@pytest.mark.skipif(_dispatch.core is None, reason="no native kernels were built here")
def test_more_calls_than_are_remembered():
    for n in range(1, 300):
        x = np.full(n, -1, "f4")
        x[0] = n
        assert kernels.relu(x).sum() == n
