"""A run of the bench: saved as JSON, as a table, and compared with another."""
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from minidl.bench.measure import Row, Timing
from minidl.cli.tables import table

FORMAT = "minidl bench 1"
ENOUGH = 0.95  # of a peer's speed: what is less is a case that is lost
DISTURBED = ("the threads together reached less than three quarters of what one reaches alone, times their number: other "
             "programs are running or threads share a core. Times, and ratios more so, are not to be relied on.")


@dataclass
class Run:
    """What `minidl bench` measured: the machine (see `minidl.bench.machine.measure`) and a row for each kernel and case."""

    machine: dict
    rows: list[Row]

    def save(self, path: Path) -> None:
        """Writes JSON."""
        content = {"format": FORMAT, "machine": self.machine, "rows": [row.as_dict() for row in self.rows]}
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def joined(cls, paths: list[Path]) -> "Run":
        """The rows of all files, on the machine of the first."""
        runs = [cls.load(path) for path in paths]
        return cls(runs[0].machine, [row for run in runs for row in run.rows])

    @classmethod
    def load(cls, path: Path) -> "Run":
        """Reads what `save` wrote. Raises ValueError for another file."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["format"] != FORMAT:
                raise KeyError
            return cls(content["machine"], [Row.from_dict(row) for row in content["rows"]])
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"bench: {path}: a file that minidl bench --json wrote expected") from None

    def wrong(self) -> list[tuple[Row, Timing]]:
        """The versions, not the peers, whose results are not the reference's."""
        return [(row, t) for row in self.rows for t in row.timings if t.failure and not t.peer]

    def disturbed(self) -> bool:
        """Whether the machine was busy with something else, by its own peak."""
        m = self.machine
        return bool(m["fma_peak"]) and m["fma_peak"] < 0.75 * m["threads"] * m["fma_one_thread"]

    def memory_bound(self, row: Row) -> bool:
        """Whether the roofline of the machine says that traffic, not arithmetic, limits this case."""
        peak, bandwidth = self.machine["fma_peak"], self.machine["bandwidth"]
        return row.flops == 0 or (bool(peak) and row.flops / max(row.bytes, 1) < peak / bandwidth)

    def rate(self, row: Row, timing: Timing) -> tuple[float, str, float | None]:
        """(rate, unit, fraction of the machine's): GB/s where traffic is the limit, else GFLOP/s."""
        by_memory = self.memory_bound(row)
        amount, limit = (row.bytes, self.machine["bandwidth"]) if by_memory else (row.flops, self.machine["fma_peak"])
        rate = amount / timing.seconds
        return rate / 1e9, "GB/s" if by_memory else "GFLOP/s", rate / limit if limit else None


def machine_lines(machine: dict) -> list[tuple[str, str]]:
    """The machine as pairs of texts."""
    lines = [("processor", machine["processor"]), ("threads", str(machine["threads"])),
             ("kernels run on", str(machine["isa"] or "no native extension")),
             ("NumPy's BLAS runs on", machine["blas"])]
    if machine["fma_peak"]:
        lines += [("peak, one thread", f"{machine['fma_one_thread'] / 1e9:.0f} GFLOP/s (float32 fma, {machine['fma_isa']})"),
                  ("peak, all threads", f"{machine['fma_peak'] / 1e9:.0f} GFLOP/s")]
    if machine.get("tiles_peak"):
        lines += [("tiles, one thread", f"{machine['tiles_one_thread'] / 1e9:.0f} GFLOP/s (bfloat16, AMX)"),
                  ("tiles, all threads", f"{machine['tiles_peak'] / 1e9:.0f} GFLOP/s")]
    lines += [(f"memory, {name}", f"{rate / 1e9:.1f} GB/s") for name, rate in machine["bandwidths"].items()]
    return lines + [(f"cache {name}", f"{size >> 10} KiB") for name, size in machine["caches"].items()]


def machine_table(run: Run) -> str:
    """The machine, with a warning where it was busy."""
    return table(("machine", ""), machine_lines(run.machine)) + (f"\n\nwarning: {DISTURBED}" if run.disturbed() else "")


def cells(run: Run, row: Row, timing: Timing) -> tuple[str, ...]:
    """A line of the table: version, time, rate, fraction of the machine's, ratio to the best peer."""
    if timing.failure:
        return timing.label, timing.failure, "", "", ""
    if not timing.rounds:
        return timing.label, "ok", "", "", ""
    rate, unit, share = run.rate(row, timing)
    ratio = row.ratio(timing)
    return (timing.label, f"{timing.seconds * 1e6:.1f} us", f"{rate:.1f} {unit}", "-" if share is None else f"{share:.0%}",
            "-" if ratio is None else f"{ratio:.2f}")


HEADER = ("version", "time", "rate", "of machine", "x best peer")


def text(run: Run, row: Row) -> str:
    """A case as a table for the terminal."""
    body = table(HEADER, [cells(run, row, t) for t in row.timings])
    return f"{row.kernel}: {row.case}\n" + "\n".join(f"  {line}" for line in body.splitlines())


def geometric_mean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


RATIOS = ("version", "cases", "x best peer", "least", f"under {ENOUGH}", "x PyTorch", "least", f"under {ENOUGH}")


def ratio_lines(run: Run, name: Callable[[Row], str]) -> list[tuple[str, ...]]:
    """For all rows of a name and each version: ratios to the best peer, and to PyTorch in its faster layout. Of each the
    geometric mean, the least, and how many are too small."""
    found = {}
    for row in run.rows:
        for timing in row.timings:
            if not timing.peer and (ratio := row.ratio(timing)):
                every, torch = found.setdefault((name(row), timing.label), ([], []))
                every.append(ratio)
                torch += [r] if (r := row.ratio(timing, "PyTorch")) else []
    return [(name, version, str(len(every)), *described(every), *described(torch))
            for (name, version), (every, torch) in found.items()]


def described(ratios: list[float]) -> tuple[str, str, str]:
    """Of what there is: the geometric mean, the least, and how many are under ENOUGH, as texts."""
    if not ratios:
        return "-", "-", "-"
    return f"{geometric_mean(ratios):.2f}", f"{min(ratios):.2f}", str(sum(ratio < ENOUGH for ratio in ratios))


def summary(run: Run) -> str:
    """The ratios of each kernel, and of each family of them; empty where there are none."""
    parts = [(("kernel", *RATIOS), ratio_lines(run, lambda row: row.kernel)),
             (("family", *RATIOS), ratio_lines(run, lambda row: row.family))]
    return "\n\n".join(table(header, lines) for header, lines in parts if lines)


def compared(before: Run, after: Run) -> str:
    """Two runs as a table: for each case and version in both how many times as fast `after` is."""
    old = {(row.kernel, row.case, t.label): t.seconds for row in before.rows for t in row.timings if t.rounds}
    lines, ratios = [], {}
    for row in after.rows:
        for t in row.timings:
            first = old.get((row.kernel, row.case, t.label))
            if t.rounds and first:
                lines.append((f"{row.kernel}: {row.case}", t.label, f"{first * 1e6:.1f}", f"{t.seconds * 1e6:.1f}",
                              f"{first / t.seconds:.2f}"))
                ratios.setdefault(t.label, []).append(first / t.seconds)
    if not lines:
        raise ValueError("bench: --compare: the two runs have no case and version in common")
    now = dict(machine_lines(after.machine))
    machines = [(name, value, now[name]) for name, value in machine_lines(before.machine) if now.get(name, value) != value]
    means = [(label, str(len(r)), f"{geometric_mean(r):.2f}") for label, r in ratios.items()]
    return "\n\n".join([*([table(("machine", "before", "after"), machines)] if machines else []),
                        table(("case", "version", "us before", "us after", "times as fast"), lines),
                        table(("version", "cases", "geometric mean"), means)])
