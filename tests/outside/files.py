"""Makes every database that a process opens by `sqlite3.connect` a file: Seawall's, or a plain one.

`:memory:` too: CPython's suite uses little else. And what removes a database's file removes its folder as well.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

ENGINE = os.environ["OUTSIDE_ENGINE"]

_connect: Callable[..., sqlite3.Connection] = sqlite3.connect
_folder = Path(tempfile.mkdtemp(prefix="outside-"))
_count = 0


def _vfs(uri: str) -> str:
    if ENGINE != "seawall":
        return uri
    return f"{uri}{'&' if '?' in uri else '?'}vfs=seawall"


def _placed(database: Any, is_uri: bool) -> str:
    global _count
    if is_uri and os.fsdecode(database).startswith("file:"):
        return _vfs(os.fsdecode(database))
    if database == ":memory:":
        _count += 1
        database = _folder / str(_count)
    return _vfs(f"file:{quote(os.fsencode(database))}")


def connect(database: Any, *arguments: Any, uri: bool = False, **options: Any) -> sqlite3.Connection:
    if not isinstance(database, (str, bytes, os.PathLike)) or database == "" or len(arguments) > 6:
        return _connect(database, *arguments, **options)
    return _connect(_placed(database, uri), *arguments, uri=True, **options)


def remove_folder(path: str) -> None:
    shutil.rmtree(f"{os.fsdecode(path)}-seawall", ignore_errors=True)


if ENGINE == "seawall":
    import seawall

    seawall.register()
sqlite3.connect = connect  # type: ignore[assignment]
sqlite3.dbapi2.connect = connect  # type: ignore[assignment]
atexit.register(shutil.rmtree, _folder, ignore_errors=True)
