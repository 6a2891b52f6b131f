"""`minidl bench` as a user runs it."""
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from minidl import cli, kernels
from minidl.bench import command, machine, markdown, page, results
from minidl.bench.measure import Row, Timing
from minidl.kernels import _dispatch

OWN = '''
import numpy as np
from minidl import kernels
from minidl.bench import case, kernel, peer

@kernel
def double_plus(x, add=0.0):
    """2 x + add."""
    return [(x.shape, x.dtype)], (x,), (add,)

@double_plus.implementation("reference")
def by_definition(y, x, p):
    y[...] = 2 * x + p[0]

@double_plus.implementation("native")
def faster(y, x, p):
    np.multiply(x, FACTOR, out=y)
    y += p[0]

@double_plus.cost
def flops(outs, ins, p):
    return 2 * outs[0].size

@double_plus.examples
def examples():
    yield case("small", np.arange(5.0), add=1.0)
    yield case("large", np.ones(5000, np.float32), add=1.0, bench=True)

@peer("double_plus", "by adding")
def adding(x, add=0.0):
    return lambda: x + x + np.float32(add)

@kernels.softmax.examples
def more():
    yield case("mine", np.ones((3, 5), np.float32), bench=True)
'''


@pytest.fixture(autouse=True)
def measured_here(monkeypatch):
    """One thread in this process, and small arrays for the bandwidth."""
    threads = kernels.get_num_threads()
    for name in command.UNWANTED:
        monkeypatch.delenv(name, raising=False)
    # Numba refuses another number of threads once it has started its own, which other tests of this process have done.
    monkeypatch.setattr(command, "THREADS", tuple(name for name in command.THREADS if name != "NUMBA_NUM_THREADS"))
    for name, value in command.environment(1).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(machine, "MOST_BYTES", 1 << 20)
    yield
    kernels.set_num_threads(threads)
    command.set_peers_threads(threads)


def bench(*arguments):
    return cli.main(["bench", *map(str, arguments), *([] if {"--compare", "--read"} & set(arguments) else
                     ["--threads", "1", "--seconds", "0.002", "--rounds", "2"])])


def test_a_kernel_is_checked_timed_saved_drawn_and_compared(tmp_path, capsys):
    saved, drawn = tmp_path / "a.json", tmp_path / "a.html"
    assert bench("relu", "--backends", "reference", kernels.get_backend(), "--json", saved, "--html", drawn) == 0
    printed = capsys.readouterr().out
    assert "relu: 16x32x26x26\n  version" in printed
    assert re.search(r"relu +reference +\d+ +\d+\.\d\d", printed) and "NumPy's BLAS runs on" in printed

    run = results.Run.load(saved)
    run.save(tmp_path / "b.json")
    assert json.loads(saved.read_text()) == json.loads((tmp_path / "b.json").read_text())
    row = next(r for r in run.rows if r.case == "16x32x26x26")
    assert row.flops == 16 * 32 * 26 * 26 and row.bytes == 2 * 4 * row.flops
    assert {t.label for t in row.timings} >= {"reference", kernels.get_backend(), "NumPy"}
    assert all(t.error < 1e-4 and t.seconds > 0 for t in row.timings)

    assert bench("--compare", saved, tmp_path / "b.json") == 0
    printed = capsys.readouterr().out
    assert re.search(r"NumPy +\d+ +1\.00", printed) and "before" in printed and "machine" not in printed

    assert bench("--read", saved, tmp_path / "b.json", "--markdown", tmp_path / "a.md") == 0
    assert "relu: 16x32x26x26\n  version" in capsys.readouterr().out
    written = (tmp_path / "a.md").read_text(encoding="utf-8")
    assert "### relu" in written and written.count("| 16x32x26x26 |") == 2
    assert {line.count("|") for line in written.split("### relu")[1].splitlines() if line} == {9}

    check_page(drawn.read_text(encoding="utf-8"), ["relu", "ratios", "machine", *(["roofline"] if _dispatch.core else [])])


def check_page(text, sections):
    """That a page is well formed, has the sections and loads nothing."""
    class Page(HTMLParser):
        def handle_starttag(self, tag, attributes):
            found.update(value for name, value in attributes if name == "id")
            assert not {"src", "href", "srcset"} & {name for name, _ in attributes} and tag not in ("script", "link")
            opened.extend([tag] * (tag != "meta"))

        def handle_startendtag(self, tag, attributes):
            pass

        def handle_endtag(self, tag):
            assert opened.pop() == tag

    found, opened = set(), []
    Page().feed(text)
    assert not opened and found >= set(sections)
    assert "url(" not in text and "@import" not in text


def test_a_kernel_of_one_s_own_is_verified_and_timed(tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text(OWN.replace("FACTOR", "2"))
    before, cases = dict(_dispatch.kernels), kernels.softmax.cases
    assert bench("--cases", file, "--backends", "native", "reference", "--json", tmp_path / "a.json") == 0
    printed = capsys.readouterr().out
    assert "double_plus: large" in printed and "by adding" in printed and "softmax: mine" in printed
    rows = {(r.kernel, r.case): r for r in results.Run.load(tmp_path / "a.json").rows}
    assert [t.label for t in rows["double_plus", "large"].timings] == ["reference", "native", "by adding"]
    assert not any(t.rounds for t in rows["double_plus", "small"].timings)  # checked, not timed
    assert ("softmax", "(128, 10)") in rows
    assert _dispatch.kernels == before and kernels.softmax.cases is cases and "own_mine" not in sys.modules


def test_a_wrong_kernel_is_reported_and_not_timed(tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text(OWN.replace("FACTOR", "2.001"))
    assert bench("double_plus", "--cases", file, "--backends", "native", "--html", tmp_path / "a.html") == 1
    printed, error = capsys.readouterr()
    assert "WRONG by" in printed
    assert [line.split(": ")[1:4] for line in error.splitlines()] == [
        ["double_plus", case, "native"] for case in ("small", "large")]
    assert "WRONG by" in (tmp_path / "a.html").read_text()


@pytest.mark.parametrize("text, message", [
    ("from minidl.bench import kernel\n@kernel\ndef relu(x):\n    pass", "kernel 'relu' exists already"),
    (OWN.replace('@double_plus.implementation("reference")', ""), "double_plus has no reference version"),
    (OWN.replace("@double_plus.examples", ""), "double_plus has no cases"),
    ("from minidl import kernels\nkernels.relu.implementation('mine')", "implementation('mine'): one of reference"),
])
def test_a_file_that_is_wrong(tmp_path, capsys, text, message):
    file = tmp_path / "mine.py"
    file.write_text(text)
    before = dict(_dispatch.kernels)
    assert bench("--cases", file) == 1
    error = capsys.readouterr().err
    assert error.startswith("minidl bench: ") and message in error and error.count("\n") == 1
    assert _dispatch.kernels == before


@pytest.mark.parametrize("arguments, message", [
    (["no_such_kernel"], "no kernel or family 'no_such_kernel'"),
    (["--cases", "cases.txt"], "a file whose name ends in .py expected"),
    (["--cases", "no_such_file.py"], "no_such_file.py"),
    (["--compare", __file__, __file__], "a file that minidl bench --json wrote expected"),
    (["--compare", "no_such.json", "no_such.json"], "no_such.json"),
])
def test_wrong_names_and_files_are_one_plain_line(capsys, arguments, message):
    assert bench(*arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("minidl bench: ") and message in error and error.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--seconds", "0"], ["--rounds", "x"], ["--backends", "abacus"]])
def test_wrong_options(capsys, arguments):
    with pytest.raises(SystemExit) as end:
        cli.main(["bench", *arguments])
    assert end.value.code == 2 and arguments[0] in capsys.readouterr().err


def test_where_the_environment_would_slow_a_peer_another_process_measures(monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("SOMETHING", "else")
    started = []

    def start(arguments, env):
        started.append((arguments, env))
        return subprocess.CompletedProcess(arguments, 3)

    monkeypatch.setattr(subprocess, "run", start)
    assert bench("relu") == 3
    (arguments, env), = started
    assert arguments[:5] == [sys.executable, "-m", "minidl", "bench", "relu"]
    assert "OPENBLAS_CORETYPE" not in env and env["SOMETHING"] == "else"
    assert {env[name] for name in command.THREADS} == {"1"}
    assert env == command.environment(1) and "OPENBLAS_CORETYPE" in os.environ


MACHINE = {"processor": "a <processor>", "minidl": "1", "numpy": "2", "isa": "v3", "threads": 2, "blas": "Zen", "caches": {},
           "fma_isa": "v3", "fma_one_thread": 100e9, "fma_peak": 200e9, "bandwidths": {"read": 20e9}, "bandwidth": 20e9}


def made(machine=MACHINE, slower=1.0):
    """A run: one case that arithmetic limits, one that memory does."""
    native = Timing("native", False, rounds=[0.001 * slower, 0.002, 0.003 * slower])
    peer = Timing("PyTorch", True, rounds=[0.004, 0.002, 0.006])
    rows = [Row("matmul", "a & b", 4e8, 4_000_000, [native, peer], "matmul"),
            Row("relu", "c", 1e6, 8_000_000, [Timing("native", False, rounds=[0.0008])], "elementwise")]
    return results.Run(machine, rows)


def test_rates_and_ratios():
    run = made()
    compute, traffic = run.rows
    assert run.rate(compute, compute.timings[0]) == (200.0, "GFLOP/s", 1.0)
    assert run.rate(traffic, traffic.timings[0]) == (pytest.approx(10.0), "GB/s", pytest.approx(0.5))
    assert compute.ratio(compute.timings[0]) == 2.0  # of 4, 1 and 2
    assert traffic.ratio(traffic.timings[0]) is None
    assert results.cells(run, compute, compute.timings[0]) == ("native", "2000.0 us", "200.0 GFLOP/s", "100%", "2.00")
    assert results.cells(run, traffic, traffic.timings[0])[3:] == ("50%", "-")
    assert results.cells(run, traffic, Timing("numba", False)) == ("numba", "ok", "", "", "")
    assert results.summary(results.Run(MACHINE, [traffic])) == ""


def test_a_kernel_s_ratios_and_how_many_are_lost():
    run = made()
    slow, fast = Timing("native", False, rounds=[0.004]), Timing("JAX", True, rounds=[0.002])
    run.rows.append(Row("matmul", "d", 4e8, 4_000_000, [slow, fast], "matmul"))
    assert results.ratio_lines(run, lambda row: row.family) == [
        ("matmul", "native", "2", "1.00", "0.50", "1", "2.00", "2.00", "0")]
    assert results.summary(run).count("matmul") == 2
    assert "| d | 4000.0 us | 100.0 GFLOP/s | 50% | JAX | 2000.0 us | 0.50 | - |" in markdown.markdown(run)


def test_without_peaks_there_are_no_fractions_and_no_roofline():
    unknown = {**MACHINE, "isa": None, "fma_peak": None, "bandwidth": None, "bandwidths": {}}
    run = made(unknown)
    assert results.cells(run, run.rows[0], run.rows[0].timings[0])[2:4] == ("200.0 GFLOP/s", "-")
    assert not run.disturbed()
    text = page.html(run)
    check_page(text, ["matmul", "relu"])
    assert "id='roofline'" not in text and "a &lt;processor&gt;" in text and "a &amp; b" in text
    assert "no native extension" in text


def test_a_busy_machine_is_told(capsys, monkeypatch):
    run = made({**MACHINE, "fma_peak": 140e9})
    assert run.disturbed() and not made().disturbed()
    assert "Warning" in page.html(run) and "Warning" not in page.html(made())
    monkeypatch.setattr(machine, "measure", lambda seconds: run.machine)
    assert bench("leaky_relu", "--backends", "reference", "--no-peers") == 0
    printed = capsys.readouterr().out
    assert "warning: the threads together" in printed and "PyTorch" not in printed


def test_runs_of_two_machines_are_compared(tmp_path):
    text = results.compared(made(), made({**MACHINE, "blas": "Haswell"}, slower=2.0))
    assert re.search(r"NumPy's BLAS runs on +Zen +Haswell", text)
    assert re.search(r"matmul: a & b +native +2000.0 +2000.0 +1.00", text)
    with pytest.raises(ValueError, match="no case and version in common"):
        results.compared(made(), results.Run(MACHINE, []))
    (tmp_path / "a.json").write_text('{"format": "another"}')
    with pytest.raises(ValueError, match="that minidl bench --json wrote"):
        results.Run.load(tmp_path / "a.json")
