"""What the bench finds out about the machine."""
import numpy as np
import pytest

from minidl import kernels
from minidl.bench import machine
from minidl.kernels import _dispatch

LEVELS = [level for level in _dispatch.ISA_LEVELS if _dispatch.core and _dispatch.core.cpu_has(level)
          and _dispatch.core.find("machine_triad", level)]


@pytest.mark.parametrize("level", LEVELS)
def test_the_loops_that_are_timed_do_their_work(level):
    def run(name, *arrays, p=()):
        return _dispatch.core.find(f"machine_{name}", level)(*arrays, p)

    rng = np.random.default_rng(0)
    x, z = rng.standard_normal((2, 3 * machine.PIECE + 64)).astype(np.float32)
    y, sums = np.zeros_like(x), np.zeros(4, np.float32)
    run("triad", y, x, z)
    np.testing.assert_allclose(y, x + 3 * z, rtol=1e-6, atol=1e-6)
    run("copy", y, x)
    np.testing.assert_array_equal(y, x)
    run("read", sums, x)
    wanted = [part.sum(dtype="f8") for part in np.split(x, range(machine.PIECE, len(x), machine.PIECE))]
    np.testing.assert_allclose(sums, wanted, rtol=1e-4, atol=1e-3)
    assert run("read", sums[:3], x) is NotImplemented

    flops = np.zeros(4)
    run("fma", sums, flops, p=(1000,))
    lanes = flops[0] / 2 / 1000
    assert lanes % 12 == 0 and (flops == flops[0]).all()
    start = 1 + np.arange(12) / 12  # of each chain; it comes nearer to 1 by a thousandth each time
    np.testing.assert_allclose(sums, lanes / 12 * (1 + (start - 1) * 0.999 ** 1000).sum(), rtol=1e-3)

    tiles = run("tiles", sums, flops, p=(1000,))
    assert tiles is NotImplemented or ((flops == 2 * 4 * 16 * 16 * 32 * 1000).all() and (sums == 32 * 1000).all())


@pytest.mark.skipif(not LEVELS, reason="without the native extension nothing is measured")
def test_the_machine_is_measured(monkeypatch):
    monkeypatch.setattr(machine, "MOST_BYTES", 1 << 20)
    threads = kernels.get_num_threads()
    try:
        for n in (2, 1):
            kernels.set_num_threads(n)
            found = machine.measure(0.01)
            assert found["threads"] == n and found["fma_isa"] in LEVELS
            assert min(found["fma_one_thread"], found["fma_peak"]) > 1e8
            assert found["bandwidth"] == max(found["bandwidths"].values()) > 1e8
    finally:
        kernels.set_num_threads(threads)
    assert found["fma_one_thread"] == found["fma_peak"]  # on one thread


def test_without_a_compiler_there_are_no_peaks(monkeypatch):
    monkeypatch.setattr(_dispatch, "core", None)
    found = machine.measure(0.01)
    assert found["fma_peak"] is None and found["bandwidth"] is None


def test_caches(tmp_path):
    found = [("1", "Data", "48K"), ("1", "Instruction", "32K"), ("2", "Unified", "1024K"), ("3", "Unified", "32M")]
    for i, lines in enumerate(found):
        folder = tmp_path / f"index{i}"
        folder.mkdir()
        for name, line in zip(("level", "type", "size"), lines):
            (folder / name).write_text(line + "\n")
    assert machine.caches(tmp_path) == {"L1 data": 48 << 10, "L2": 1 << 20, "L3": 32 << 20}
    assert machine.caches(tmp_path / "elsewhere") == {}


def test_the_kernel_of_numpy_s_blas_is_asked_for(tmp_path):
    assert machine.blas_kernel(tmp_path / "nothing") == "unknown"
    (tmp_path / "maps").write_text("7f00-7f01 r-xp 00000000 08:01 1 /lib/other.so\n")
    assert machine.blas_kernel(tmp_path / "maps") == "unknown"
    if machine.Path("/proc/self/maps").exists() and "openblas" in machine.Path("/proc/self/maps").read_text():
        assert machine.blas_kernel() != "unknown"
