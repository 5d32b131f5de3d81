"""Run CPython's own tests of `sqlite3`; `site/sitecustomize.py` has made every database a file."""

import os
import unittest
from pathlib import Path

import test.test_sqlite3 as tests

from outside import default
from outside.record import run_unittests


def main() -> None:
    """Every module of test.test_sqlite3, as its own loader has them."""
    folder = Path(next(iter(tests.__path__)))
    names = [f"test.test_sqlite3.{path.stem}" for path in sorted(folder.glob("test_*.py"))]
    run_unittests(unittest.defaultTestLoader.loadTestsFromNames(names))
    default.check()


if __name__ == "__main__":
    main()
    os._exit(0)
