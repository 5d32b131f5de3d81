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
from pathlib import Path

from . import fetch, programs, python_suites
from .compare import ENGINES, Ended, Suite, explain, judge, table

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


def main() -> int:
    """Run what the command line asks for; 1 if anything differs without a reason."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of {', '.join(SUITES)}")
    asked = parser.parse_args().suites or list(SUITES)
    unknown = sorted(set(asked) - SUITES.keys())
    if unknown:
        parser.error(f"there is no suite {', '.join(unknown)}: choose from {', '.join(SUITES)}")
    clean = [run(SUITES[name]) for name in asked]
    return 0 if all(clean) else 1


def run(suite: Suite) -> bool:
    """One suite on both engines; whether all that differs has its reason."""
    outcomes, seconds = {}, {}
    fetch.BUILD.mkdir(parents=True, exist_ok=True)
    try:
        suite.prepare()
        for engine in ENGINES:
            with tempfile.TemporaryDirectory(prefix="outside-") as folder:
                started = time.monotonic()
                outcomes[engine] = suite.run(engine, Path(folder))
                seconds[engine] = time.monotonic() - started
    except (fetch.Absent, Ended) as error:
        print(f"{suite.name}: NOT RUN: {error}", flush=True)
        return False
    verdict = judge(suite, outcomes["stock"], outcomes["seawall"])
    print(table(suite, outcomes, seconds))
    print(explain(verdict, outcomes["stock"], outcomes["seawall"]), flush=True)
    return verdict.clean


if __name__ == "__main__":
    sys.exit(main())
