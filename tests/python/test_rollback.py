"""What was rolled back, or failed, leaves nothing behind, in every journal mode."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import seawall

from .conftest import Connect, intact, one, rows, version


def with_free_pages(connection: sqlite3.Connection) -> None:
    """Make a table `t` with one row in a database that has many free pages."""
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, value)")
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO t VALUES (?, ?)", ((n, os.urandom(1000)) for n in range(1000)))
    connection.execute("COMMIT")
    connection.execute("DELETE FROM t WHERE id > 0")
    assert one(connection, "PRAGMA freelist_count") > 100


def spill(connection: sqlite3.Connection, table: str = "t", rows_: int = 800) -> None:
    """Write more than the cache holds, over free pages."""
    many = ((n, os.urandom(1000)) for n in range(5000, 5000 + rows_))
    connection.executemany(f"INSERT INTO {table} VALUES (?, ?)", many)


def test_free_pages_that_were_spilled(connect: Connect) -> None:
    connection = connect()
    with_free_pages(connection)
    before = version(connection)
    connection.execute("PRAGMA cache_size=10")
    for _ in range(3):
        connection.execute("BEGIN IMMEDIATE")
        spill(connection)
        connection.execute("ROLLBACK")
        assert version(connection) == before
        assert one(connection, "SELECT count(*) FROM t") == 1
    connection.execute("BEGIN")
    connection.execute("SAVEPOINT s")
    spill(connection)
    connection.execute("ROLLBACK TO s")
    connection.execute("INSERT INTO t VALUES (1, 'kept')")
    connection.execute("COMMIT")
    assert version(connection) == before + 1
    other = connect()
    assert rows(other, "SELECT id FROM t") == [(0,), (1,)]
    assert intact(other) and intact(connection)


def test_a_commit_that_fails_after_a_spill_is_undone(connect: Connect, tmp_path: Path) -> None:
    connection = connect()
    with_free_pages(connection)
    second = tmp_path / "second.sqlite3"
    connection.execute("ATTACH ? AS second", (seawall.uri(second),))
    connection.execute("CREATE TABLE second.u (a)")
    before = version(connection)
    connection.execute("PRAGMA cache_size=10")
    for n in range(3):
        connection.execute("BEGIN")
        spill(connection)
        connection.execute("INSERT INTO second.u VALUES (1)")
        with pytest.raises(sqlite3.OperationalError, match="one Seawall database"):
            connection.execute("COMMIT")
        # Where it can be known sooner, it is.
        connection.execute("BEGIN")
        connection.execute("INSERT INTO second.u VALUES (1)")
        with pytest.raises(sqlite3.OperationalError, match="second"):
            spill(connection)
        assert not connection.in_transaction
        assert version(connection) == before + n
        connection.execute("INSERT INTO t VALUES (?, 'kept')", (n + 1,))
    assert [row[0] for row in rows(connect(), "SELECT id FROM t")] == [0, 1, 2, 3]
    assert rows(connect(second), "SELECT a FROM u") == []
    assert intact(connection)


def test_a_transaction_in_a_new_database_is_rolled_back(connect: Connect) -> None:
    connection = connect()
    connection.execute("PRAGMA cache_size=10")
    for _ in range(2):
        connection.execute("BEGIN")
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, value)")
        spill(connection)
        connection.execute("ROLLBACK")
        assert version(connection) == 0
    with_free_pages(connection)
    assert one(connect(), "SELECT count(*) FROM t") == 1


def test_a_commit_that_changes_no_byte_is_a_version(connect: Connect) -> None:
    connection = connect()
    connection.execute("CREATE TABLE t (a)")
    connection.execute("INSERT INTO t VALUES (1)")
    before = version(connection)
    connection.execute("BEGIN")
    connection.execute("UPDATE t SET a = a + 1")
    connection.execute("UPDATE t SET a = a - 1")
    connection.execute("COMMIT")
    assert version(connection) == before + 1
    assert rows(connect(), "SELECT a FROM t") == [(1,)]


@pytest.mark.parametrize("locking", ["NORMAL", "EXCLUSIVE"])
@pytest.mark.parametrize("journal", ["DELETE", "TRUNCATE", "PERSIST", "MEMORY", "OFF"])
def test_modes_set_by_way_of_a_plain_main(
    connect: Connect, db: Path, tmp_path: Path, locking: str, journal: str
) -> None:
    with_free_pages(connect())
    plain = sqlite3.connect(f"file:{tmp_path / 'plain.sqlite3'}", uri=True, isolation_level=None)
    plain.execute("CREATE TABLE other (a)")
    plain.execute("ATTACH ? AS shared", (seawall.uri(db),))
    # Without a schema SQLite applies them to ours as well, and asks main's VFS only.
    plain.execute(f"PRAGMA locking_mode={locking}")
    plain.execute(f"PRAGMA journal_mode={journal}")
    plain.execute("PRAGMA shared.cache_size=10")
    expected = {0}
    for n in range(1, 12):
        try:
            if n % 3 == 0:
                plain.execute("BEGIN")
                spill(plain, "shared.t")
                plain.execute("ROLLBACK")
                continue
            plain.execute("BEGIN")
            if n % 3 == 1:
                spill(plain, "shared.t", 100)
                plain.execute("DELETE FROM shared.t WHERE id >= 5000")
            plain.execute("INSERT INTO shared.t VALUES (?, 'kept')", (n,))
            plain.execute("COMMIT")
            expected.add(n)
        except sqlite3.OperationalError:
            if plain.in_transaction:
                plain.execute("ROLLBACK")
        # All that was acknowledged is there, and nothing else.
        assert {row[0] for row in rows(connect(), "SELECT id FROM t")} == expected, (n, locking, journal)
    assert len(expected) > 1 + 6 * (locking == "NORMAL")
    plain.close()
    assert intact(connect())


LARGE = """
import resource, sys
import seawall
db = seawall.connect(sys.argv[1], isolation_level=None, page_cache=8 << 20)
db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, x BLOB)")
numbers = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000)"
db.execute(f"{numbers} INSERT INTO t SELECT i, zeroblob(3900) FROM n")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for end in ("ROLLBACK", "COMMIT"):
    db.execute("BEGIN")
    db.execute("UPDATE t SET x = zeroblob(3800)")
    db.execute("SAVEPOINT s")
    db.execute("DELETE FROM t WHERE id % 2")
    db.execute("ROLLBACK TO s")
    print(*db.execute("SELECT count(*), sum(length(x)) FROM t").fetchone())
    db.execute(end)
    print(*db.execute("SELECT count(*), sum(length(x)) FROM t").fetchone())
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


def test_a_large_transaction_is_undone_from_the_snapshot_and_keeps_no_old_pages(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LARGE, tmp_path / "db.sqlite3"], capture_output=True, text=True, check=True
    )
    *rows, grown = done.stdout.splitlines()
    assert rows == ["40000 152000000", "40000 156000000", "40000 152000000", "40000 152000000"]
    # 160 MB are changed, and half of that once more under the savepoint.
    assert int(grown) < 80, f"{grown} MiB more than the load took"
    assert seawall.verify(tmp_path / "db.sqlite3").findings == ()


def test_a_rollback_that_cannot_read_the_snapshot_undoes_all_the_same(tmp_path: Path) -> None:
    db = tmp_path / "db.sqlite3"
    read = "SELECT count(*), sum(length(x)), sum(unicode(substr(hex(x), 1, 1))) FROM t"
    with closing(seawall.connect(db, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, x BLOB)")
        numbers = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6000)"
        connection.execute(f"{numbers} INSERT INTO t SELECT i, randomblob(3900) FROM n")
        before = connection.execute(read).fetchone()
    connection = seawall.connect(db, isolation_level=None, page_cache=1 << 20)
    connection.execute("BEGIN")
    connection.execute("UPDATE t SET x = zeroblob(3900)")
    segments = {path: path.read_bytes() for path in Path(f"{db}-seawall/segments").iterdir()}
    for path, content in segments.items():
        with path.open("r+b") as file:
            file.write(bytes(len(content)))
    connection.execute("ROLLBACK")
    assert not connection.in_transaction
    for path, content in segments.items():
        with path.open("r+b") as file:
            file.write(content)
    assert connection.execute(read).fetchone() == before
    assert intact(connection)
    connection.execute("UPDATE t SET x = 'b' WHERE id = 5")
    assert one(connection, "SELECT x FROM t WHERE id = 5") == "b"
    assert seawall.verify(db).findings == ()
