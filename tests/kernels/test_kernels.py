"""Every version of every kernel against the reference, on the families' own cases, for every instruction set."""
import os
import subprocess
import sys

import numpy as np
import pytest

from minidl import kernels
from minidl.kernels import _check, _dispatch
from minidl.kernels._cases import normal

ALL = list(_dispatch.kernels.values())


@pytest.mark.parametrize("kernel", ALL, ids=lambda k: k.name)
def test_versions_agree_with_the_reference(kernel):
    count = 0
    for case, results in _check.runs(kernel):
        for backend, result in results.items():
            assert _check.difference(result, results["reference"]) <= kernel.tolerance, (backend, case.label)
        count += 1
    assert count, "a kernel without cases is not checked"


@pytest.mark.parametrize("level", ["portable", "v2", "v3", "v4", "neon"])
def test_each_instruction_set(level):
    """The other levels of this processor, each in a process of its own: the level is chosen once at import."""
    core = _dispatch.core
    if core is None or level not in core.isas() or not core.cpu_has(level):
        pytest.skip(f"{level} was not built or this processor does not have it")
    if level == kernels.isa():
        pytest.skip(f"{level} runs in this process already")
    env = {**os.environ, "MINIDL_ISA": level, "OMP_NUM_THREADS": "3"}
    done = subprocess.run([sys.executable, "-m", "minidl.kernels", "--check"], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"instruction set: {level}" in done.stdout


def test_without_matrix_tiles():
    """The other loops of families that use them, in a process of its own."""
    core = _dispatch.core
    if core is None or not core.has_amx():
        pytest.skip("this processor has no AMX, so every test runs without tiles")
    names = ["matmul", "quantized", "recurrent"]
    done = subprocess.run([sys.executable, "-m", "minidl.kernels", "--check", *names], env={**os.environ, "MINIDL_AMX": "0"},
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("kernel", [kernels.lstm, kernels.gru], ids=lambda k: k.name)
def test_recurrent_layers_are_native_whether_they_keep_the_gates_or_not(kernel, keep):
    """Without keep an output is empty, whose strides NumPy gives as zeros: no reason for the reference to step in."""
    native = kernel.version("native")
    if native is None:
        pytest.skip("nothing was compiled")
    for case in kernel.cases():
        if case.bench and case.kwargs.get("keep", True) == keep:
            outs, ins, p = kernel.spec(*case.args, **case.kwargs)
            assert native.compute(outs, ins, p, None) is not NotImplemented, case.label


@pytest.mark.parametrize("kernel", ALL, ids=lambda k: k.name)
def test_results_are_the_same_bits_from_run_to_run(kernel):
    threads = kernels.get_num_threads()
    try:
        kernels.set_num_threads(2)
        two = [results for _, results in _check.runs(kernel)]
        again = [results for _, results in _check.runs(kernel)]
    finally:
        kernels.set_num_threads(threads)
    for first, second in zip(two, again, strict=True):
        for backend in first.keys() - {"numba"}:
            assert all(a.tobytes() == b.tobytes() for a, b in zip(first[backend], second[backend], strict=True))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [1, 4, 9])
def test_products_are_the_same_bits_wherever_the_operands_lie(rows, dtype):
    a, b = normal(rows, 336, dtype=dtype), normal(45, 336, seed=1, dtype=dtype)
    results = set()
    for offset in range(16):
        memory = np.empty(b.size + 16, dtype)
        moved = memory[offset:offset + b.size].reshape(b.shape)
        moved[:] = b
        results.add((kernels.matmul(a, moved.T).tobytes(), kernels.matmul(a[:, :45], moved).tobytes()))
    assert len(results) == 1
