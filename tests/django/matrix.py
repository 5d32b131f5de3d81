"""Run our own tests with every Django that Seawall supports, on every CPython of this machine that it supports.

    python tests/django/matrix.py [--django 6.1] [--python 3.13] WHEEL [PYTEST OPTION ...]

There is one wheel for all of them (abi3). Each combination has an environment of its own in `build/matrix`. What cannot
be run is printed, with the reason.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

from interpreters import PYTHONS_OF, find

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "build" / "matrix"
TESTS = ("tests/python", "tests/django")

# What the tests import; what else they want they are skipped without.
NEEDED = """
    pytest boto3 gunicorn tblib pysqlite3-binary
    pytest-django pytest-xdist django-dbbackup dj-database-url django-environ
""".split()  # noqa: SIM905


def main() -> int:
    """Run what the command line asks for; 1 if anything failed, or nothing was run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--django", choices=PYTHONS_OF, action="append")
    parser.add_argument("--python", action="append")
    args, options = parser.parse_known_args()
    passed, failed = 0, 0
    for django in args.django or PYTHONS_OF:
        for number in PYTHONS_OF[django]:
            if args.python and number not in args.python:
                continue
            if (python := find(number)) is None:
                print(f"SKIPPED: Django {django} on CPython {number}: no such CPython on this machine", flush=True)
            elif run(django, number, python, args.wheel, options):
                passed += 1
            else:
                failed += 1
    print(f"{passed} combinations passed, {failed} failed")
    return 1 if failed or not passed else 0


def run(django: str, number: str, python: Path, wheel: Path, options: list[str]) -> bool:
    """Run the tests of one combination; whether they passed."""
    environment = CACHE / f"django{django}-python{number}"
    interpreter = environment / "bin" / "python"
    log = environment.with_suffix(f"{environment.suffix}.log")
    subprocess.run([python, "-m", "venv", "--clear", environment], check=True)
    pip: list[str | Path] = [interpreter, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    subprocess.run([*pip, f"django=={django}.*", *NEEDED, wheel.resolve()], check=True)
    with log.open("w") as output:
        # With -P nothing of this folder is imported: the wheel is what is tested.
        ended = subprocess.run(
            [interpreter, "-P", "-m", "pytest", *options, *TESTS], cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
        )
    said = log.read_text(errors="replace")
    print(f"{versions(interpreter)}: {said.splitlines()[-1]} ({log})", flush=True)
    for skipped in re.findall(r"^SKIPPED .*$", said, re.MULTILINE):
        print(f"    {skipped}")
    if ended.returncode:
        print("\n".join(re.findall(r"^(?:FAILED|ERROR) .*$|^E   .*$", said, re.MULTILINE)))
    return ended.returncode == 0


def versions(interpreter: Path) -> str:
    """What is tested, exactly."""
    ask = (
        "import django, platform, seawall, sqlite3; "
        "print(f'Django {django.get_version()}, CPython {platform.python_version()}, SQLite {sqlite3.sqlite_version}')"
    )
    return subprocess.run([interpreter, "-c", ask], capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
