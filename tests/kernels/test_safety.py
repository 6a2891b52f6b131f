"""What must end in an exception rather than in a crash or in wrong numbers: bad calls of native kernels, memory that
may not be written, memory that is not there. And arguments and arrays are released."""
import gc
import os
import subprocess
import sys

import numpy as np
import pytest

from minidl import kernels
from minidl.kernels import _dispatch
from minidl.kernels._cases import channels_last, normal

core = _dispatch.core
needs_native = pytest.mark.skipif(core is None, reason="no native kernels were built here")
A = np.ones((3, 3), "f4")


@needs_native
@pytest.mark.parametrize("args", [(), ((0,),), (A, A, A, (0,)), (A, A, A, A, A, A, (0,)), (A, [[1.0]], A, None, None, (0,)),
                                  (A, 3, A, None, None, (0,)), (A, A, A, None, None, None),
                                  (A, A, A, None, None, ("relu",))])
def test_native_kernels_refuse_wrong_arguments(args):
    with pytest.raises((TypeError, ValueError)):
        core.find("matmul", kernels.isa())(*args)
    assert core.find("no such kernel", kernels.isa()) is None


@pytest.mark.parametrize("backend", [b for b in kernels.backends() if b in ("reference", "native")])
def test_read_only_memory_is_not_written(backend):
    fixed = np.zeros((3, 3), "f4")
    fixed.flags.writeable = False
    with kernels.backend(backend):
        with pytest.raises(ValueError, match="read-only"):
            kernels.relu(A, out=fixed)
        with pytest.raises(ValueError, match="read-only"):
            kernels.sgd_update([fixed], [A])
    assert not fixed.any()


def test_outs_of_another_shape_are_refused():
    g, x = np.ones((1, 2, 3, 3), "f4"), np.ones((1, 1, 3, 3), "f4")
    with pytest.raises(ValueError, match=r"out is float32\(9, 1, 1, 1\): float32\(2, 1, 1, 1\) expected"):
        kernels.conv2d_backward_weight(g, x, (2, 1, 1, 1), out=[np.ones((9, 1, 1, 1), "f4"), np.ones(2, "f4")])
    with pytest.raises(ValueError, match="none expected, the kernel writes its arguments"):
        kernels.sgd_update([A], [A], out=[[], []])


def test_arguments_that_native_code_would_not_survive():
    with pytest.raises(ValueError, match="batch_norm: mean is None"):
        kernels.batch_norm(A, None, None, None, np.ones(3, "f4"))
    with pytest.raises(ValueError, match=r"conv2d: weight \(1, 1, 0, 2\): a window of at least 1x1"):
        kernels.conv2d(np.ones((1, 1, 4, 4), "f4"), np.ones((1, 1, 0, 2), "f4"))
    with pytest.raises(ValueError, match=r"stride=\(1.5, 1\): an integer or a pair"):
        kernels.conv2d(np.ones((1, 1, 4, 4), "f4"), np.ones((1, 1, 2, 2), "f4"), stride=(1.5, 1))
    with pytest.raises(ValueError, match=r"logits \(3, 0\): at least one class expected"):
        kernels.cross_entropy(np.ones((3, 0), "f4"), np.full(3, -100))


def test_arrays_too_large_are_an_exception():
    for rows in (2**22, 2**31, 2**40):
        with pytest.raises((MemoryError, ValueError)):
            kernels.matmul(np.empty((rows, 0), "f4"), np.empty((0, rows), "f4"))


def test_arrays_of_many_axes_and_no_numbers_run_in_the_reference():
    assert kernels.relu(np.full((1,) * 12, -1, "f4")).shape == (1,) * 12
    assert kernels.matmul(np.full((2, 2), 3, "O"), np.full((2, 2), 2, "O")).tolist() == [[12, 12], [12, 12]]


def test_an_ignored_label_may_be_any_integer():
    logits = normal(3, 50)
    for ignored in (2**63 - 1, 2**53 + 1, -2**63, np.int64(-1)):
        target = np.array([1, ignored, 2])
        loss, lse = kernels.cross_entropy(logits, target, ignore_index=ignored)
        slope = kernels.cross_entropy_backward(np.ones(3, "f4"), logits, lse, target, ignore_index=ignored)
        assert loss[1] == 0 and loss[0] > 0 and not slope[1].any()


def test_convolution_without_channels_has_a_gradient_of_its_bias():
    g = np.ones((2, 3, 4, 4), "f4")
    dw, db = kernels.conv2d_backward_weight(g, np.ones((2, 0, 4, 4), "f4"), (3, 0, 1, 1))
    assert dw.shape == (3, 0, 1, 1) and db.tolist() == [32, 32, 32]


def test_batch_norm_of_flipped_images():
    x = channels_last(normal(3, 5, 4, 6))[:, :, ::-1, ::-1]
    for got, wanted in zip(kernels.batch_norm_train(x), kernels.batch_norm_train(x.copy(), backend="reference")):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


@needs_native
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits on a process's memory are Linux's here")
def test_without_memory_a_kernel_raises_or_is_right():
    """Limits from far too little to enough, some of which strike in the scratch memory of a task on another thread.

    Right are the bits of a run without limits.
    """
    setup = """
import resource, sys, zlib
import numpy as np
from minidl import kernels
kernels.set_num_threads(2)
x, w = np.ones((2, 8, 300, 300), "f4"), np.ones((8, 8, 3, 3), "f4")
a, b = np.ones((4, 300, 1200), "f4"), np.ones((4, 1200, 300), "f4")
calls = [(lambda: kernels.conv2d(x, w, padding=1), 72),
         (lambda: kernels.conv2d_backward_data(x, w, x.shape, padding=1), 72),
         (lambda: kernels.matmul(a, b), 1200)]
def bits(y):
    return zlib.crc32(y.transpose(0, 2, 3, 1) if y.ndim == 4 else y)
"""
    unlimited = setup + """
for run, value in calls:
    y = run()
    assert abs(y.max() / value - 1) < 1e-6, y.max()
    print(bits(y))
"""
    limited = setup + """
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
raised = 0
for megabytes in [*range(0, 40), 4000]:
    resource.setrlimit(resource.RLIMIT_AS, (used + (megabytes << 20), resource.RLIM_INFINITY))
    for (run, _), wanted in zip(calls, sys.argv[1:]):
        try:
            right = bits(run()) == int(wanted)
        except MemoryError:
            raised += 1
        else:
            assert right, megabytes
print(raised)
"""
    env, wanted = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}, []
    for code in unlimited, limited:
        done = subprocess.run([sys.executable, "-c", code, *wanted], capture_output=True, text=True, env=env)
        assert done.returncode == 0, done.stderr
        wanted = done.stdout.split()
    assert 0 < int(done.stdout) < 123, "some limits are too small and the last is not"


@needs_native
def test_calls_leave_nothing_behind():
    x, y = normal(4, 5), np.empty((4, 5), "f4")
    run = core.find("relu", kernels.isa())
    shape, dtype, p = (4, 5), np.dtype("f4"), ()
    counted = (x, y, shape, p, run)

    def calls():
        for _ in range(2000):
            run(y, x, p)
            core.empty(shape, dtype)
            with pytest.raises(TypeError):
                run(y, "x", p)
    calls()
    gc.collect()
    before, pooled = [sys.getrefcount(each) for each in counted], core.pooled()
    calls()
    gc.collect()
    assert [sys.getrefcount(each) for each in counted] == before
    assert core.pooled() == pooled
