"""Run other projects' suites on stock SQLite and on Seawall, and compare test by test.

    PYTHONPATH=tests python -m outside.run [SUITE ...]

It fails if Seawall fails where stock SQLite does not, but for what a suite's list says is by design; and if an entry of
such a list is no longer needed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from . import fetch, programs, python_suites
from .compare import ENGINES, Ended, Run, Suite, judge

SUITES = {
    suite.name: suite
    for suite in [
        programs.MPTEST,
        programs.SPEEDTEST1,
        python_suites.SQLALCHEMY,
        python_suites.APSW,
        python_suites.CPYTHON,
    ]
}

FIGURES = fetch.ROOT / "docs" / "compatibility.md"
BEGIN, END = "<!-- written by `make test-outside`: begin -->", "<!-- end -->"


def main() -> int:
    """Run what the command line asks for; 1 if anything differs without a reason."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of {', '.join(SUITES)}")
    asked = parser.parse_args().suites or list(SUITES)
    unknown = sorted(set(asked) - SUITES.keys())
    if unknown:
        parser.error(f"there is no suite {', '.join(unknown)}: choose from {', '.join(SUITES)}")
    fetch.BUILD.mkdir(parents=True, exist_ok=True)
    compared = [compare(SUITES[name]) for name in asked]
    runs = [run for run in compared if run]
    if len(runs) == len(SUITES):
        write_figures(runs)
    return 0 if len(runs) == len(asked) and all(run.verdict.clean for run in runs) else 1


def compare(suite: Suite) -> Run | None:
    """Run one suite on both engines, and print its progress. Return None if it could not be run."""
    outcomes, seconds = {}, {}
    try:
        suite.prepare()
        for engine in ENGINES:
            with tempfile.TemporaryDirectory(prefix="outside-") as folder:
                started = time.monotonic()
                outcomes[engine] = suite.run(engine, Path(folder))
                seconds[engine] = time.monotonic() - started
    except (fetch.Absent, Ended) as error:
        print(f"{suite.name}: NOT RUN: {error}", flush=True)
        return None
    run = Run(suite, outcomes, seconds, judge(suite, outcomes["stock"], outcomes["seawall"]))
    print(run, flush=True)
    return run


def write_figures(runs: Sequence[Run]) -> None:
    """The figures of a run of all suites, into docs/compatibility.md."""
    before, _, rest = FIGURES.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    lines = [
        "| suite | stock SQLite | Seawall | by design |",
        "| --- | --- | --- | --- |",
        *(run.row() for run in runs),
    ]
    FIGURES.write_text("\n".join([before + BEGIN, "", *lines, "", END + after]))


if __name__ == "__main__":
    sys.exit(main())
