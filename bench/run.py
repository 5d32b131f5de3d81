"""`make bench`: Seawall beside stock SQLite; writes docs/benchmarks.md, its chart, and README's table.

With arguments (`local`, `remote`), only that part, and only printed.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import local
import remote
import report
import seawall
from figures import Row, number, spread, times
from slowfs import Absent


def shown(rows: Iterable[Row]) -> list[Row]:
    """The rows, each printed as soon as it is there."""
    done = []
    for row in rows:
        print(f"\n{row.title}, {row.unit}")
        for peer, values in row.values.items():
            print(f"  {peer:32} {spread(values, number):36} {row.notes.get(peer, '')}")
        ratios = row.ratios(report.OURS, report.BESIDE)
        goal = f" (goal {times(row.goal)})" if row.goal else ""
        print(f"  {'ratio':32} {spread(ratios, times)}{goal}", flush=True)
        done.append(row)
    return done


def file_system(folder: Path) -> str:
    """The kind of file system that the local figures are from."""
    path = folder / "probe.sqlite3"
    seawall.connect(path).close()
    return seawall.status(path).file_system


def main(parts: list[str]) -> None:
    """Measure, and write the page."""
    build = report.ROOT / "build"
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=os.environ.get("SEAWALL_BENCH_DIR", build)) as name:
        folder = Path(name)
        for part in ("local", "remote"):
            (folder / part).mkdir()
        here, skipped = [], None
        there: list[Row] = []
        if not parts or "remote" in parts:
            try:
                there = shown(remote.measure(folder / "remote"))
            except Absent as why:
                skipped = str(why)
                print(f"\nSKIPPED: the shared file system: {skipped}")
        if not parts or "local" in parts:
            here = shown(local.measure(folder / "local"))
        if not parts:
            docs = report.ROOT / "docs"
            (docs / "benchmarks.md").write_text(report.page(here, there, skipped, file_system(folder)))
            readme = report.ROOT / "README.md"
            readme.write_text(report.summary(readme.read_text(), here, there))
            (docs / "benchmarks.svg").write_text(report.chart([*there, *here]))


if __name__ == "__main__":
    main(sys.argv[1:])
