"""Run Django's own test suite against Seawall and against stock SQLite, and compare.

    python tests/django/suite.py [--engine both|seawall|stock] [LABEL ...]

It fails only if something fails with Seawall that passes with stock SQLite. The suite is
that of Django's source distribution, which pip brings once into `build/django`, with what its
tests import. Both engines keep every test database in a file, run by `--parallel=2`. Stock
SQLite's workers always fork: with databases in files it cannot spawn any.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[1] / "build" / "django"
DJANGO = "Django==5.2.*"
ENGINES = {"stock": "django.db.backends.sqlite3", "seawall": "seawall.django"}

LABELS = """
    backends transactions transaction_hooks basic queries aggregation lookup ordering delete
    update bulk_create expressions get_or_create fixtures constraints indexes introspection
    inspectdb schema migrations model_fields select_for_update sessions_tests auth_tests
    admin_views test_utils test_runner dbshell
""".split()  # noqa: SIM905

# What the suite's modules import beyond Django's own requirements.
NEEDED = """
    asgiref sqlparse jinja2 PyYAML docutils argon2-cffi bcrypt Pillow numpy tzdata tblib aiosmtpd
""".split()  # noqa: SIM905


@dataclass(frozen=True)
class Outcome:
    """What one engine's run came to."""

    engine: str
    tests: int
    failed: dict[str, str]
    skipped: dict[str, str]
    expected_failures: list[str]
    seconds: float
    log: Path

    def __str__(self) -> str:
        return (
            f"{self.engine:8} {self.tests} tests in {self.seconds:.0f} s: "
            f"{len(self.failed)} failed, {len(self.skipped)} skipped, "
            f"{len(self.expected_failures)} expected failures ({self.log})"
        )


def main() -> int:
    """Run what the command line asks for; 1 if Seawall fails where stock SQLite passes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("labels", nargs="*", default=LABELS, metavar="LABEL")
    parser.add_argument("--engine", choices=["both", *ENGINES], default="both")
    parser.add_argument("--parallel", type=int, default=2)
    parser.add_argument("--start-method", choices=["fork", "spawn"], default="fork")
    args = parser.parse_args()

    source, needed = fetch_source(), fetch_needed()
    engines = list(ENGINES) if args.engine == "both" else [args.engine]
    outcomes = {}
    for engine in engines:
        start_method = args.start_method if engine == "seawall" else "fork"
        outcome = run(engine, args.labels, args.parallel, start_method, source, needed)
        if outcome is None:
            return 1
        outcomes[engine] = outcome
        print(outcome, flush=True)
    return report(outcomes)


def fetch_source() -> Path:
    """Django's source distribution, unpacked; brought by pip the first time."""
    if not list(CACHE.glob("[dD]jango-*/tests/runtests.py")):
        CACHE.mkdir(parents=True, exist_ok=True)
        print(f"fetching the source of {DJANGO} ...", flush=True)
        options = ["--no-binary", "django", "--no-deps", "--dest", str(CACHE)]
        pip("download", *options, DJANGO)
        (archive,) = CACHE.glob("[dD]jango-*.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(CACHE, filter="data")
    (runtests,) = CACHE.glob("[dD]jango-*/tests/runtests.py")
    return runtests.parents[1]


def fetch_needed() -> Path:
    """A folder with what the suite imports, kept out of the environment that runs it."""
    needed = CACHE / f"needed-{sys.version_info.major}.{sys.version_info.minor}"
    if not needed.exists():
        print("fetching what the suite imports ...", flush=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            pip("install", "--target", f"{folder}/needed", *NEEDED)
            Path(folder, "needed").rename(needed)
    return needed


def pip(*arguments: str) -> None:
    """Run this interpreter's pip quietly."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*command, *arguments], check=True)


def run(engine: str, labels: list[str], parallel: int, start_method: str, source: Path, needed: Path) -> Outcome | None:
    """One run of the suite; None, and said why, if it did not come to its end."""
    log = CACHE / f"{engine}.log"
    runtests = source / "tests" / "runtests.py"
    options = ["--settings=suite_settings", f"--parallel={parallel}", "--noinput"]
    with tempfile.TemporaryDirectory(prefix="suite-") as folder:
        outcome = Path(folder) / "outcome.json"
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(source), str(needed), str(HERE)]),
            "SUITE_ENGINE": ENGINES[engine],
            "SUITE_FOLDER": folder,
            "SUITE_OUTCOME": str(outcome),
            "SUITE_START_METHOD": start_method,
        }
        started = time.monotonic()
        with log.open("w") as output:
            ended = subprocess.run(
                [sys.executable, str(runtests), *options, *labels],
                cwd=source / "tests",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        seconds = time.monotonic() - started
        if not outcome.exists():
            last = "".join(log.read_text(errors="replace").splitlines(keepends=True)[-20:])
            print(f"{engine}: the suite stopped with exit code {ended.returncode} ({log}):\n{last}")
            return None
        return Outcome(engine=engine, seconds=seconds, log=log, **json.loads(outcome.read_text()))


def report(outcomes: dict[str, Outcome]) -> int:
    """Print what differs between the engines; 1 if Seawall fails where stock passes."""
    seawall, stock = outcomes.get("seawall"), outcomes.get("stock")
    if seawall is None:
        return 0
    known = stock.failed if stock else {}
    if stock:
        for test in sorted(seawall.skipped.keys() - stock.skipped.keys()):
            print(f"skipped with seawall only: {test}: {seawall.skipped[test]}")
        for test in sorted(stock.failed.keys() - seawall.failed.keys()):
            print(f"fails with stock only: {test}")
    worse = sorted(seawall.failed.keys() - known.keys())
    for test in worse:
        print(f"\nFAILS WITH SEAWALL: {test}\n{seawall.failed[test]}")
    against = "that passes with stock SQLite" if stock else "(stock SQLite was not run)"
    print(f"\n{len(worse)} failed with seawall {against}")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
