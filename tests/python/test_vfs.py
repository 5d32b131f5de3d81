"""How SQLite drives the VFS: each trap that was measured when it was designed."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import seawall

from .conftest import Connect, intact, one, rows, version


def filled(connection: sqlite3.Connection, count: int = 200, size: int = 500) -> None:
    """Make a table `t` that takes many pages."""
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, value BLOB)")
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("INSERT INTO t VALUES (?, zeroblob(?))", [(n, size) for n in range(count)])
    connection.execute("COMMIT")


def test_every_commit_is_a_version_and_nothing_else_is(connect: Connect) -> None:
    connection = connect()
    assert version(connection) == 0
    connection.execute("CREATE TABLE t (a)")
    assert version(connection) == 1
    connection.execute("INSERT INTO t VALUES (1)")
    assert version(connection) == 2
    rows(connection, "SELECT * FROM t")
    connection.execute("UPDATE t SET a = 2 WHERE a = 77")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("COMMIT")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO t VALUES (2)")
    connection.execute("ROLLBACK")
    assert version(connection) == 2
    assert rows(connection, "SELECT * FROM t") == [(1,)]


def test_rollback_of_a_spilled_transaction_publishes_nothing(connect: Connect) -> None:
    connection = connect()
    filled(connection)
    before = version(connection)
    connection.execute("PRAGMA cache_size=10")
    for growing in (False, True):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE t SET value = randomblob(500)")
        if growing:
            connection.executemany("INSERT INTO t VALUES (?, randomblob(500))", [(n,) for n in range(1000, 1500)])
        assert one(connection, "SELECT count(*) FROM t WHERE value = zeroblob(500)") == 0
        connection.execute("ROLLBACK")
        assert version(connection) == before
        assert one(connection, "SELECT count(*) FROM t WHERE value = zeroblob(500)") == 200
        assert intact(connection)
    assert one(connect(), "SELECT count(*) FROM t WHERE value = zeroblob(500)") == 200


def test_a_spilled_transaction_commits_whole(connect: Connect) -> None:
    connection = connect()
    filled(connection)
    connection.execute("PRAGMA cache_size=10")
    before = version(connection)
    connection.execute("BEGIN IMMEDIATE")
    for _ in range(3):
        connection.execute("UPDATE t SET value = randomblob(900)")
    connection.execute("COMMIT")
    assert version(connection) == before + 1
    other = connect()
    assert rows(other, "SELECT * FROM t") == rows(connection, "SELECT * FROM t")
    assert intact(other)


@pytest.mark.parametrize("auto_vacuum", ["NONE", "FULL", "INCREMENTAL"])
def test_a_shrinking_database(connect: Connect, auto_vacuum: str) -> None:
    connection = connect()
    connection.execute(f"PRAGMA auto_vacuum={auto_vacuum}")
    filled(connection, 2000)
    large = one(connection, "PRAGMA page_count")
    connection.execute("DELETE FROM t WHERE id > 10")
    connection.executescript({"NONE": "VACUUM", "FULL": "", "INCREMENTAL": "PRAGMA incremental_vacuum"}[auto_vacuum])
    other = connect()
    assert one(other, "PRAGMA page_count") == one(connection, "PRAGMA page_count") < large / 10
    assert one(other, "SELECT count(*) FROM t") == 11
    assert intact(other)
    assert intact(connection)
    other.execute("INSERT INTO t VALUES (5000, zeroblob(9000))")
    assert one(connection, "SELECT length(value) FROM t WHERE id = 5000") == 9000
    assert intact(connection)


@pytest.mark.parametrize("target", ["{}", "file:{}", "file:{}?vfs=unix"])
def test_vacuum_into_writes_a_plain_file(connect: Connect, tmp_path: Path, target: str) -> None:
    connection = connect()
    filled(connection)
    copy = tmp_path / "copy.sqlite3"
    connection.execute("VACUUM INTO ?", (target.format(copy),))
    plain = sqlite3.connect(copy)
    plain.execute("INSERT INTO t VALUES (5000, 'x')")
    assert one(plain, "SELECT count(*) FROM t") == 201
    plain.commit()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.sqlite3", "db.sqlite3", "db.sqlite3-seawall"]
    before = copy.read_bytes()
    with pytest.raises(sqlite3.OperationalError, match="output file already exists"):
        connection.execute("VACUUM INTO ?", (target.format(copy),))
    assert copy.read_bytes() == before
    copy.write_bytes(b"")
    connection.execute("VACUUM INTO ?", (target.format(copy),))
    assert intact(sqlite3.connect(copy))


@pytest.mark.parametrize("page_size", [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536])
def test_page_sizes(connect: Connect, page_size: int) -> None:
    connection = connect()
    connection.execute(f"PRAGMA page_size={page_size}")
    filled(connection)
    connection.execute("UPDATE t SET value = randomblob(3000) WHERE id % 3 = 0")
    other = connect()
    assert one(other, "PRAGMA page_size") == page_size
    assert rows(other, "SELECT * FROM t") == rows(connection, "SELECT * FROM t")
    assert intact(other)


def test_synchronous_off_commits_all_the_same(connect: Connect) -> None:
    connection = connect()
    connection.execute("PRAGMA synchronous=OFF")
    filled(connection)
    assert one(connect(), "SELECT count(*) FROM t") == 200


def test_pragmas_that_would_take_the_ground_away(connect: Connect) -> None:
    connection = connect()
    filled(connection)
    for mode in ("WAL", "DELETE", "OFF", "TRUNCATE", "PERSIST"):
        assert one(connection, f"PRAGMA journal_mode={mode}") == "memory"
    assert one(connection, "PRAGMA journal_mode") == "memory"
    assert one(connection, "PRAGMA locking_mode=EXCLUSIVE") == "normal"
    assert one(connection, "PRAGMA mmap_size=1000000") == 0
    assert one(connection, "PRAGMA mmap_size") == 0
    connection.execute("UPDATE t SET value = 1 WHERE id = 1")
    other = connect()
    other.execute("UPDATE t SET value = 2 WHERE id = 1")
    assert one(connection, "SELECT value FROM t WHERE id = 1") == 2
    connection.execute("BEGIN")
    connection.execute("INSERT INTO t VALUES (1000, 1)")
    connection.execute("SAVEPOINT s")
    connection.execute("INSERT INTO t VALUES (1001, 1)")
    connection.execute("ROLLBACK TO s")
    connection.execute("COMMIT")
    assert rows(other, "SELECT id FROM t WHERE id >= 1000") == [(1000,)]


def test_savepoints(connect: Connect) -> None:
    connection = connect()
    connection.execute("CREATE TABLE t (a)")
    connection.execute("SAVEPOINT outer")
    connection.execute("INSERT INTO t VALUES (1)")
    connection.execute("SAVEPOINT inner")
    connection.execute("INSERT INTO t VALUES (2)")
    connection.execute("ROLLBACK TO inner")
    connection.execute("RELEASE inner")
    connection.execute("INSERT INTO t VALUES (3)")
    connection.execute("RELEASE outer")
    assert rows(connect(), "SELECT a FROM t") == [(1,), (3,)]


def test_a_failing_statement_undoes_itself_only(connect: Connect) -> None:
    connection = connect()
    connection.execute("CREATE TABLE t (a UNIQUE)")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute("INSERT INTO t VALUES (2), (3), (1)")
    connection.execute("INSERT INTO t VALUES (4)")
    connection.execute("COMMIT")
    assert rows(connect(), "SELECT a FROM t ORDER BY a") == [(1,), (4,)]


def test_statements_that_write_in_other_ways(connect: Connect) -> None:
    connection = connect()
    connection.execute("CREATE TABLE t (a)")
    assert rows(connection, "INSERT INTO t VALUES (1), (2) RETURNING a") == [(1,), (2,)]
    connection.execute("PRAGMA user_version=42")
    connection.execute("PRAGMA application_id=43")
    connection.execute("CREATE INDEX i ON t (a)")
    connection.execute("ANALYZE")
    other = connect()
    assert one(other, "PRAGMA user_version") == 42
    assert one(other, "PRAGMA application_id") == 43
    assert rows(other, "SELECT tbl FROM sqlite_stat1") == [("t",)]
    connection.execute("DROP TABLE t")
    assert rows(other, "SELECT name FROM sqlite_schema WHERE name = 't'") == []


def test_data_version_tells_of_others_commits(connect: Connect) -> None:
    connection, other = connect(), connect()
    connection.execute("CREATE TABLE t (a)")
    before = one(other, "PRAGMA data_version")
    mine = one(connection, "PRAGMA data_version")
    connection.execute("INSERT INTO t VALUES (1)")
    assert one(connection, "PRAGMA data_version") == mine
    assert one(other, "PRAGMA data_version") != before


def test_temporary_tables_stay_local_and_do_not_wait(connect: Connect) -> None:
    writer, connection = connect(), connect(timeout=0.2)
    filled(writer)
    before = version(connection)
    writer.execute("BEGIN IMMEDIATE")
    connection.execute("CREATE TEMP TABLE mine AS SELECT * FROM t")
    connection.execute("INSERT INTO temp.mine SELECT id + 1000, value FROM t")
    connection.execute("INSERT INTO mine SELECT id + 2000, value FROM t")
    connection.execute("CREATE TEMP TABLE large AS SELECT a.id FROM mine a, mine b LIMIT 300000")
    assert one(connection, "SELECT count(*) FROM mine") == 600
    assert version(connection) == before
    writer.execute("ROLLBACK")
    assert rows(connection, "SELECT id FROM large ORDER BY random() LIMIT 1")


def test_incremental_blobs(connect: Connect) -> None:
    connection = connect()
    filled(connection, 3, 50_000)
    with connection.blobopen("t", "value", 1) as blob:
        blob.seek(20_000)
        blob.write(b"seawall")
    other = connect()
    with other.blobopen("t", "value", 1, readonly=True) as blob:
        blob.seek(20_000)
        assert blob.read(8) == b"seawall\0"
    assert intact(other)


def test_backup_out_and_in(connect: Connect, tmp_path: Path) -> None:
    connection = connect()
    filled(connection)
    plain = sqlite3.connect(tmp_path / "plain.sqlite3")
    connection.backup(plain)
    assert rows(plain, "SELECT * FROM t") == rows(connection, "SELECT * FROM t")
    plain.execute("UPDATE t SET value = 'x'")
    plain.commit()
    restored = connect(tmp_path / "restored.sqlite3")
    plain.backup(restored, pages=7)
    assert rows(restored, "SELECT DISTINCT value FROM t") == [("x",)]
    assert version(restored) == 1
    assert intact(restored)
    # Over an existing one.
    plain.backup(connection)
    assert rows(connection, "SELECT DISTINCT value FROM t") == [("x",)]
    assert intact(connect())


def test_a_transaction_writes_one_seawall_database(connect: Connect, tmp_path: Path) -> None:
    connection = connect()
    connection.execute("CREATE TABLE t (a)")
    second = tmp_path / "second.sqlite3"
    connection.execute(f"ATTACH 'file:{second}?vfs=seawall' AS second")
    connection.execute("CREATE TABLE second.u (a)")
    connection.execute("INSERT INTO second.u SELECT 1")
    connection.execute("INSERT INTO t SELECT a FROM second.u")
    connection.execute("BEGIN")
    connection.execute("INSERT INTO t VALUES (2)")
    connection.execute("INSERT INTO second.u VALUES (2)")
    with pytest.raises(sqlite3.OperationalError, match="one Seawall database") as raised:
        connection.execute("COMMIT")
    assert raised.value.sqlite_errorname == "SQLITE_IOERR_COMMIT_ATOMIC"
    assert not connection.in_transaction
    for reader in (connection, connect()):
        assert rows(reader, "SELECT a FROM t") == [(1,)]
    assert rows(connection, "SELECT a FROM second.u") == rows(connect(second), "SELECT a FROM u") == [(1,)]
    # Reading one and writing the other is fine, and so is the next transaction.
    connection.execute("BEGIN")
    rows(connection, "SELECT a FROM second.u")
    connection.execute("INSERT INTO t VALUES (3)")
    connection.execute("COMMIT")
    assert rows(connect(), "SELECT a FROM t") == [(1,), (3,)]


@pytest.mark.parametrize("target", ["{}", "file:{}", "file:{}?vfs=unix"])
def test_attaching_a_plain_file(connect: Connect, tmp_path: Path, target: str) -> None:
    plain = tmp_path / "plain.sqlite3"
    sqlite3.connect(plain).executescript("CREATE TABLE u (a); INSERT INTO u VALUES (1)")
    connection = connect()
    connection.execute("CREATE TABLE t (a)")
    connection.execute("ATTACH ? AS plain", (target.format(plain),))
    connection.execute("INSERT INTO t SELECT a FROM plain.u")
    connection.execute("INSERT INTO plain.u VALUES (2)")
    assert rows(sqlite3.connect(plain), "SELECT a FROM u") == [(1,), (2,)]
    assert rows(connect(), "SELECT a FROM t") == [(1,)]
    assert not Path(f"{plain}-seawall").exists()


def test_attached_to_a_plain_database(connect: Connect, db: Path, tmp_path: Path) -> None:
    connect().execute("CREATE TABLE t (a)")
    plain = sqlite3.connect(f"file:{tmp_path / 'plain.sqlite3'}", uri=True, isolation_level=None)
    plain.execute("ATTACH ? AS shared", (seawall.uri(db),))
    plain.execute("INSERT INTO shared.t VALUES (1)")
    # Without a schema these go to main's VFS alone, which is not ours; SQLite then applies them to ours as well.
    plain.execute("PRAGMA locking_mode=EXCLUSIVE")
    plain.execute("INSERT INTO shared.t VALUES (2)")
    try:
        plain.execute("INSERT INTO shared.t VALUES (3)")
        wrote_third = True
    except sqlite3.OperationalError:
        wrote_third = False
    plain.close()
    assert rows(connect(), "SELECT a FROM t") == [(1,), (2,), (3,)][: 2 + wrote_third]
    assert intact(connect())


@pytest.mark.parametrize("mode", ["ro", "rw", "rwc"])
def test_modes(connect: Connect, db: Path, mode: str) -> None:
    opened = seawall.uri(db, mode=mode)
    if mode != "rwc":
        with pytest.raises(sqlite3.OperationalError, match="unable to open"):
            connect(opened)
        assert not db.exists()
    connect().execute("CREATE TABLE t (a)")
    connection = connect(opened)
    if mode == "ro":
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("INSERT INTO t VALUES (1)")
        assert rows(connection, "SELECT * FROM t") == []
    else:
        connection.execute("INSERT INTO t VALUES (1)")
        assert rows(connect(), "SELECT * FROM t") == [(1,)]


def test_a_reader_on_the_same_connection_goes_on_over_a_commit(connect: Connect) -> None:
    connection = connect()
    filled(connection)
    reading = connection.execute("SELECT id FROM t ORDER BY id")
    assert next(reading) == (0,)
    connection.execute("UPDATE t SET value = 'x' WHERE id = 100")
    assert len(reading.fetchall()) == 199
    assert one(connect(), "SELECT value FROM t WHERE id = 100") == "x"


def test_readers_keep_their_view(connect: Connect) -> None:
    writer, reader = connect(), connect()
    writer.execute("CREATE TABLE t (a)")
    writer.execute("INSERT INTO t VALUES (0)")
    reader.execute("BEGIN")
    assert one(reader, "SELECT a FROM t") == 0
    for n in range(1, 50):
        writer.execute("UPDATE t SET a = ?", (n,))
        assert one(reader, "SELECT a FROM t") == 0
    reader.execute("COMMIT")
    assert one(reader, "SELECT a FROM t") == 49
