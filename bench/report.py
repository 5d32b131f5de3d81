"""The figures as a page of the manual, and as a picture."""

from __future__ import annotations

import math
import platform
import sqlite3
import statistics
import subprocess
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from figures import Row, number, spread, times

ROOT = Path(__file__).parents[1]
TIMES = "\u00d7"


def page(
    local: Sequence[Row], remote: Sequence[Row], seed: Sequence[Row], skipped: Mapping[str, str], file_system: str
) -> str:
    """docs/benchmarks.md; `skipped` has the parts that could not be measured, and why."""
    parts = [
        f"""# Benchmarks

What `make bench` printed. All peers run in one program, in turn, in several rounds: a figure is the median of the
rounds, in brackets the least and the most; a ratio is taken round by round, and above 1 Seawall is the better one.
"Goal" is what was asked for before anything was measured. What Seawall asks of a real NFS server, call by call, is in
[benchmarks-nfs.md](benchmarks-nfs.md), which `make nfs` writes. What checkpoints and garbage collection cost:
[benchmarks-years.md](benchmarks-years.md), which `make years` writes.

Measured at commit `{revision()}`, on {processor()}, Linux {platform.release()},
Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {file_system}.

![Seawall beside stock SQLite](benchmarks.svg)

## On a local disk

Stock SQLite with `journal_mode=DELETE` and `synchronous=FULL`, as Python opens it (page cache 2 MB), and with the
page cache that Seawall's connections have (16 MiB). Seawall is strict: `freshness="transaction"`. The table has 100,000
rows.
""",
        table(local),
        """
## On a shared file system

A web process serves requests, each on a new connection, as Django does by default; the file system is emulated (1 ms
for each read and metadata operation, 3 ms for each durable write; it counts them, the background's as well). A second
machine has it mounted, too. (The emulation looks up names in one folder one after another, which NFS does side by side.
A reader that has news to find pays for that.) Stock SQLite begins its transactions DEFERRED, Django's default, and
IMMEDIATE. Seawall is opened as its Django backend opens it (`freshness="request"`).
""",
        table(remote) if remote else f"SKIPPED: {skipped['remote']}\n",
        """
## Beside django-sqlite-efs

The real django-sqlite-efs 0.1.0 from its registry, and Seawall on the `dynamodb` coordinator in the same table: a
Django site with the same settings but for ENGINE (`timeout` 20, `SQLITE_LOCK_EXPIRATION` 30, the rest by default), in
the same Python with the Django that django-sqlite-efs asks for. It opens a connection for each request, as it insists
on; with Seawall they are kept (`CONN_MAX_AGE: None`), but in the rows that say otherwise, and some rows have Seawall
on the `fs` coordinator, without the table. Requests go through Django's WSGI handler. What they keep in
DynamoDB is in Amazon's DynamoDB Local, behind a proxy that adds 4 ms to each round trip and counts; the file system
is the emulated one, mounted by four machines, with two processes each at most. After each figure: what one request,
or one acknowledged vote, cost in file operations and requests to DynamoDB, with what they moved; that of the
background counts, too. "Lost": votes that were acknowledged and not counted. "Longest wait": how long it ever took
any process from one acknowledged vote to the next, failed ones in between. A *fair share* is a vote of each writer:
their number times a vote of one that is alone.

![Seawall beside django-sqlite-efs](benchmarks-django-sqlite-efs.svg)
""",
        table(seed) if seed else f"SKIPPED: {skipped['seed']}\n",
        missed([*local, *remote, *seed]),
    ]
    return "\n".join(parts)


def table(rows: Sequence[Row]) -> str:
    """Rows, a column for each peer."""
    peers = list(rows[0].values)
    lines = [
        "| | " + " | ".join(peers) + f" | ratio to {rows[0].beside} | goal |",
        "| --- |" + " --- |" * (len(peers) + 2),
    ]
    for row in rows:
        cells = [f"{row.title}, {row.unit}"]
        for peer in peers:
            note = f"; {row.notes[peer]}" if peer in row.notes else ""
            cells.append(spread(row.values[peer], number) + note)
        cells.append(spread(row.ratios(), times))
        cells.append(times(row.goal) if row.goal else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def middle(row: Row) -> float:
    """The ratio that counts."""
    return statistics.median(row.ratios())


def missed(rows: Sequence[Row]) -> str:
    """Which goals were missed, and by how much."""
    by_how_much = [(row, middle(row) / row.goal) for row in rows if row.goal]
    lines = [
        f"- {row.title}: {share:.0%} of the goal{f'; {row.cost}' if row.cost else ''}"
        for row, share in by_how_much
        if share < 1
    ]
    lines += [f"- {row.title}: {broken}" for row in rows for broken in row.broken]
    wrapped = [textwrap.fill(line, 120, subsequent_indent="  ", break_on_hyphens=False) for line in lines]
    return "## Missed goals\n\n" + ("\n".join(wrapped) if wrapped else "None.") + "\n"


def revision() -> str:
    """The commit that was measured."""
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return git.stdout.strip() or "unknown"


def processor() -> str:
    """What kind of machine this is."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return f"{len(models)} processors, {models[0]}" if models else platform.machine()


WIDTH, LEFT, TOP, STEP, BAR = 940, 440, 58, 30, 16


def chart(rows: Sequence[Row]) -> str:
    """A picture of ratios on a logarithmic scale, with their spread, and the goals."""
    most = max(max(row.ratios()) for row in rows)
    decades = math.ceil(math.log10(max(most, 10)))
    scale = (WIDTH - LEFT - 90) / (decades + 1)

    def x(ratio: float) -> float:
        return LEFT + (math.log10(max(ratio, 0.1)) + 1) * scale

    height = TOP + len(rows) * STEP + 40
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"',
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="16" y="26" font-size="16" font-weight="bold">How many times as good as {rows[0].beside}</text>',
    ]
    for power in range(-1, decades + 1):
        ratio = 10.0**power
        ends = height - 34
        colour = "#333" if power == 0 else "#ddd"
        out.append(f'<line x1="{x(ratio):.0f}" y1="{TOP - 8}" x2="{x(ratio):.0f}" y2="{ends}" stroke="{colour}"/>')
        out.append(f'<text x="{x(ratio):.0f}" y="{TOP - 14}" text-anchor="middle" fill="#555">{ratio:g} {TIMES}</text>')
    for place, row in enumerate(rows):
        out += bar(row, TOP + place * STEP, x)
    out.append(
        f'<text x="16" y="{height - 12}" fill="#555">bars: median; thin lines: least to most; red: the goal</text>'
    )
    out.append("</svg>")
    return "\n".join(out) + "\n"


def bar(row: Row, y: float, x: Callable[[float], float]) -> list[str]:
    """One row of the chart."""
    ratios, one = row.ratios(), x(1)
    ratio = middle(row)
    begin, end = min(one, x(ratio)), max(one, x(ratio))
    centre = y + BAR / 2
    colour = "#2a7ab0" if ratio >= 1 else "#c98a2b"
    out = [
        f'<text x="{LEFT - 16}" y="{y + 13}" text-anchor="end">{escape(row.title)}</text>',
        f'<rect x="{begin:.1f}" y="{y}" width="{end - begin:.1f}" height="{BAR}" fill="{colour}"/>',
        f'<line x1="{x(min(ratios)):.1f}" y1="{centre}" x2="{x(max(ratios)):.1f}" y2="{centre}" stroke="#111"/>',
        f'<text x="{max(x(max(ratios)), one) + 8:.1f}" y="{y + 13}">{number(ratio)} {TIMES}</text>',
    ]
    if row.goal:
        goal = x(row.goal)
        out.append(
            f'<line x1="{goal:.1f}" y1="{y - 3}" x2="{goal:.1f}" y2="{y + BAR + 3}" stroke="#c22" stroke-width="2"/>'
        )
    return out
