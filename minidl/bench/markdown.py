"""A run of the bench as Markdown, for a page of the documentation: the machine, the ratios, and every case."""
from collections.abc import Iterable

from minidl.bench.measure import Row, Timing
from minidl.bench.results import RATIOS, Run, cells, machine_lines, ratio_lines

CASES = ("case", "time", "rate", "of machine", "best peer", "its time", "x best peer", "x PyTorch")


def markdown(run: Run) -> str:
    """The page. Of each kernel the native version stands in the table of cases, or else the first."""
    parts = ["# minidl bench", "How many times as fast as the best peer, and as PyTorch in its faster layout: medians of the "
             "ratios in each round of one run, everybody in turns and with the same threads, results checked first.",
             "## The machine", table(("", ""), machine_lines(run.machine)),
             "## Families", table(("family", *RATIOS), native(ratio_lines(run, lambda row: row.family))),
             "## Kernels", table(("kernel", *RATIOS), native(ratio_lines(run, lambda row: row.kernel))), "## Cases"]
    for kernel in dict.fromkeys(row.kernel for row in run.rows):
        lines = [line(run, row, timing) for row in run.rows if row.kernel == kernel and (timing := ours(row))]
        parts += [f"### {kernel}", table(CASES, lines)] if lines else []
    return "\n\n".join(parts) + "\n"


def native(lines: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The lines of native versions, or all where there are none."""
    return [line for line in lines if line[1] == "native"] or lines


def ours(row: Row) -> Timing | None:
    """The version whose times are shown."""
    timed = [t for t in row.timings if t.rounds and not t.peer]
    return next((t for t in timed if t.label == "native"), timed[0] if timed else None)


def line(run: Run, row: Row, timing: Timing) -> tuple[str, ...]:
    """A case."""
    _, time, rate, share, ratio = cells(run, row, timing)
    peer, torch = row.best_peer(), row.ratio(timing, "PyTorch")
    return (row.case, time, rate, share, peer.label if peer else "-", f"{peer.seconds * 1e6:.1f} us" if peer else "-", ratio,
            f"{torch:.2f}" if torch else "-")


def table(header: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> str:
    """Texts to the left in the first column, numbers to the right in the others."""
    rows = [header, ("---", *["---:"] * (len(header) - 1)), *lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
