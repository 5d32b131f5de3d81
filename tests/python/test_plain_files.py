"""Plain SQLite files that a connection of Seawall's attaches: they are stock SQLite's, journal and all."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import seawall

from .conftest import Connect, intact, one, rows


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A plain file of a thousand rows."""
    path = tmp_path / "plain.sqlite3"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE p (id INTEGER PRIMARY KEY, value)")
    connection.executemany("INSERT INTO p VALUES (?, ?)", [(n, "old") for n in range(1000)])
    connection.commit()
    connection.close()
    return path


CRASH = """
import os, sqlite3, sys, seawall
connection = {connect}
connection.execute("PRAGMA plain.cache_size=5")
connection.execute("BEGIN")
connection.execute("UPDATE plain.p SET value = randomblob(4000)")
os.kill(os.getpid(), 9)
"""
BY_STOCK = 'sqlite3.connect(":memory:", isolation_level=None); connection.execute("ATTACH ? AS plain", (sys.argv[1],))'
BY_SEAWALL = (
    "seawall.connect(sys.argv[2], isolation_level=None);"
    ' connection.execute("CREATE TABLE t (a)"); connection.execute("ATTACH ? AS plain", (sys.argv[1],))'
)


@pytest.mark.parametrize("crashed", [BY_STOCK, BY_SEAWALL], ids=["stock", "seawall"])
@pytest.mark.parametrize("healed_by", ["stock", "seawall"])
def test_a_hot_journal_is_rolled_back(
    connect: Connect, plain: Path, tmp_path: Path, crashed: str, healed_by: str
) -> None:
    script = CRASH.format(connect=crashed)
    died = subprocess.run([sys.executable, "-c", script, plain, tmp_path / "main.sqlite3"], check=False)
    assert died.returncode == -9
    assert Path(f"{plain}-journal").stat().st_size > 1000
    assert b"old" not in plain.read_bytes()[4096 * 2 : 4096 * 3]
    if healed_by == "stock":
        connection = sqlite3.connect(plain)
        schema = "main"
    else:
        connection = connect()
        connection.execute("ATTACH ? AS plain", (str(plain),))
        schema = "plain"
    assert rows(connection, f"SELECT value, count(*) FROM {schema}.p GROUP BY value") == [("old", 1000)]
    assert rows(connection, f"PRAGMA {schema}.integrity_check") == [("ok",)]
    assert not Path(f"{plain}-journal").exists()


def test_the_journal_lies_beside_it(connect: Connect, plain: Path) -> None:
    connection = connect()
    connection.execute("CREATE TABLE t (a)")
    connection.execute("ATTACH ? AS plain", (str(plain),))
    assert one(connection, "PRAGMA plain.journal_mode") == "delete"
    connection.execute("BEGIN")
    connection.execute("UPDATE plain.p SET value = 'new'")
    assert Path(f"{plain}-journal").exists()
    connection.execute("ROLLBACK")
    assert not Path(f"{plain}-journal").exists()
    assert one(connection, "SELECT DISTINCT value FROM plain.p") == "old"
    connection.execute("UPDATE plain.p SET value = 'new'")
    connection.execute("INSERT INTO t SELECT count(*) FROM plain.p WHERE value = 'new'")
    assert rows(connect(), "SELECT a FROM t") == [(1000,)]
    assert one(sqlite3.connect(plain), "SELECT DISTINCT value FROM p") == "new"


def test_a_file_in_wal_mode(connect: Connect, plain: Path, tmp_path: Path) -> None:
    stock = sqlite3.connect(plain, isolation_level=None)
    assert one(stock, "PRAGMA journal_mode=WAL") == "wal"
    stock.execute("PRAGMA wal_autocheckpoint=0")
    stock.execute("UPDATE p SET value = 'in the WAL'")
    crashed = tmp_path / "crashed.sqlite3"
    for suffix in ("", "-wal"):
        shutil.copyfile(f"{plain}{suffix}", f"{crashed}{suffix}")
    connection = connect()
    connection.execute("CREATE TABLE t (a)")
    for n, path in enumerate((plain, crashed)):
        connection.execute(f"ATTACH ? AS plain{n}", (str(path),))
        assert one(connection, f"SELECT DISTINCT value FROM plain{n}.p") == "in the WAL"
        connection.execute(f"INSERT INTO plain{n}.p VALUES (1000, 'ours')")
        assert one(connection, f"PRAGMA plain{n}.journal_mode") == "wal"
    # While the stock connection has it open, in the same WAL.
    assert one(stock, "SELECT value FROM p WHERE id = 1000") == "ours"
    stock.execute("INSERT INTO p VALUES (1001, 'stock')")
    assert one(connection, "SELECT value FROM plain0.p WHERE id = 1001") == "stock"
    stock.close()
    connection.execute("DETACH plain0")
    connection.execute("DETACH plain1")
    for path in (plain, crashed):
        assert not Path(f"{path}-wal").exists(), "the last connection moves the WAL into the file"
        assert intact(sqlite3.connect(path))


def test_plain_files_commit_together(connect: Connect, plain: Path, tmp_path: Path) -> None:
    """Two plain files, and main has no part in it: SQLite binds their journals together by a third one."""
    connection = connect()
    connection.execute("CREATE TABLE t (a)")
    connection.execute("ATTACH ? AS plain", (str(plain),))
    connection.execute("ATTACH ? AS other", (str(tmp_path / "other.sqlite3"),))
    connection.execute("CREATE TABLE other.o (a)")
    connection.execute("BEGIN")
    connection.execute("UPDATE plain.p SET value = 'new'")
    connection.execute("INSERT INTO other.o VALUES (1)")
    connection.execute("COMMIT")
    assert one(sqlite3.connect(plain), "SELECT DISTINCT value FROM p") == "new"
    assert rows(sqlite3.connect(tmp_path / "other.sqlite3"), "SELECT a FROM o") == [(1,)]
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["db.sqlite3", "db.sqlite3-seawall", "other.sqlite3", "plain.sqlite3"]


def test_one_transaction_still_writes_one_database(connect: Connect, plain: Path) -> None:
    connection = connect()
    connection.execute("CREATE TABLE t (a)")
    connection.execute("ATTACH ? AS plain", (str(plain),))
    connection.execute("BEGIN")
    connection.execute("INSERT INTO t VALUES (1)")
    connection.execute("UPDATE plain.p SET value = 'new'")
    with pytest.raises(sqlite3.OperationalError, match="may write one Seawall database and nothing beside it"):
        connection.execute("COMMIT")
    assert rows(connection, "SELECT * FROM t") == []
    assert one(connection, "SELECT DISTINCT value FROM plain.p") == "old"


def test_an_attached_database_of_seawalls_is_one(connect: Connect, tmp_path: Path) -> None:
    """Whether it is named by a path, or by a URI with the VFS or without."""
    other = tmp_path / "other.sqlite3"
    connect(other).execute("CREATE TABLE o (a)")
    connection = connect()
    for n, name in enumerate((f"{other}", f"file:{other}", seawall.uri(other))):
        connection.execute("ATTACH ? AS other", (name,))
        connection.execute("INSERT INTO other.o VALUES (?)", (n,))
        connection.execute("DETACH other")
    assert rows(connect(other), "SELECT a FROM o") == [(0,), (1,), (2,)]
    assert sqlite3.connect(other).execute("SELECT * FROM sqlite_schema").fetchall() == []


def test_an_attached_file_is_adopted_if_that_is_said(connect: Connect, plain: Path) -> None:
    connection = connect()
    connection.execute("ATTACH ? AS plain", (seawall.uri(plain),))
    connection.execute("DELETE FROM plain.p WHERE id > 0")
    assert Path(f"{plain}-seawall").exists()
    assert rows(connect(plain), "SELECT id FROM p") == [(0,)]
    assert one(sqlite3.connect(plain), "SELECT count(*) FROM p") == 1000


@pytest.mark.parametrize("name", ["file:{}?freshness=request", "file:{}?coordinator=fs:"])
def test_what_asks_for_seawall_by_half_is_refused(connect: Connect, plain: Path, tmp_path: Path, name: str) -> None:
    connection = connect()
    connection.execute("CREATE TABLE t (a)")
    for path in (plain, tmp_path / "absent.sqlite3"):
        with pytest.raises(sqlite3.OperationalError, match="Add vfs=seawall, or leave the parameters out"):
            connection.execute("ATTACH ? AS plain", (name.format(path),))
        assert not Path(f"{path}-seawall").exists()
    assert not (tmp_path / "absent.sqlite3").exists()
    connection.execute("INSERT INTO t VALUES (1)")


@pytest.mark.parametrize("parameter", ["immutable=1", "nolock=1", "unheard=of", "of=%ff", "psow=0", "cache=shared"])
def test_parameters_of_stock_sqlite(connect: Connect, plain: Path, tmp_path: Path, parameter: str) -> None:
    """A plain file is opened with what stock SQLite opens it with, and a database of Seawall's is not."""
    other = tmp_path / "other.sqlite3"
    connect(other).execute("CREATE TABLE o (a)")
    for connection in (connect(), connect(tmp_path / "main.sqlite3")):
        for _ in range(2):
            connection.execute("ATTACH ? AS plain", (f"file:{plain}?{parameter}",))
            assert one(connection, "SELECT count(*) FROM plain.p") == 1000
            assert one(connection, "PRAGMA plain.page_count") == one(sqlite3.connect(plain), "PRAGMA page_count")
            connection.execute("DETACH plain")
        assert not Path(f"{plain}-seawall").exists()
        absent = tmp_path / "absent.sqlite3"
        connection.execute("ATTACH ? AS absent", (f"file:{absent}?{parameter}",))
        connection.execute("DETACH absent")
        assert not Path(f"{absent}-seawall").exists()
        if parameter in ("psow=0", "cache=shared"):
            continue
        for name in (f"file:{other}?{parameter}", f"file:{plain}?vfs=seawall&{parameter}"):
            with pytest.raises(sqlite3.OperationalError, match=r"the URI|combined with Seawall"):
                connection.execute("ATTACH ? AS other", (name,))
        connection.execute("CREATE TABLE t (a)")


def test_parameters_of_stock_sqlite_for_a_main_by_the_name_of_the_vfs(plain: Path, tmp_path: Path) -> None:
    apsw = pytest.importorskip("apsw", reason="SKIPPED: needs apsw")
    loader = apsw.Connection(":memory:")
    loader.enable_load_extension(True)
    loader.load_extension(str(seawall.extension_path()))
    for parameter in ("immutable=1", "nolock=1", "unheard=of"):
        for name in (plain, tmp_path / "absent.sqlite3"):
            flags = apsw.SQLITE_OPEN_URI | apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
            uri = f"file:{name}?{parameter}"
            with pytest.raises(apsw.CantOpenError):
                apsw.Connection(uri, flags=flags, vfs="seawall").execute("SELECT * FROM sqlite_schema")
    connection = apsw.Connection(str(plain), flags=apsw.SQLITE_OPEN_READONLY, vfs="seawall")
    assert connection.execute("SELECT count(*) FROM p").fetchall() == [(1000,)]
    connection.close()
    assert [path.name for path in tmp_path.iterdir()] == ["plain.sqlite3"]


def test_what_is_attached_to_be_read(connect: Connect, plain: Path, tmp_path: Path) -> None:
    connection = connect()
    connection.execute("ATTACH ? AS plain", (f"file:{plain}?mode=ro",))
    assert one(connection, "SELECT count(*) FROM plain.p") == 1000
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM plain.p")
    for mode in ("ro", "rw"):
        with pytest.raises(sqlite3.OperationalError, match="unable to open"):
            connection.execute("ATTACH ? AS absent", (f"file:{tmp_path / 'absent'}?mode={mode}",))
    for name in (tmp_path, tmp_path / "no" / "folder"):
        with pytest.raises(sqlite3.OperationalError, match="unable to open"):
            connection.execute("ATTACH ? AS absent", (str(name),))


def test_what_is_no_database(connect: Connect, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no database, but a text of some length " * 100)
    connection = connect()
    with pytest.raises(sqlite3.DatabaseError, match="file is not a database"):
        connection.execute("ATTACH ? AS text", (str(text),))
    assert text.read_text().startswith("no database")
    assert not Path(f"{text}-seawall").exists()


def test_an_attached_file_is_locked_as_stock_sqlite_does(connect: Connect, plain: Path) -> None:
    connection = connect(timeout=0.2)
    connection.execute("ATTACH ? AS plain", (str(plain),))
    stock = sqlite3.connect(plain, isolation_level=None)
    stock.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError, match="database is locked"):
        connection.execute("DELETE FROM plain.p")
    stock.execute("COMMIT")
    connection.execute("BEGIN")
    connection.execute("DELETE FROM plain.p")
    with pytest.raises(sqlite3.OperationalError, match="database is locked"):
        stock.execute("BEGIN IMMEDIATE")
    connection.execute("COMMIT")
    assert one(stock, "SELECT count(*) FROM p") == 0
