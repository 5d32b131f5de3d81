"""Run apsw's own tests in apsw's own SQLite, whose default VFS is Seawall's where OUTSIDE_ENGINE says so."""

import importlib
import os
import shutil
import unittest
from pathlib import Path
from typing import Any

import apsw
import seawall

from outside import default
from outside.record import run_unittests

tests: Any = importlib.import_module("apsw.tests.__main__")
_deltempfiles = tests.deltempfiles


def deltempfiles() -> None:
    """Remove databases as their user would: the file, and the folder."""
    _deltempfiles()
    for folder in Path().glob("*-seawall"):
        shutil.rmtree(folder)


def make_default() -> None:
    """Before each test: some of them shut SQLite down, which forgets its extensions and its default VFS."""
    if apsw.vfs_names()[0] != "seawall":
        connection = apsw.Connection(":memory:")
        connection.enable_load_extension(True)
        connection.load_extension(str(seawall.extension_path()))
        connection.close()
        apsw.set_default_vfs("seawall")


def main() -> None:
    """Every class that the suite's main module has."""
    tests.setup()
    found = unittest.defaultTestLoader.loadTestsFromModule(tests)
    if default.IS_SEAWALL:
        tests.deltempfiles = deltempfiles
        run_unittests(found, before=make_default)
    else:
        run_unittests(found)
    default.check(apsw.Connection)


if __name__ == "__main__":
    main()
    os._exit(0)
