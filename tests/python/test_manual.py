"""What docs/questions.md tells people to do, done."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import seawall


def rows(path: Path) -> list[tuple[int]]:
    connection = seawall.connect(path)
    try:
        return connection.execute("SELECT x FROM t ORDER BY x").fetchall()
    finally:
        connection.close()


def test_back_up_and_restore(tmp_path: Path) -> None:
    name, backup = tmp_path / "db.sqlite3", tmp_path / "backup.sqlite3"
    with seawall.connect(name) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.execute("INSERT INTO t VALUES (1)")
    seawall.copy(name, backup)
    with connection:
        connection.execute("INSERT INTO t VALUES (2)")
    connection.close()

    seawall.copy(name, tmp_path / "before-the-restore.sqlite3")
    seawall.remove(name)
    shutil.copyfile(backup, name)
    assert rows(name) == [(1,)]
    with sqlite3.connect(tmp_path / "before-the-restore.sqlite3") as plain:
        assert plain.execute("SELECT x FROM t ORDER BY x").fetchall() == [(1,), (2,)]
    plain.close()


def test_a_deleted_table_comes_back_from_a_backup(tmp_path: Path) -> None:
    name, backup = tmp_path / "db.sqlite3", tmp_path / "backup.sqlite3"
    with seawall.connect(name) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.execute("INSERT INTO t VALUES (1)")
    seawall.copy(name, backup)
    connection.execute("DROP TABLE t")
    connection.execute("ATTACH ? AS backup", (f"file:{backup}?vfs=unix&mode=ro",))
    with connection:
        connection.execute("CREATE TABLE t (x)")
        connection.execute("INSERT INTO t SELECT x FROM backup.t")
    connection.close()
    assert rows(name) == [(1,)]


def test_the_page_names_errors_that_exist() -> None:
    page = Path(__file__).parents[2] / "docs" / "questions.md"
    section = page.read_text().partition("## What do the errors mean, and what should I do?")[2].partition("\n## ")[0]
    named = [line.split("`")[1] for line in section.splitlines() if line.startswith("| `")]
    assert len(named) >= 5
    for error in named:
        assert issubclass(getattr(seawall, error), sqlite3.Error), error
