"""In a suite's own process: the engine of `sqlite3`, by its default VFS: the suite's own names lead to it.

A plugin for pytest, too (`-p outside.default`).
"""

from __future__ import annotations

import ctypes
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from outside.compare import THE_ENGINE
from outside.record import write

IS_SEAWALL = os.environ["OUTSIDE_ENGINE"] == "seawall"

_remove = os.remove


def _make_default() -> None:
    import seawall

    seawall.register()
    library = ctypes.CDLL(sys.modules["_sqlite3"].__file__)
    library.sqlite3_vfs_find.restype = ctypes.c_void_p
    if library.sqlite3_vfs_register(ctypes.c_void_p(library.sqlite3_vfs_find(b"seawall")), 1) != 0:
        raise RuntimeError("Seawall could not be made the default VFS")


def remove(path: Any, **options: Any) -> None:
    """Remove a file; a database of Seawall's is a file and a folder."""
    _remove(path, **options)
    shutil.rmtree(f"{os.fsdecode(path)}-seawall", ignore_errors=True)


def check(connect: Callable[[str], Any] = sqlite3.connect) -> None:
    """Record whether a plain name still leads to the engine, after all tests."""
    with tempfile.TemporaryDirectory() as folder:
        connection = connect(f"{folder}/check.db")
        connection.execute("CREATE TABLE t (a)")
        connection.close()
        is_right = Path(f"{folder}/check.db-seawall").is_dir() == IS_SEAWALL
    detail = "" if is_right else "plain names lead to another engine"
    write(test=THE_ENGINE, status="passed" if is_right else "failed", detail=detail)


def pytest_sessionfinish() -> None:
    check()


if IS_SEAWALL:
    _make_default()
    os.remove = os.unlink = remove
