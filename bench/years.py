"""`make years`: what upkeep costs; writes docs/benchmarks-years.md and its picture.

    python bench/years.py [COMMITS]      with a number: fewer commits, and only printed

A million small commits with checkpoints and garbage collection beside them, then a tenth of them without; the bank of
`tests/fire` without and with them; then one checkpoint of 2 GiB beside two copies by `cp`, and a collection of as much.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import report
import seawall
from alone import peak_memory
from seawall import _native

MILLION = 1_000_000
BYTES = 2 << 30
BLOB = 1 << 16
AT_ONCE = 1 << 9
"""Blobs in one transaction."""
BANK_SECONDS, ROUNDS = 20, 3
WIDTH, HEIGHT, MARGIN = 860, 220, 60


class Run(NamedTuple):
    """What the program `years` printed: a row for each hundredth of the commits, and its summary."""

    rows: list[dict[str, float]]
    summary: str


def years(folder: Path, commits: int, *more: str) -> Run:
    """Run the program."""
    program = [
        "cargo", "run", "--locked", "--quiet", "--release", "-p", "seawall", "--example", "years", "--",
        str(folder), str(commits), "20000", *more,
    ]  # fmt: skip
    ended = subprocess.run(program, cwd=report.ROOT, capture_output=True, text=True, check=True)
    rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(io.StringIO(ended.stdout))]
    print(ended.stderr, flush=True)
    return Run(rows, ended.stderr.strip())


class Percentiles(NamedTuple):
    """The median and the 99th percentile of COMMIT, in milliseconds."""

    median: float
    most: float


def bank(folder: Path) -> tuple[Percentiles, Percentiles]:
    """The bank of `tests/fire` without and with maintenance: each the median of the rounds."""
    program = [sys.executable, "-m", "fire.percentile", str(folder), str(BANK_SECONDS), str(ROUNDS)]
    environment = {**os.environ, "PYTHONPATH": str(report.ROOT / "tests"), "SEAWALL_COORDINATOR": "fs:"}
    ended = subprocess.run(program, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    rounds = json.loads(ended.stdout)
    print(rounds, flush=True)

    def middle(kind: str) -> Percentiles:
        return Percentiles(*(statistics.median(figures) for figures in zip(*rounds[kind], strict=True)))

    return middle("without"), middle("with")


class Big(NamedTuple):
    """A large database: seconds, and MiB of memory."""

    checkpoint: float
    memory: float
    copies: float
    collection: float
    deleted: int


def fill(name: Path) -> None:
    """2 GiB that no compression makes smaller."""
    connection = seawall.connect(name, upkeep=False, isolation_level=None)
    connection.execute("CREATE TABLE blob (id INTEGER PRIMARY KEY, content BLOB)")
    for _ in range(BYTES // BLOB // AT_ONCE):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO blob (content) VALUES (?)", ((os.urandom(BLOB),) for _ in range(AT_ONCE)))
        connection.execute("COMMIT")
    connection.close()


def alone(what: str, name: Path) -> list[float]:
    """Do it in a process of its own: seconds, and its peak memory in MiB."""
    ended = subprocess.run([sys.executable, __file__, what, str(name)], capture_output=True, text=True, check=True)
    return [float(number) for number in json.loads(ended.stdout)]


def durable_copy(source: Path, target: Path) -> None:
    """`cp`, and an fsync."""
    subprocess.run(["cp", "--reflink=never", source, target], check=True)
    with target.open("rb+") as file:
        os.fsync(file.fileno())


def big(folder: Path) -> Big:
    """A checkpoint writes base and NAME; two copies write as much."""
    name = folder / "big.sqlite3"
    alone("fill", name)
    checkpoint, memory = alone("checkpoint", name)
    began = time.perf_counter()
    for number in range(2):
        durable_copy(name, folder / f"copy{number}")
    copies = time.perf_counter() - began
    for number in range(2):
        (folder / f"copy{number}").unlink()
    seawall.register()
    # Once for a milestone, and once more when it is older than history.
    _native.maintain(str(name), None, 1)
    time.sleep(1.5)
    log = sum(path.stat().st_size for path in name.with_name(f"{name.name}-seawall").glob("segments/*"))
    began = time.perf_counter()
    _, deleted = _native.maintain(str(name), None, 1)
    collection = time.perf_counter() - began
    left = sum(path.stat().st_size for path in name.with_name(f"{name.name}-seawall").glob("segments/*"))
    assert deleted and log - left > BYTES / 2, f"the log was not collected: {log} bytes, then {left}"
    return Big(checkpoint, memory, copies, collection, log - left)


def chart(run: Run) -> str:
    """The 50th and the 99th percentile of commits, and the disk, over the run."""
    most = max(row["p99_us"] for row in run.rows) / 1000
    disk = max(row["disk_MiB"] for row in run.rows)
    last = run.rows[-1]["commits"]

    def line(values: Sequence[float], top: float, colour: str) -> str:
        points = " ".join(
            f"{MARGIN + row['commits'] / last * (WIDTH - 2 * MARGIN):.1f},"
            f"{HEIGHT - 30 - value / top * (HEIGHT - 60):.1f}"
            for row, value in zip(run.rows, values, strict=True)
        )
        return f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{points}"/>'

    lines = [
        line([row["p99_us"] / 1000 for row in run.rows], most, "#d33"),
        line([row["p50_us"] / 1000 for row in run.rows], most, "#36c"),
        line([row["disk_MiB"] for row in run.rows], disk, "#999"),
    ]
    texts = [
        f'<text x="{MARGIN}" y="18" fill="#d33">p99 of a commit, at most {most:.1f} ms</text>',
        f'<text x="{MARGIN + 230}" y="18" fill="#36c">median</text>',
        f'<text x="{MARGIN + 300}" y="18" fill="#999">disk, at most {disk:.0f} MiB</text>',
        f'<text x="{MARGIN}" y="{HEIGHT - 8}" fill="#666">0</text>',
        f'<text x="{WIDTH - MARGIN}" y="{HEIGHT - 8}" fill="#666" text-anchor="end">{last:,.0f} commits</text>',
    ]
    inside = "\n".join([*lines, *texts])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
        f' font-size="13">\n<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>\n{inside}\n</svg>\n'
    )


def page(maintained: Run, without: Run, banks: tuple[Percentiles, Percentiles], large: Big, where: str) -> str:
    """docs/benchmarks-years.md."""
    before, after = banks
    first, last = maintained.rows[0], maintained.rows[-1]
    opened = [row["open_metadata"] for row in maintained.rows]
    gib = BYTES / (1 << 30)
    return f"""# Benchmarks: years

What `make years` printed: what checkpoints and garbage collection cost, and what they keep small. One process commits
two random pages of 20,000 at a time, as fast as it can. A second thread makes a checkpoint and collects garbage every
5 s, with a history of 20 s.

Measured at commit `{report.revision()}`, on {report.processor()}, {where}.

![A million commits](benchmarks-years.svg)

```
{maintained.summary}
```

The same without upkeep, a tenth as many commits:

```
{without.summary}
```

- Memory: {first["rss_MiB"]:.0f} MiB after the first hundredth, {last["rss_MiB"]:.0f} MiB at the end, at most
  {last["peak_rss_MiB"]:.0f} MiB.
- A cold opening, a hundred times on the way: {min(row["open_coordinator"] for row in maintained.rows):.0f} to
  {max(row["open_coordinator"] for row in maintained.rows):.0f} calls of the coordinator,
  {min(row["open_reads"] for row in maintained.rows):.0f} to {max(row["open_reads"] for row in maintained.rows):.0f}
  reads, {min(opened):.0f} to {max(opened):.0f} looks at names: one for each commit since `high` was written.

The bank of `tests/fire`: two processes that commit, and in every other round a third that makes a checkpoint and
collects garbage every 5 s ({ROUNDS} rounds of {BANK_SECONDS} s each; COMMIT in milliseconds):

| | median | 99th percentile |
| --- | --- | --- |
| without maintenance | {before.median:.2f} | {before.most:.2f} |
| with maintenance | {after.median:.2f} | {after.most:.2f} |
| ratio | {after.median / before.median:.2f} {report.TIMES} | {after.most / before.most:.2f} {report.TIMES} |

A database of {gib:.0f} GiB, whose pages cannot be compressed:

| | seconds |
| --- | --- |
| one checkpoint, which writes base and NAME | {large.checkpoint:.1f} |
| two copies by `cp`, each with an fsync | {large.copies:.1f} |
| ratio | {large.copies / large.checkpoint:.2f} {report.TIMES} |
| a collection that deletes {large.deleted / (1 << 30):.1f} GiB of log | {large.collection:.2f} |

The checkpoint's process had at most {large.memory:.0f} MiB of memory, Python and a page cache of 16 MiB included.
"""


def main(arguments: list[str]) -> None:
    """Measure, and write the page."""
    commits = int(arguments[0]) if arguments else MILLION
    build = report.ROOT / "build"
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=os.environ.get("SEAWALL_BENCH_DIR", build)) as name:
        folder = Path(name)
        for part in ("on", "off", "bank", "big"):
            (folder / part).mkdir()
        large = big(folder / "big")
        maintained = years(folder / "on", commits)
        shutil.rmtree(folder / "on")
        without = years(folder / "off", max(commits // 10, 100), "off")
        shutil.rmtree(folder / "off")
        banks = bank(folder / "bank")
        where = seawall.status(folder / "big" / "big.sqlite3").file_system
    print(large)
    if not arguments:
        docs = report.ROOT / "docs"
        (docs / "benchmarks-years.md").write_text(page(maintained, without, banks, large, where))
        (docs / "benchmarks-years.svg").write_text(chart(maintained))


if __name__ == "__main__":
    if sys.argv[1:2] == ["fill"]:
        fill(Path(sys.argv[2]))
        print("[]")
    elif sys.argv[1:2] == ["checkpoint"]:
        began = time.perf_counter()
        made = seawall.checkpoint(sys.argv[2])
        assert made is not None and made.name_not_renewed is None, made
        print(json.dumps([time.perf_counter() - began, peak_memory()]))
    else:
        main(sys.argv[1:])
