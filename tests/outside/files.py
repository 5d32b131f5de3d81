"""In every process of CPython's suite: `:memory:` is a file too, for the suite uses little else."""

from __future__ import annotations

import atexit
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import outside.default  # noqa: F401

_connect: Callable[..., sqlite3.Connection] = sqlite3.connect
_folder = Path(tempfile.mkdtemp(prefix="outside-"))
_count = 0


def connect(database: Any, *arguments: Any, **options: Any) -> sqlite3.Connection:
    """As `sqlite3.connect`, with a new file for `:memory:`."""
    global _count
    if database == ":memory:":
        _count += 1
        database = str(_folder / str(_count))
    return _connect(database, *arguments, **options)


sqlite3.connect = connect  # type: ignore[assignment]
sqlite3.dbapi2.connect = connect  # type: ignore[assignment]
atexit.register(shutil.rmtree, _folder, ignore_errors=True)
