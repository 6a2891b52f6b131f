"""`minidl bench`: measure the machine, then each kernel's versions and peers on real shapes, then networks.

Every version is checked against the reference, every peer too, before it is timed. A version that is wrong is reported, and
the command ends with 1.
"""
import argparse
import importlib.util
import os
import subprocess
import sys
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from minidl import kernels
from minidl.bench import machine, markdown, measure, networks, page, results
from minidl.kernels import _check, _dispatch

# What cripples OpenBLAS, and what makes all libraries use the same threads.
UNWANTED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS",
           "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "NPROC")  # XLA, and so JAX, goes by the last
# OpenBLAS' threads look for work for 2**26 cycles or more before they sleep, and PyTorch's had no core meanwhile: a product
# took 16 milliseconds instead of 50 microseconds. With 2**20 NumPy itself is as fast.
IDLE = {"OPENBLAS_THREAD_TIMEOUT": "20"}
# glibc's malloc gives large blocks back to the system at once, and the next output costs a fault for each page: our outputs
# come from a pool, the peers' shall not pay.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of `minidl bench`."""
    def positive(kind):
        def convert(text):
            value = kind(text)
            if not value > 0:
                raise argparse.ArgumentTypeError(f"{text}: more than 0 expected")
            return value
        convert.__name__ = kind.__name__
        return convert

    command.add_argument("names", nargs="*", metavar="NAME",
                         help="kernels, families of them, or networks ('networks' for all of these); all when left out")
    command.add_argument("--cases", type=Path, metavar="FILE",
                         help="a Python file with kernels, cases or peers of your own: see python -m pydoc minidl.bench")
    command.add_argument("--seconds", type=positive(float), default=0.2, metavar="S",
                         help="for each version on each case, five times that on a network (default 0.2)")
    command.add_argument("--rounds", type=positive(int), default=5, metavar="N", help="turns that it is timed in (default 5)")
    command.add_argument("--threads", type=positive(int), default=kernels.get_num_threads(), metavar="N",
                         help="of everybody (default: OMP_NUM_THREADS, or all cores)")
    command.add_argument("--backends", nargs="+", default=[b for b in kernels.backends() if b != "cuda"],
                         choices=[b for b in kernels.backends() if b != "cuda"], metavar="BACKEND",
                         help="of reference, numba, native; all when left out")
    command.add_argument("--no-peers", action="store_true", help="without other libraries")
    command.add_argument("--json", type=Path, metavar="FILE", help="save the results")
    command.add_argument("--html", type=Path, metavar="FILE", help="draw a roofline and bars into a page that stands alone")
    command.add_argument("--markdown", type=Path, metavar="FILE", help="write the ratios and every case as tables in Markdown")
    command.add_argument("--read", type=Path, nargs="+", metavar="FILE",
                         help="print, draw or write what --json saved instead of measuring; several files as one run")
    command.add_argument("--compare", type=Path, nargs=2, metavar=("BEFORE", "AFTER"),
                         help="compare two saved results instead of measuring")


def environment(threads: int) -> dict[str, str]:
    """The environment in which to measure: the same threads for all, and nothing that slows a peer."""
    env = {name: value for name, value in os.environ.items() if name not in UNWANTED}
    return env | dict.fromkeys(THREADS, str(threads)) | MALLOC | IDLE


def run(options: argparse.Namespace) -> int:
    """Runs the command. Libraries read the environment when they are loaded: where it is another, a new process measures."""
    if options.compare:
        print(results.compared(*map(results.Run.load, options.compare)))
        return 0
    if options.read:
        found = results.Run.joined(options.read)
        print(results.machine_table(found))
        for row in found.rows:
            show(found, row)
        return finished(options, found)
    wanted = environment(options.threads)
    if wanted != dict(os.environ):
        return subprocess.run([sys.executable, "-m", "minidl", *options.arguments], env=wanted).returncode
    kernels.set_num_threads(options.threads)
    set_peers_threads(options.threads)
    with own_file(options.cases) as added:
        if options.cases and not options.names:
            options.names = sorted(added)
        wanted = [name for name in networks.NETWORKS if not options.names or {name, "networks"} & set(options.names)]
        names = [name for name in options.names if name not in (*networks.NETWORKS, "networks")]
        chosen = _check.select(names) if names or not options.names else []
        return measured(options, chosen, wanted, added)


def set_peers_threads(threads: int) -> None:
    """Libraries that are installed and do not go by the environment alone."""
    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(threads)


def measured(options: argparse.Namespace, chosen: list, wanted: list[str], added: set[str]) -> int:
    """Measures, prints, saves; 1 where a version is wrong."""
    found = results.Run(machine.measure(min(options.seconds, 0.5)), [])
    print(results.machine_table(found), flush=True)
    peers = not options.no_peers
    for row in chain(measure.run(chosen, options.backends, peers, options.seconds, options.rounds, added),
                     networks.run(wanted, peers, 5 * options.seconds, options.rounds)):
        found.rows.append(row)
        show(found, row)
    return finished(options, found)


def show(found: results.Run, row: measure.Row) -> None:
    """Prints a case, unless it was only checked and is right."""
    if any(t.failure or t.rounds for t in row.timings):
        print(f"\n{results.text(found, row)}", flush=True)


def finished(options: argparse.Namespace, found: results.Run) -> int:
    """Prints the ratios and writes the files; 1 where a version is wrong."""
    print(f"\n{results.summary(found)}" if results.summary(found) else "")
    if options.json:
        found.save(options.json)
    if options.html:
        options.html.write_text(page.html(found), encoding="utf-8")
    if options.markdown:
        options.markdown.write_text(markdown.markdown(found), encoding="utf-8")
    wrong = found.wrong()
    for row, timing in wrong:
        print(f"minidl bench: {row.kernel}: {row.case}: {timing.label}: {timing.failure}", file=sys.stderr)
    return 1 if wrong else 0


@contextmanager
def own_file(path: Path | None):
    """Loads a user's file for the block, and gives the names of the kernels that it adds or adds cases to.

    The file's cases stand after a kernel's own. Raises ValueError for a file that is no Python file, or that takes the name
    of a kernel that exists.
    """
    if path is None:
        yield set()
        return
    registered = _dispatch.kernels
    before, cases = dict(registered), {name: k.cases for name, k in registered.items()}
    spec = importlib.util.spec_from_file_location(f"own_{path.stem}", path)
    if spec is None:
        raise ValueError(f"bench: --cases {path}: a file whose name ends in .py expected")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
        taken = [name for name, k in before.items() if registered[name] is not k]
        if taken:
            raise ValueError(f"bench: --cases {path}: kernel {taken[0]!r} exists already: another name expected")
        more = {name: k.cases for name, k in before.items() if k.cases is not cases[name]}
        for name, function in more.items():
            before[name].cases = lambda ours=cases[name], theirs=function: chain(ours(), theirs())
        yield {*more, *(registered.keys() - before.keys())}
    finally:
        del sys.modules[spec.name]
        registered.clear()
        registered.update(before)
        for name, function in cases.items():
            before[name].cases = function
