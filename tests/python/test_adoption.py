"""A plain SQLite file is adopted where it lies; afterwards stock SQLite reads it and cannot write it."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import seawall

from .conftest import Connect, intact, one, rows, version


def make_plain(path: Path, *pragmas: str) -> list[tuple[int, bytes]]:
    """Make a plain database with a few hundred rows, and return them."""
    plain = sqlite3.connect(path, isolation_level=None)
    for pragma in pragmas:
        plain.execute(f"PRAGMA {pragma}").fetchall()
    plain.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, value)")
    plain.execute("BEGIN")
    plain.executemany("INSERT INTO t VALUES (?, ?)", [(n, b"%d" % n * 50) for n in range(500)])
    plain.execute("COMMIT")
    made = rows(plain, "SELECT * FROM t")
    plain.close()
    return made


@pytest.mark.parametrize("page_size", [512, 4096, 65536])
def test_a_plain_database(connect: Connect, db: Path, page_size: int) -> None:
    content = make_plain(db, f"page_size={page_size}")
    connection = connect()
    assert version(connection) == 0
    assert rows(connection, "SELECT * FROM t") == content
    assert one(connection, "PRAGMA page_size") == page_size
    assert intact(connection)
    connection.execute("DELETE FROM t WHERE id >= 10")
    assert one(connect(), "SELECT count(*) FROM t") == 10


CRASH = """
import os, sqlite3, sys
plain = sqlite3.connect(sys.argv[1], isolation_level=None)
plain.execute("PRAGMA cache_size=5")
plain.execute("BEGIN IMMEDIATE")
plain.execute("UPDATE t SET value = randomblob(4000)")
os.kill(os.getpid(), 9)
"""


def test_with_a_hot_journal(connect: Connect, db: Path) -> None:
    content = make_plain(db)
    subprocess.run([sys.executable, "-c", CRASH, str(db)], check=False)
    assert Path(f"{db}-journal").stat().st_size > 0
    connection = connect()
    assert rows(connection, "SELECT * FROM t") == content
    assert intact(connection)
    assert not Path(f"{db}-journal").exists()


def test_in_wal_mode(connect: Connect, db: Path, tmp_path: Path) -> None:
    make_plain(db, "journal_mode=WAL")
    # As a crash leaves it: with a WAL that has commits of its own.
    plain = sqlite3.connect(db, isolation_level=None)
    plain.execute("PRAGMA wal_autocheckpoint=0")
    plain.execute("UPDATE t SET value = 'in the WAL' WHERE id < 100")
    crashed = tmp_path / "crashed.sqlite3"
    for suffix in ("", "-wal"):
        shutil.copyfile(f"{db}{suffix}", f"{crashed}{suffix}")
    connection = connect(crashed)
    assert one(connection, "SELECT count(*) FROM t WHERE value = 'in the WAL'") == 100
    assert intact(connection)
    assert not Path(f"{crashed}-wal").exists()
    plain.close()


@pytest.mark.parametrize("journal_mode", ["DELETE", "WAL"])
def test_in_use_by_stock_sqlite(connect: Connect, db: Path, journal_mode: str) -> None:
    content = make_plain(db, f"journal_mode={journal_mode}")
    plain = sqlite3.connect(db, isolation_level=None)
    plain.execute("BEGIN IMMEDIATE")
    connection = connect(timeout=0.3)
    with pytest.raises(seawall.DatabaseBusy, match="stock SQLite"):
        rows(connection, "SELECT * FROM t")
    plain.execute("INSERT INTO t VALUES (1000, 'x')")
    plain.execute("COMMIT")
    plain.close()
    assert rows(connection, "SELECT * FROM t") == [*content, (1000, "x")]


def test_stock_sqlite_reads_and_is_refused(connect: Connect, db: Path) -> None:
    content = make_plain(db)
    before = sqlite3.connect(db, isolation_level=None)
    assert rows(before, "SELECT * FROM t") == content
    connection = connect()
    connection.execute("UPDATE t SET value = 'new'")
    after = sqlite3.connect(db, isolation_level=None)
    for plain in (before, after):
        assert rows(plain, "SELECT * FROM t") == content
        for statement in ("INSERT INTO t VALUES (1000, 1)", "CREATE TABLE u (a)", "PRAGMA user_version=3", "VACUUM"):
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                plain.execute(statement)
        assert rows(plain, "PRAGMA integrity_check") == [("ok",)]
    assert rows(connection, "SELECT DISTINCT value FROM t") == [("new",)]


def test_an_empty_file_is_an_empty_database(connect: Connect, db: Path) -> None:
    db.touch()
    connection = connect()
    assert rows(connection, "SELECT * FROM sqlite_schema") == []
    connection.execute("CREATE TABLE t (a)")
    assert rows(connect(), "SELECT name FROM sqlite_schema") == [("t",)]
    plain = sqlite3.connect(db)
    assert intact(plain)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        plain.execute("CREATE TABLE u (a)")


ADOPT = """
import sys, seawall
connection = seawall.connect(sys.argv[1], isolation_level=None, timeout=30)
connection.execute("INSERT INTO t (value) VALUES (?)", (sys.argv[2],))
print(seawall.status(sys.argv[1]).database)
"""


def test_many_adopt_at_once(connect: Connect, db: Path) -> None:
    content = make_plain(db)
    adopters = [
        subprocess.Popen([sys.executable, "-c", ADOPT, str(db), f"adopter {n}"], stdout=subprocess.PIPE, text=True)
        for n in range(6)
    ]
    ids = {adopter.communicate(timeout=60)[0] for adopter in adopters}
    assert [adopter.returncode for adopter in adopters] == [0] * 6
    assert len(ids) == 1
    connection = connect()
    assert one(connection, "SELECT count(*) FROM t") == len(content) + 6
    assert version(connection) == 6
    assert intact(connection)


def test_copies_and_removal(connect: Connect, db: Path, tmp_path: Path) -> None:
    connection = connect()
    connection.execute("CREATE TABLE t (a)")
    connection.execute("INSERT INTO t VALUES (1)")
    copy = tmp_path / "copy.sqlite3"
    seawall.copy(db, copy)
    with pytest.raises(seawall.SeawallError):
        seawall.copy(db, copy)
    plain = sqlite3.connect(copy)
    plain.execute("INSERT INTO t VALUES (2)")
    plain.commit()
    plain.close()
    adopted = connect(copy)
    assert rows(adopted, "SELECT a FROM t") == [(1,), (2,)]
    assert rows(connection, "SELECT a FROM t") == [(1,)]
    adopted.close()
    seawall.remove(copy)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["db.sqlite3", "db.sqlite3-seawall"]
