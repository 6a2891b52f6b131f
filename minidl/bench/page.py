"""A run of the bench as one HTML file that needs nothing else: the machine, a roofline, and bars for each kernel."""
import math
from html import escape
from pathlib import Path

from minidl import cli
from minidl.bench.measure import Row, Timing
from minidl.bench.results import DISTURBED, HEADER, RATIOS, Run, cells, machine_lines, ratio_lines

GROUPS = ("native", "numba", "best peer")  # in the colours c0, c1, c2 of the style sheet
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 400, 62, 14, 16, 44


def html(run: Run) -> str:
    """The page. Light or dark follows the reader's browser."""
    style = Path(cli.__file__).with_name("style.css").read_text(encoding="utf-8")
    kernels = dict.fromkeys(row.kernel for row in run.rows)
    sections = [head(run), *ratios(run), *([roofline(run)] if run.machine["fma_peak"] else []),
                *(bars(run, name, [row for row in run.rows if row.kernel == name]) for name in kernels)]
    return (f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>minidl bench</title>\n'
            f"<style>\n{style}</style>\n</head>\n<body>\n" + "\n".join(sections) + "\n</body>\n</html>\n")


def head(run: Run) -> str:
    """The title and the machine."""
    lines = "".join(f"<tr><td>{escape(a)}</td><td>{escape(b)}</td></tr>" for a, b in machine_lines(run.machine))
    warning = f"<p><b>Warning:</b> {DISTURBED}</p>" if run.disturbed() else ""
    return ("<header><h1>minidl bench</h1><p>Kernels beside other libraries and beside what the machine can do, measured in "
            f"the same run: every version in turns, medians over the rounds, results checked first.</p>{warning}</header>"
            f"<section id='machine'><h2>The machine</h2><table><tbody>{lines}</tbody></table></section>")


def ratios(run: Run) -> list[str]:
    """The geometric means over the cases of each kernel, where there are peers."""
    lines = ratio_lines(run, lambda row: row.kernel)
    if not lines:
        return []
    heads = "".join(f"<th>{name}</th>" for name in ("kernel", *RATIOS))
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in line) + "</tr>" for line in lines)
    return [f"<section id='ratios'><h2>Geometric means</h2><div class='scroll'><table class='wide'><thead><tr>{heads}</tr>"
            f"</thead><tbody>{body}</tbody></table></div></section>"]


def points(run: Run) -> list[tuple[float, float, int, str]]:
    """(flops per byte, GFLOP/s, index of the group, title) of each timing on the roofline."""
    found = []
    for row in run.rows:
        if row.flops and row.bytes:
            shown = [(GROUPS.index(t.label), t) for t in row.timings if t.rounds and not t.peer and t.label in GROUPS]
            shown += [(2, t) for t in [row.best_peer()] if t]
            for group, t in shown:
                rate = row.flops / t.seconds / 1e9
                found.append((row.flops / row.bytes, rate, group, f"{row.kernel}: {row.case}, {t.label}: {rate:.1f} GFLOP/s"))
    return found


def roofline(run: Run) -> str:
    """Operations per second over operations per byte, both logarithmic, below the two roofs of the machine (Williams,
    Waterman and Patterson 2009)."""
    peak, bandwidth = run.machine["fma_peak"] / 1e9, run.machine["bandwidth"] / 1e9
    dots = points(run)
    xs, ys = [p[0] for p in dots] + [peak / bandwidth], [p[1] for p in dots] + [peak]
    x_low, x_high = math.floor(math.log10(min(xs)) - 0.3), math.ceil(math.log10(max(xs)) + 0.3)
    y_low, y_high = math.floor(math.log10(min(ys))), math.log10(max(ys)) + 0.25

    def x(value):
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log10(value) - x_low) / (x_high - x_low)

    def y(value):
        return TOP + (HEIGHT - TOP - BOTTOM) * (y_high - max(math.log10(value), y_low)) / (y_high - y_low)

    parts = []
    for power in range(x_low, x_high + 1):
        at = x(10.0 ** power)
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
                     f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 17}" text-anchor="middle">{10.0 ** power:g}</text>')
    for power in range(y_low, math.floor(y_high) + 1):
        at = y(10.0 ** power)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
                     f'<text x="{LEFT - 7}" y="{at + 4:.1f}" text-anchor="end">{10.0 ** power:g}</text>')
    start = max(10.0 ** x_low, 10.0 ** y_low / bandwidth)
    roof = [(start, start * bandwidth), (peak / bandwidth, peak), (10.0 ** x_high, peak)]
    parts.append(f'<polyline class="mark" fill="none" points="{" ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in roof)}"/>'
                 f'<text x="{WIDTH - RIGHT}" y="{y(peak) - 7:.1f}" text-anchor="end">{peak:.0f} GFLOP/s</text>'
                 f'<text x="{x(start) + 5:.1f}" y="{y(start * bandwidth) - 26:.1f}">{bandwidth:.0f} GB/s</text>'
                 f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 6}" text-anchor="middle">operations per byte</text>')
    parts += [f'<circle class="dot c{group}" cx="{x(a):.1f}" cy="{y(b):.1f}" r="4" opacity="0.75">'
              f"<title>{escape(title)}</title></circle>" for a, b, group, title in dots]
    legend = "".join(f'<span><i class="c{i}"></i>{name}</span>' for i, name in enumerate(GROUPS))
    return ("<section id='roofline'><h2>Roofline</h2><p>What a case can reach is below the dashed line: under its slope "
            "memory is the limit, under its flat part arithmetic. A dot above the slope worked in the caches, one above "
            "the flat part on matrix tiles. Bytes are those "
            "of inputs and outputs, each counted once, twice where a kernel writes in place.</p>"
            f"<figure style='max-width: none'><figcaption><b>GFLOP/s</b>{legend}</figcaption>"
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Roofline">{"".join(parts)}</svg></figure></section>')


def bars(run: Run, kernel: str, rows: list[Row]) -> str:
    """A chart of one kernel: a bar for each version and peer of each case, the fastest of the case the longest."""
    body = []
    for row in rows:
        fastest = min((t.seconds for t in row.timings if t.rounds), default=0)
        body.append(f'<tr><th colspan="{len(HEADER) + 1}">{escape(row.case)}</th></tr>')
        body += [bar(run, row, t, fastest / t.seconds if t.rounds else 0) for t in row.timings]
    heads = "".join(f"<th>{name}</th>" for name in HEADER)
    return (f"<section id='{escape(kernel)}'><h2>{escape(kernel)}</h2><div class='scroll'><table class='wide'>"
            f"<thead><tr>{heads}<th>speed, the fastest of a case = 1</th></tr></thead>"
            f"<tbody>{''.join(body)}</tbody></table></div></section>")


def bar(run: Run, row: Row, timing: Timing, share: float) -> str:
    """A line of the chart."""
    wrong = " class='wrong'" if timing.failure else ""
    colour = "var(--c2)" if timing.peer else "var(--c0)" if timing.label == "native" else "var(--c1)"
    texts = "".join(f"<td{wrong}>{escape(cell)}</td>" for cell in cells(run, row, timing))
    return f"<tr>{texts}<td><div class='bar'><i style='width: {share:.1%}; background: {colour}'></i></div></td></tr>"
