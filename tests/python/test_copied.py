"""NAME and NAME-seawall were copied together: the copy can be read, is never written, and its original goes on."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import seawall
from tree import below

from .conftest import Connect, one, rows


def everything(name: Path) -> dict[Path, tuple[object, ...]]:
    """NAME and all that lies in its folder: what it is, when it was changed, and what it has."""

    def look(path: Path) -> tuple[object, ...]:
        content = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else None
        return path.lstat().st_mtime_ns, path.lstat().st_mode, content

    folder = Path(f"{name}-seawall")
    return {path: look(path) for path in [name, folder, *below(folder)]}


@pytest.fixture
def copied(connect: Connect, db: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of a database with one row; nothing in its folder changes."""
    original = connect()
    original.execute("CREATE TABLE t (x)")
    original.execute("INSERT INTO t VALUES ('precious')")
    target = tmp_path / "copied"
    target.mkdir()
    for path in (db, Path(f"{db}-seawall")):
        subprocess.run(["cp", "-r", path, target], check=True)
    original.execute("INSERT INTO t VALUES ('later')")
    before = everything(target / db.name)
    yield target / db.name
    assert everything(target / db.name) == before, "a reader writes nothing"
    assert rows(connect(), "SELECT x FROM t") == [("precious",), ("later",)]


def test_a_copy_is_read_as_the_version_that_it_has(connect: Connect, copied: Path, tmp_path: Path) -> None:
    reader = connect(f"file:{copied}?mode=ro")
    assert rows(reader, "SELECT x FROM t") == [("precious",)]
    reader.execute("BEGIN IMMEDIATE")
    assert one(reader, "PRAGMA integrity_check") == "ok"
    reader.execute("COMMIT")
    assert "this folder is a copy" in one(reader, "PRAGMA seawall_status")
    assert seawall.status(copied).is_copy
    assert not seawall.status(tmp_path / "db.sqlite3").is_copy
    seawall.copy(copied, tmp_path / "plain.sqlite3")
    assert rows(sqlite3.connect(tmp_path / "plain.sqlite3"), "SELECT x FROM t") == [("precious",)]


def test_a_copy_is_not_written(connect: Connect, copied: Path) -> None:
    for mode in ("rw", "rwc"):
        with pytest.raises(seawall.CannotOpen, match="this folder is a copy"):
            connect(f"file:{copied}?mode={mode}")
    reader = connect(f"file:{copied}?mode=ro")
    for statement in ("INSERT INTO t VALUES (1)", "CREATE TABLE u (x)", "VACUUM"):
        with pytest.raises(seawall.CannotOpen, match="attempt to write a readonly database: this folder is a copy"):
            reader.execute(statement)
    # That this process reads it does not let another connection of the process write.
    with pytest.raises(seawall.CannotOpen, match="this folder is a copy"):
        connect(copied)
    main = connect(":memory:")
    main.execute("ATTACH ? AS copied", (f"file:{copied}?vfs=seawall&mode=ro",))
    assert rows(main, "SELECT x FROM copied.t") == [("precious",)]
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        main.execute("INSERT INTO copied.t VALUES (1)")
    assert rows(reader, "SELECT x FROM t") == [("precious",)]


def test_the_doctor_says_that_it_is_a_copy(copied: Path) -> None:
    doctor = subprocess.run(
        [sys.executable, "-m", "seawall", "doctor", copied], capture_output=True, text=True, check=False
    ).stdout
    assert "is a copy of the database's: version 2 can be read" in doctor, doctor


def test_a_copy_without_all_of_its_files_says_so(connect: Connect, copied: Path, tmp_path: Path) -> None:
    half = tmp_path / "half"
    shutil.copytree(copied.parent, half, symlinks=True)
    for segment in Path(f"{half / copied.name}-seawall/segments").iterdir():
        segment.unlink()
    with pytest.raises(seawall.CannotOpen, match=r"not all that the head in fs: names is in it.*Read the original"):
        connect(f"file:{half / copied.name}?mode=ro")
    with pytest.raises(seawall.CannotOpen, match="this folder is a copy"):
        seawall.copy(half / copied.name, tmp_path / "plain.sqlite3")
