"""`make bench`: Seawall beside stock SQLite and django-sqlite-efs; writes docs/benchmarks.md and its pictures.

With arguments (`local`, `remote`, `seed`), only those parts, and only printed.
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
import seed
from figures import Row, number, spread, times
from slowfs import Absent


def shown(rows: Iterable[Row]) -> list[Row]:
    """The rows, each printed as soon as it is there."""
    done = []
    for row in rows:
        print(f"\n{row.title}, {row.unit}")
        for peer, values in row.values.items():
            print(f"  {peer:32} {spread(values, number):36} {row.notes.get(peer, '')}")
        ratios = row.ratios()
        goal = f" (goal {times(row.goal)})" if row.goal else ""
        print(f"  {'ratio':32} {spread(ratios, times)}{goal}", flush=True)
        done.append(row)
    return done


def file_system(folder: Path) -> str:
    """The kind of file system that the local figures are from."""
    path = folder / "probe.sqlite3"
    seawall.connect(path).execute("PRAGMA seawall_version")
    return seawall.status(path).file_system


def main(parts: list[str]) -> None:
    """Measure, and write the page."""
    build = report.ROOT / "build"
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=os.environ.get("SEAWALL_BENCH_DIR", build)) as name:
        folder = Path(name)
        rows: dict[str, list[Row]] = {}
        skipped: dict[str, str] = {}
        # The shared file system first, before other databases are open.
        for part, measure in {"remote": remote.measure, "seed": seed.measure, "local": local.measure}.items():
            (folder / part).mkdir()
            rows[part] = []
            if not parts or part in parts:
                try:
                    rows[part] = shown(measure(folder / part))
                except Absent as why:
                    skipped[part] = str(why)
                    print(f"\nSKIPPED: {part}: {why}")
        if not parts:
            write(rows, skipped, file_system(folder))


def write(rows: dict[str, list[Row]], skipped: dict[str, str], file_system: str) -> None:
    """The page and the charts."""
    here, there, beside_seed = rows["local"], rows["remote"], rows["seed"]
    docs = report.ROOT / "docs"
    (docs / "benchmarks.md").write_text(report.page(here, there, beside_seed, skipped, file_system))
    (docs / "benchmarks.svg").write_text(report.chart([*there, *here]))
    if beside_seed:
        (docs / "benchmarks-django-sqlite-efs.svg").write_text(report.chart(beside_seed))


if __name__ == "__main__":
    main(sys.argv[1:])
