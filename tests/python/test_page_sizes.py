"""Another page size by VACUUM or a backup, and what comes with them: auto_vacuum, reserved bytes, WAL sources."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import seawall

from .conftest import Connect, intact, one, rows, version

PAIRS = [(512, 65536), (65536, 512), (4096, 8192), (8192, 4096), (1024, 16384), (32768, 2048)]
SUM = "SELECT count(*), sum(length(value)), sum(id) FROM t"

OTHER = """
import sqlite3, sys
import seawall
connection = seawall.connect(sys.argv[1], isolation_level=None, timeout=10)
print(connection.execute("PRAGMA integrity_check").fetchone()[0], flush=True)
for line in sys.stdin:
    connection.execute("INSERT INTO t (value) VALUES ('from another process')")
    print(connection.execute(line).fetchall(), flush=True)
"""


def filled(connection: sqlite3.Connection, page_size: int, rows_: int = 400) -> None:
    """Make a table with rows of many lengths."""
    connection.execute(f"PRAGMA page_size={page_size}")
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, value)")
    connection.execute("CREATE INDEX i ON t (value)")
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO t (value) VALUES (?)", ((os.urandom(n * 7 % 3000),) for n in range(rows_)))
    connection.execute("COMMIT")


@pytest.fixture
def stock(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A database of stock SQLite."""
    connection = sqlite3.connect(tmp_path / "stock.sqlite3", isolation_level=None)
    yield connection
    connection.close()


@pytest.fixture
def other_process(db: Path) -> Iterator[Callable[[], Callable[[str], str]]]:
    """Start another process that has the database open: each line is a query, before which it inserts a row."""
    processes = []

    def start() -> Callable[[str], str]:
        process = subprocess.Popen(
            [sys.executable, "-c", OTHER, db], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        processes.append(process)
        assert process.stdin is not None and process.stdout is not None
        stdin, stdout = process.stdin, process.stdout
        assert stdout.readline() == "ok\n"

        def ask(sql: str) -> str:
            stdin.write(f"{sql}\n")
            stdin.flush()
            return stdout.readline().strip()

        return ask

    yield start
    for process in processes:
        process.communicate(timeout=30)
        assert process.returncode == 0


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_vacuum_changes_the_page_size(
    connect: Connect, db: Path, other_process: Callable[[], Callable[[str], str]], before: int, after: int
) -> None:
    connection, reader, writer = connect(), connect(), connect()
    filled(connection, before)
    elsewhere = other_process()
    reader.execute("BEGIN")
    expected = rows(reader, SUM)
    assert elsewhere("PRAGMA page_size") == f"[({before},)]"
    connection.execute(f"PRAGMA page_size={after}")
    connection.execute("VACUUM")
    assert rows(reader, SUM) == expected, "a transaction that was open reads on in the pages that it began with"
    reader.execute("COMMIT")
    assert elsewhere("SELECT count(*) FROM t") == "[(402,)]"
    writer.execute("DELETE FROM t WHERE id % 5 = 0")
    writer.execute("INSERT INTO t (value) VALUES (zeroblob(100000))")
    counted = rows(writer, SUM)
    for one_more in (connection, reader, writer, connect()):
        assert rows(one_more, SUM) == counted
        assert one(one_more, "PRAGMA page_size") == after
        assert intact(one_more)
    assert elsewhere("PRAGMA page_size") == f"[({after},)]"
    assert elsewhere("PRAGMA integrity_check") == "[('ok',)]"
    assert seawall.status(db).page_size == after


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
@pytest.mark.parametrize(("source", "target"), [*PAIRS, (4096, 4096)])
def test_a_backup_into_it_from_another_page_size(
    connect: Connect,
    stock: sqlite3.Connection,
    other_process: Callable[[], Callable[[str], str]],
    source: int,
    target: int,
    mode: str,
) -> None:
    filled(stock, source, 300)
    stock.execute(f"PRAGMA journal_mode={mode}")
    stock.execute("UPDATE t SET value = 'stock' WHERE id = 1")
    connection, reader = connect(), connect()
    filled(connection, target, 700)
    elsewhere = other_process()
    assert elsewhere("SELECT count(*) FROM t") == "[(701,)]"
    assert one(reader, "SELECT count(*) FROM t") == 701
    before = version(connection)
    for n in range(2):
        # Twice, over what was there: the second time in the same page size.
        stock.backup(connection, pages=[-1, 7][n])
        assert version(connection) == before + 2 * n + 1
        for one_more in (connection, reader, connect()):
            assert rows(one_more, SUM) == rows(stock, SUM)
            assert one(one_more, "PRAGMA page_size") == source
            assert one(one_more, "PRAGMA journal_mode") == "memory"
            assert intact(one_more)
        # Another process reads and writes it; so does this connection.
        assert elsewhere("SELECT count(*) FROM t") == "[(301,)]"
        assert one(connection, "SELECT count(*) FROM t") == 301
    connection.execute("DELETE FROM t WHERE id = 7")
    assert elsewhere("SELECT count(*) FROM t") == "[(301,)]"
    assert elsewhere("PRAGMA integrity_check") == "[('ok',)]"


def test_what_is_published_is_never_in_wal_mode(connect: Connect, stock: sqlite3.Connection, tmp_path: Path) -> None:
    stock.execute("PRAGMA journal_mode=WAL")
    stock.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, value)")
    connection = connect()
    stock.backup(connection)
    seawall.copy(tmp_path / "db.sqlite3", tmp_path / "copy.sqlite3")
    assert (tmp_path / "copy.sqlite3").read_bytes()[18:20] == b"\x01\x01"
    assert rows(connection, "SELECT * FROM t") == []
    # Of an empty one, too.
    empty = sqlite3.connect(tmp_path / "empty.sqlite3")
    empty.execute("PRAGMA journal_mode=WAL")
    empty.backup(connection)
    assert rows(connection, "SELECT * FROM sqlite_schema") == []
    connection.execute("CREATE TABLE u (a)")
    assert intact(connect())
    empty.close()


def test_a_real_switch_to_wal_mode_is_an_error(connect: Connect, stock: sqlite3.Connection, db: Path) -> None:
    filled(connect(), 4096, 10)
    stock.execute("ATTACH ? AS shared", (seawall.uri(db),))
    stock.execute("PRAGMA locking_mode=EXCLUSIVE")
    with pytest.raises(sqlite3.OperationalError):
        stock.execute("PRAGMA journal_mode=WAL")
        stock.execute("INSERT INTO shared.t (value) VALUES (1)")
    seawall.copy(db, db.with_name("copy.sqlite3"))
    assert db.with_name("copy.sqlite3").read_bytes()[18:20] == b"\x01\x01"
    assert one(connect(), "SELECT count(*) FROM t") == 10


class Stopped(Exception):
    """A backup was stopped."""


@pytest.mark.parametrize("spills", [False, True])
@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_what_was_not_finished_changes_nothing(
    connect: Connect, stock: sqlite3.Connection, source: int, target: int, spills: bool
) -> None:
    filled(stock, source, 800)
    connection, other = connect(), connect()
    filled(connection, target, 300)
    if spills:
        connection.execute("PRAGMA cache_size=10")
    expected, before = rows(connection, SUM), version(connection)

    def stop(_status: int, remaining: int, total: int) -> None:
        if remaining < total // 2:
            raise Stopped

    with pytest.raises(Stopped):
        stock.backup(connection, pages=1 + 8192 // source, progress=stop)
    for one_more in (connection, other, connect()):
        assert (rows(one_more, SUM), version(one_more), intact(one_more)) == (expected, before, True)
    # An interrupted VACUUM; then one that is not.
    calls = iter(range(10**9))
    connection.set_progress_handler(lambda: next(calls) > 100, 1)
    connection.execute(f"PRAGMA page_size={source}")
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        connection.execute("VACUUM")
    connection.set_progress_handler(None, 0)
    for one_more in (connection, other):
        assert (rows(one_more, SUM), version(one_more), intact(one_more)) == (expected, before, True)
        assert one(one_more, "PRAGMA page_size") == target
    connection.execute("VACUUM")
    assert (rows(other, SUM), version(other)) == (expected, before + 1)
    assert (one(other, "PRAGMA page_size"), intact(other)) == (source, True)
    connection.execute("BEGIN")
    connection.execute("SAVEPOINT s")
    connection.execute("UPDATE t SET value = zeroblob(5000)")
    connection.execute("ROLLBACK TO s")
    connection.execute("INSERT INTO t (value) VALUES (NULL)")
    connection.execute("COMMIT")
    assert one(connect(), "SELECT count(*) FROM t") == 301
    assert intact(connect())


@pytest.mark.parametrize("page_size", [512, 4096, 65536])
def test_auto_vacuum_and_incremental_vacuum_beside_stock(
    connect: Connect, stock: sqlite3.Connection, page_size: int
) -> None:
    connection, other = connect(), connect()

    def sizes(of: sqlite3.Connection) -> list[Any]:
        return [one(of, f"PRAGMA {name}") for name in ("page_size", "page_count", "freelist_count", "auto_vacuum")]

    def both(sql: str) -> None:
        assert rows(connection, sql) == rows(stock, sql), sql

    both("CREATE TABLE t (id INTEGER PRIMARY KEY, value)")
    numbers = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 500)"
    many = f"{numbers} INSERT INTO t SELECT n, zeroblob(n) FROM c"
    for mode, size in ((1, page_size), (2, 4096), (0, page_size), (2, page_size)):
        both(many)
        for pragma in (f"auto_vacuum={mode}", f"page_size={size}"):
            connection.execute(f"PRAGMA {pragma}")
            stock.execute(f"PRAGMA {pragma}")
        both("VACUUM")
        assert sizes(connection) == sizes(stock)
        both("DELETE FROM t WHERE id > 100")
        both("PRAGMA incremental_vacuum(3)")
        both("PRAGMA incremental_vacuum")
        both("DELETE FROM t")
        assert sizes(connection) == sizes(stock)
        both(SUM)
        assert rows(other, SUM) == rows(stock, SUM)
        assert sizes(other) == sizes(stock)
        assert intact(other)


def test_reserved_bytes_of_a_source(connect: Connect, tmp_path: Path) -> None:
    name = tmp_path / "reserved.sqlite3"
    plain = sqlite3.connect(name, isolation_level=None)
    plain.execute("PRAGMA page_size=1024")
    plain.execute("CREATE TABLE gone (a)")
    plain.execute("DROP TABLE gone")
    plain.execute("VACUUM")
    plain.close()
    page = bytearray(name.read_bytes())
    assert len(page) == 1024
    page[20], page[105:107] = 32, (1024 - 32).to_bytes(2)
    name.write_bytes(page)
    source = sqlite3.connect(name, isolation_level=None)
    filled(source, 1024)
    assert intact(source)
    connection, other = connect(), connect()
    filled(connection, 4096, 50)
    assert one(other, "SELECT count(*) FROM t") == 50
    source.backup(connection)
    assert rows(other, SUM) == rows(source, SUM)
    assert intact(other) and intact(connection)
    connection.execute("PRAGMA page_size=8192")
    connection.execute("VACUUM")
    assert rows(other, SUM) == rows(source, SUM)
    assert (one(other, "PRAGMA page_size"), intact(other)) == (8192, True)
    source.close()


def test_sqlites_of_other_versions(db: Path) -> None:
    pysqlite3: Any = pytest.importorskip("pysqlite3")
    connection = seawall.connect(db, isolation_level=None, factory=seawall.connection_class(pysqlite3))
    filled(connection, 4096)
    source = pysqlite3.connect(db.with_name("source.sqlite3"), isolation_level=None)
    filled(source, 1024)
    source.execute("PRAGMA journal_mode=WAL")
    source.backup(connection)
    assert (rows(connection, SUM), intact(connection)) == (rows(source, SUM), True)
    connection.execute("PRAGMA page_size=16384")
    connection.execute("VACUUM")
    other = seawall.connect(db)
    assert (rows(other, SUM), intact(other), one(other, "PRAGMA page_size")) == (rows(source, SUM), True, 16384)
    for opened in (connection, source, other):
        opened.close()
