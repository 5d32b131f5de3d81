"""Run CPython's own tests of `sqlite3`; `site/sitecustomize.py` has made every database a file."""

import os
import unittest
from pathlib import Path
from typing import Any

import test.support.os_helper as os_helper

from outside.files import remove_folder
from outside.record import run_unittests

_unlink = os_helper.unlink


def unlink(path: Any) -> None:
    """Remove a database as its user would: its file, and its folder."""
    _unlink(path)
    remove_folder(path)


def main() -> None:
    """The modules of test.test_sqlite3, as its own loader has them."""
    os_helper.unlink = unlink
    import test.test_sqlite3 as tests

    folder = Path(next(iter(tests.__path__)))
    names = [f"test.test_sqlite3.{path.stem}" for path in sorted(folder.glob("test_*.py"))]
    run_unittests(unittest.defaultTestLoader.loadTestsFromNames(names))


if __name__ == "__main__":
    main()
    os._exit(0)
