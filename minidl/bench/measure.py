"""Runs a kernel's cases in every backend and every peer: checked first, then timed in turns."""
import inspect
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial

import numpy as np

import minidl.bench.graph_peers
import minidl.bench.image_peers  # noqa: F401  both register their peers
from minidl.bench.peers import PEERS
from minidl.kernels import _check, get_num_threads
from minidl.kernels._dispatch import Case, Kernel, flatten

SETTLE = 0.03  # seconds before a turn, in which the threads of the one before it stop looking for work and go to sleep
WARM = 0.01  # seconds of calls before those that count: the threads wake, and find a core each
PEER_SLACK = 10  # a peer has roundings of its own: this many times a kernel's tolerance passes for the same result


@dataclass
class Timing:
    """One version or peer on one case. `rounds`: the median seconds of a call in each round; `error`: of its results,
    relative to the largest value, in terms of float32; `failure`: why it was not timed, or ''."""

    label: str
    peer: bool
    error: float = 0.0
    failure: str = ""
    rounds: list[float] = field(default_factory=list)

    @property
    def seconds(self) -> float | None:
        """The median over the rounds; None where nothing was timed."""
        return statistics.median(self.rounds) if self.rounds else None


@dataclass
class Row:
    """A kernel on one case: what it costs, and everybody's time. `bytes`: of inputs and outputs, each counted once.

    `family`: the folder that the kernel is in, or "networks".
    """

    kernel: str
    case: str
    flops: float
    bytes: int
    timings: list[Timing]
    family: str = ""

    def best_peer(self, family: str = "") -> Timing | None:
        """The fastest peer, of those whose label starts with `family`, or None."""
        found = (t for t in self.timings if t.peer and t.rounds and t.label.startswith(family))
        return min(found, key=lambda t: t.seconds, default=None)

    def ratio(self, timing: Timing, family: str = "") -> float | None:
        """How many times as fast as the best peer a version is: the median over the rounds of the ratio in each."""
        peer = self.best_peer(family)
        if peer is None or not timing.rounds:
            return None
        return statistics.median(theirs / ours for theirs, ours in zip(peer.rounds, timing.rounds))

    def as_dict(self) -> dict:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> "Row":
        """The row that `as_dict` made plain."""
        return cls(**{**values, "timings": [Timing(**t) for t in values["timings"]]})


def copied(value):
    """Arguments whose arrays are new and lie in memory as before: kernels may write in place."""
    if isinstance(value, np.ndarray):
        return value.copy(order="K")
    if isinstance(value, (list, tuple)):
        return type(value)(map(copied, value))
    return {k: copied(v) for k, v in value.items()} if isinstance(value, dict) else value


def flat(result) -> list:
    """The results of a call as a list of arrays, None where there is none; arrays of other libraries as NumPy's."""
    every = flatten_all(result if isinstance(result, (tuple, list)) else (result,))
    return [a if a is None or isinstance(a, np.ndarray) else np.asarray(a) for a in every]


def flatten_all(values) -> Iterator:
    for value in values:
        if isinstance(value, (tuple, list)):
            yield from flatten_all(value)
        else:
            yield value


def contestants(kernel: Kernel, case: Case, backends: list[str], with_peers: bool) -> Iterator[tuple[Timing, Callable]]:
    """The kernel's versions among `backends`, then its peers.

    Each with a function that gives what is to be called, on arrays of its own, or None where a peer does not serve the case.
    Ours are called as the operations call them, with every argument in its place: names would have to be sorted first.
    """
    for backend in _check.versions(kernel):
        if backend in backends:
            given = inspect.signature(kernel.spec).bind(*copied(case.args), **copied(case.kwargs))
            given.apply_defaults()
            yield Timing(backend, False), partial(partial, kernel, *given.args, **given.kwargs, backend=backend)
    for label, make in PEERS.get(kernel.name, {}).items() if with_peers else ():
        yield Timing(label, True), partial(make, *copied(case.args), **copied(case.kwargs))


def verified(kernel: Kernel, wanted: list, timing: Timing, prepare: Callable) -> Callable | None:
    """The call of a contestant, None where its library is not installed or does not serve the case.

    It ran once; how far its results are from the reference's, or how it failed, is in `timing`.
    """
    try:
        call = prepare()
        if call is None:
            return None
        got = flat(call())
    except ImportError:
        return None
    except Exception as error:  # whatever goes wrong in a version or in another library is its result
        timing.failure = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        return prepare
    if timing.peer:
        both = [(g, w) for g, w in zip(got, wanted) if g is not None]
        got, wanted = [g for g, _ in both], [w for _, w in both]
    timing.error = float(_check.difference(got, wanted)) if len(got) == len(wanted) else float("inf")
    limit = kernel.tolerance * (PEER_SLACK if timing.peer else 1)
    if not timing.error <= limit:
        timing.failure = f"{'differs' if timing.peer else 'WRONG'} by {timing.error:.1e}, {limit:.0e} is allowed"
    return call


def turn(call: Callable, seconds: float) -> float:
    """The median time of a call over about `seconds`, after `WARM` seconds of calls that do not count.

    A call that takes as long as the turn counts even if it is the first.
    """
    if get_num_threads() > 1:
        time.sleep(SETTLE)
    times, begin = [], time.perf_counter() + WARM
    end = begin + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        stop = time.perf_counter()
        if start >= begin or stop - start >= seconds:
            times.append(stop - start)
    return statistics.median(times)


def run_case(kernel: Kernel, case: Case, backends: list[str], with_peers: bool, seconds: float, rounds: int) -> Row:
    """Checks and times one case: `rounds` rounds, in each of which every one in turn runs for `seconds` / `rounds`.

    A case that is not marked `bench` is checked only. Who takes longer than `seconds` for a call has one turn only.
    """
    fresh = case._replace(args=copied(case.args), kwargs=copied(case.kwargs))
    wanted = _check.run(kernel, fresh, "reference")
    outs, ins, p = kernel.spec(*fresh.args, **fresh.kwargs)
    in_place = [a for o in outs if isinstance(o, list) for a in o]
    row = Row(kernel.name, case.label, float(kernel.flops(wanted, ins, p)),
              sum(a.nbytes for a in [*flatten(ins), *wanted, *in_place]), [], kernel.family.rpartition(".")[2])
    calls = []
    for timing, prepare in contestants(kernel, case, backends, with_peers):
        call = verified(kernel, wanted, timing, prepare)
        if call is None:
            continue
        row.timings.append(timing)
        if case.bench and not timing.failure:
            calls.append((timing, call))
    for i in range(rounds if calls else 0):
        first = i % len(calls)  # nobody always runs after the same other
        for timing, call in calls[first:] + calls[:first]:
            if sum(timing.rounds) < seconds:
                timing.rounds.append(turn(call, seconds / rounds))
    return row


def run(kernels: list[Kernel], backends: list[str], with_peers: bool, seconds: float, rounds: int,
        every_case: set[str]) -> Iterator[Row]:
    """A row for each case marked `bench`; for the kernels named in `every_case` the other cases too, which are only checked.

    Raises ValueError for a kernel without a reference or without cases.
    """
    for kernel in kernels:
        if kernel.version("reference") is None:
            raise ValueError(f"bench: {kernel.name} has no reference version: nothing to check its results against")
        rows = 0
        for case in kernel.cases():
            if case.bench or kernel.name in every_case:
                yield run_case(kernel, case, backends, with_peers, seconds, rounds)
                rows += 1
        if not rows and kernel.name in every_case:
            raise ValueError(f"bench: {kernel.name} has no cases: @{kernel.name}.examples adds them")
