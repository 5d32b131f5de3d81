"""Run Django's own test suite against Seawall and against stock SQLite, and compare.

    python tests/django/suite.py [--django 5.2] [--engine both|seawall|stock] [LABEL ...]

It fails only if something fails with Seawall that passes with stock SQLite. The suites are those of the source
distributions of Django 5.2 and 6.1, which pip brings once into `build/django`, with what their tests import. Each is
run by a Python that it supports, with the Seawall of this tree. Both engines keep every test database in a file, run by
`--parallel=2`. Stock SQLite's workers always fork: with databases in files it cannot spawn any. What does not apply to
Seawall is left out by `seawall.django.features`, as any runner of this suite would.
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

from interpreters import PYTHONS_OF, find

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CACHE = ROOT / "build" / "django"
DJANGOS = ("5.2", "6.1")
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
    """The result of one engine's run."""

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
    """Run the suites of the command line. Return 1 if Seawall fails where stock SQLite passes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("labels", nargs="*", default=LABELS, metavar="LABEL")
    parser.add_argument("--django", choices=DJANGOS, action="append")
    parser.add_argument("--engine", choices=["both", *ENGINES], default="both")
    parser.add_argument("--parallel", type=int, default=2)
    parser.add_argument("--start-method", choices=["fork", "spawn", "forkserver"], default="fork")
    args = parser.parse_args()
    CACHE.mkdir(parents=True, exist_ok=True)
    failed = 0
    for version in args.django or DJANGOS:
        suite = Suite.fetch(version)
        if suite is None:
            print(f"SKIPPED: Django {version}'s suite: no CPython {' or '.join(PYTHONS_OF[version])} on this machine")
        else:
            failed |= compare(suite, args)
    return failed


def compare(suite: Suite, args: argparse.Namespace) -> int:
    """Run a suite with the given engines. Return 1 if Seawall fails where stock SQLite passes."""
    print(f"{suite.source.name}, by {suite.python}", flush=True)
    engines = list(ENGINES) if args.engine == "both" else [args.engine]
    outcomes = {}
    for engine in engines:
        start_method = args.start_method if engine == "seawall" else "fork"
        outcome = run(engine, args.labels, args.parallel, start_method, suite)
        if outcome is None:
            return 1
        outcomes[engine] = outcome
        print(outcome, flush=True)
    return report(outcomes)


@dataclass(frozen=True)
class Suite:
    """One Django's suite, and the Python that runs it: with what the suite imports, and this tree's Seawall."""

    python: Path
    source: Path

    @classmethod
    def fetch(cls, version: str) -> Suite | None:
        """Bring it, for a Python that it supports; None if there is no such Python."""
        for number in reversed(PYTHONS_OF[version]):
            if python := find(number):
                return cls(fetch_environment(number, python), fetch_source(version, python))
        return None


def fetch_source(version: str, python: Path) -> Path:
    """Django's source distribution, unpacked; brought by pip the first time."""
    pattern = f"[dD]jango-{version}*"
    if not list(CACHE.glob(f"{pattern}/tests/runtests.py")):
        print(f"fetching the source of Django {version} ...", flush=True)
        options = ["--no-binary", "django", "--no-deps", "--dest", str(CACHE)]
        pip(python, "download", *options, f"Django=={version}.*")
        (archive,) = CACHE.glob(f"{pattern}.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(CACHE, filter="data")
    (runtests,) = CACHE.glob(f"{pattern}/tests/runtests.py")
    return runtests.parents[1]


def fetch_environment(number: str, python: Path) -> Path:
    """The Python of an environment for the suite. (Some of its tests run others, with a PYTHONPATH of their own.)"""
    environment = CACHE / f"python{number}"
    if not environment.exists():
        print(f"fetching what the suite imports, for CPython {number} ...", flush=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            made = Path(folder, "made")
            subprocess.run([str(python), "-m", "venv", str(made)], check=True)
            pip(made / "bin" / "python", "install", *NEEDED)
            Path(made, "lib", f"python{number}", "site-packages", "seawall.pth").write_text(f"{ROOT / 'python'}\n")
            made.rename(environment)
    return environment / "bin" / "python"


def pip(python: Path, *arguments: str) -> None:
    """Run an interpreter's pip quietly."""
    command = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*command, *arguments], check=True)


def run(engine: str, labels: list[str], parallel: int, start_method: str, suite: Suite) -> Outcome | None:
    """One run of the suite. If it does not end properly, print why and return None."""
    log = CACHE / f"{suite.source.name}-{engine}.log"
    runtests = suite.source / "tests" / "runtests.py"
    options = ["--settings=suite_settings", f"--parallel={parallel}", "--noinput"]
    with tempfile.TemporaryDirectory(prefix="suite-") as folder:
        outcome = Path(folder) / "outcome.json"
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, [suite.source, HERE])),
            "SUITE_ENGINE": ENGINES[engine],
            "SUITE_FOLDER": folder,
            "SUITE_OUTCOME": str(outcome),
            "SUITE_START_METHOD": start_method,
        }
        started = time.monotonic()
        with log.open("w") as output:
            ended = subprocess.run(
                [str(suite.python), str(runtests), *options, *labels],
                cwd=runtests.parent,
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
    """Print the differences between the engines. Return 1 if Seawall fails where stock SQLite passes."""
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
