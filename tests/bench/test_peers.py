"""Each peer computes what the kernel computes: otherwise the bench compares two different things."""
import importlib.util

import numpy as np
import pytest

from minidl.bench import measure
from minidl.bench.peers import PEERS, peer
from minidl.kernels import _check, _dispatch

ODD = ("special", "edges", "one row", "nothing")  # infinities and NaN; variances of 0, where all is rounding; no arrays
LISTS = ("sgd_update", "adam_update", "total_norm", "scale", "clamp")
PACKAGES = {"PyTorch": "torch", "ONNX Runtime": "onnxruntime", "JAX": "jax", "TensorFlow": "tensorflow"}
SETTINGS = [pytest.param(kernel, label, id=f"{kernel} by {label}") for kernel, labels in PEERS.items() for label in labels]


def small_cases(kernel):
    """Its cases that are not empty, of float32 throughout, and lie without gaps: the first fifteen; of lists those of real
    networks, for the others hold empty arrays."""
    if kernel in LISTS:
        return [c for c in _dispatch.kernels[kernel].cases() if c.bench][:2]

    def usual(a):
        return a.size > 1 and a.dtype in ("f4", "i8", "i1", "u1", "u2", "?") and (a.strides == np.copy(a, order="K").strides)

    cases = (c for c in _dispatch.kernels[kernel].cases() if not c.bench and not c.label.startswith(ODD))
    return [c for c in cases if all(usual(a) for a in (*c.args, *c.kwargs.values()) if isinstance(a, np.ndarray))][:15]


@pytest.mark.parametrize("kernel, label", SETTINGS)
def test_peer(kernel, label):
    for name, package in PACKAGES.items():
        if label.startswith(name) and not importlib.util.find_spec(package):
            pytest.skip(f"{name} is not installed")
    found, count = _dispatch.kernels[kernel], 0
    for case in small_cases(kernel):
        wanted = _check.run(found, case._replace(args=measure.copied(case.args)), "reference")
        for timing, prepare in measure.contestants(found, case, [], True):
            if timing.label == label and measure.verified(found, wanted, timing, prepare):
                assert not timing.failure, case.label
                count += 1
    assert count, "the peer serves no case"


def test_a_peer_that_is_not_installed_or_does_not_serve_is_left_out(monkeypatch):
    monkeypatch.setitem(PEERS, "relu", {})

    @peer("relu", "absent")
    def absent(x):
        import no_such_library
        return no_such_library.relu

    @peer("relu", "other")
    def other(x):
        return None

    @peer("relu", "different")
    def different(x):
        return lambda: x

    @peer("relu", "failing")
    def failing(x):
        raise RuntimeError("first line\nsecond line")

    kernel = _dispatch.kernels["relu"]
    case = _dispatch.case("some", np.array([-1, 2], np.float32), bench=True)
    row = measure.run_case(kernel, case, ["reference"], True, 0.05, 2)  # longer than any pause of this process
    assert [t.label for t in row.timings] == ["reference", "different", "failing"]
    assert [len(t.rounds) for t in row.timings] == [2, 0, 0]
    assert row.timings[1].failure.startswith("differs by") and row.timings[2].failure == "RuntimeError: first line"
    assert row.best_peer() is None and row.ratio(row.timings[0]) is None


def test_lists_that_are_written_in_place_count_twice_and_stay_as_they_are():
    kernel = _dispatch.kernels["sgd_update"]
    params, grads = ([np.ones(3, np.float32), np.ones((2, 2), np.float32)] for _ in range(2))
    row = measure.run_case(kernel, _dispatch.case("two", params, grads, bench=True), ["reference"], False, 0.001, 1)
    assert row.bytes == 3 * 7 * 4 and row.flops == 6 * 7
    assert row.timings[0].rounds and not row.timings[0].failure
    assert all((p == 1).all() for p in params)
