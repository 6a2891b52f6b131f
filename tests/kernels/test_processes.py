"""Threads, forks and pools of workers: nothing hangs, and workers do not fight over the cores."""
import multiprocessing
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from minidl import kernels

A = np.random.default_rng(0).standard_normal((200, 300)).astype("f4")
B = np.random.default_rng(1).standard_normal((300, 250)).astype("f4")
needs_native = pytest.mark.skipif("native" not in kernels.backends(), reason="no native kernels were built here")


def product(_):
    return kernels.get_num_threads(), float(np.abs(kernels.matmul(A, B) - A @ B).max())


@needs_native
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*_at_fork:pytest.PytestUnraisableExceptionWarning")  # JAX's, where a test imported it
def test_a_process_forked_after_use_works_and_has_one_thread():
    kernels.matmul(A, B)
    child = os.fork()
    if child == 0:
        threads, error = product(None)
        kernels.set_num_threads(2)  # it may ask for more
        kernels.matmul(A, B)
        os._exit(0 if threads == 1 and error < 1e-3 else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@needs_native
@pytest.mark.skipif(sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2,
                    reason="the choice of a processor for a thread is made on Linux, with two or more of them")
def test_a_worker_is_woken_on_another_processor_than_the_caller():
    code = ("import os, time, numpy as np\nfrom minidl import kernels\n"
            "kernels.set_num_threads(2)\nA = np.ones((500, 500), 'f4')\nkernels.matmul(A, A)\n"
            "before = set(os.listdir('/proc/self/task'))\ntime.sleep(0.05)\nkernels.matmul(A, A)\n"
            "every = os.sched_getaffinity(0)\n"
            "closed = [every - os.sched_getaffinity(int(t)) for t in before]\nprint(sorted(map(len, closed))[-2:])\n")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.stdout.strip() == "[0, 1]", done.stderr


@needs_native
@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_pool_of_workers_shares_the_cores(method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this platform has no {method}")
    kernels.matmul(A, B)
    code = ("import multiprocessing, numpy as np\nfrom minidl import kernels\n"
            "A = np.ones((200, 300), 'f4')\nB = np.ones((300, 250), 'f4')\n"
            "def product(_): return kernels.get_num_threads(), float(kernels.matmul(A, B)[3, 4])\n"
            "if __name__ == '__main__':\n    kernels.matmul(A, B)\n"
            f"    with multiprocessing.get_context('{method}').Pool(3) as pool:\n"
            "        print(pool.map(product, range(6)))\n")
    path = os.path.join(os.environ.get("TMPDIR", "/tmp"), f"minidl_pool_{method}_{os.getpid()}.py")
    with open(path, "w") as file:
        file.write(code)
    try:
        done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=100)
    finally:
        os.unlink(path)
    assert done.stdout.strip() == str([(1, 300.0)] * 6), done.stderr


@needs_native
def test_several_threads_may_call_at_once():
    wanted, errors = kernels.matmul(A, B).tobytes(), []

    def work():
        for _ in range(30):
            if kernels.matmul(A, B).tobytes() != wanted:
                errors.append("another result")
    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors


def test_thread_counts_are_checked():
    before = kernels.get_num_threads()
    for bad in (0, -1, 1.5, "2"):
        with pytest.raises(ValueError, match="set_num_threads"):
            kernels.set_num_threads(bad)
    assert kernels.get_num_threads() == before


@needs_native
def test_memory_of_arrays_is_reused_and_bounded():
    from minidl.kernels import _dispatch
    big = kernels.matmul(np.ones((600, 8), "f4"), np.ones((8, 700), "f4"))
    address = big.ctypes.data
    view = big[10:20]
    del big
    other = kernels.matmul(np.ones((600, 8), "f4"), np.ones((8, 700), "f4"))
    assert other.ctypes.data != address, "the memory belongs to the view still"
    assert view[0, 0] == 8
    del view
    again = kernels.matmul(np.ones((600, 8), "f4"), np.ones((8, 700), "f4"))
    assert again.ctypes.data == address
    assert _dispatch.core.pooled() <= 1 << 30
