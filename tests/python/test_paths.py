"""Paths: every function here accepts what `sqlite3.connect` accepts as a path."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import seawall


class Of:
    """Some other library's path."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return self.path


@pytest.mark.parametrize("kind", [str, os.fsencode, Path, Of])
def test_every_kind_of_path(tmp_path: Path, kind: Callable[[str], Any]) -> None:
    name, backup = tmp_path / "a b.sqlite3", tmp_path / "backup.sqlite3"
    connection = seawall.connect(kind(str(name)), legacy_names=[kind("/mnt/one"), kind("/mnt/two")])
    connection.execute("CREATE TABLE t (a)")
    assert (
        seawall.uri(kind("/srv/a b"), legacy_names=[kind("/mnt/one"), kind("/mnt/two")])
        == "file:/srv/a%20b?vfs=seawall&legacy_names=%2Fmnt%2Fone%0A%2Fmnt%2Ftwo"
    )
    assert seawall.status(kind(str(name))).name == str(name)
    assert seawall.counts(kind(str(name))).appends >= 1
    seawall.copy(kind(str(name)), kind(str(backup)))
    assert backup.stat().st_size > 0
    connection.close()
    seawall.remove(kind(str(name)))
    assert list(tmp_path.iterdir()) == [backup]


@pytest.mark.parametrize("kind", [str, os.fsencode, Of])
def test_every_kind_of_name_for_a_database_in_memory(kind: Callable[[str], Any]) -> None:
    connection = seawall.connect(kind(":memory:"))
    assert connection.execute("SELECT 1").fetchall() == [(1,)]
    connection.close()


def test_what_tells_a_path_tells_it_as_text() -> None:
    """As `sqlite3.Connection.load_extension` and apsw want it."""
    assert type(seawall.extension_path()) is str
