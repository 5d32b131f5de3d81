"""Several databases on one connection: a commit that is out must not have a part that can still fail."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import seawall

from .conftest import Connect, one, rows, version

REFUSED = "one Seawall database and nothing beside it"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A plain database with an empty table `log`."""
    path = tmp_path / "archive.sqlite3"
    plain = sqlite3.connect(path)
    plain.execute("CREATE TABLE log (n INTEGER PRIMARY KEY, text)")
    plain.close()
    return path


def attached(connect: Connect, archive: Path, mode: str = "delete") -> sqlite3.Connection:
    """A Seawall database with a filled table `log`, and the archive beside it."""
    connection = connect()
    connection.execute("CREATE TABLE IF NOT EXISTS log (n INTEGER PRIMARY KEY, text)")
    connection.execute(
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 100) INSERT INTO log SELECT n, 'x' FROM c"
    )
    connection.execute("ATTACH ? AS archive", (f"file:{archive}?vfs=unix",))
    connection.execute(f"PRAGMA archive.journal_mode={mode}")
    return connection


def count(path: Path) -> int:
    """The archive's rows, as stock SQLite has them."""
    plain = sqlite3.connect(path)
    try:
        return int(one(plain, "SELECT count(*) FROM log"))
    finally:
        plain.close()


@pytest.mark.parametrize("mode", ["delete", "truncate", "persist", "memory", "wal", "off"])
def test_a_plain_database_that_was_changed_as_well_is_refused(connect: Connect, archive: Path, mode: str) -> None:
    connection = attached(connect, archive, mode)
    before = version(connection)
    for begin in ("BEGIN", "BEGIN IMMEDIATE"):
        connection.execute(begin)
        connection.execute("INSERT INTO archive.log SELECT * FROM main.log WHERE n <= 50")
        connection.execute("DELETE FROM main.log WHERE n <= 50")
        with pytest.raises(sqlite3.OperationalError, match=REFUSED) as raised:
            connection.execute("COMMIT")
        assert raised.value.sqlite_errorname == "SQLITE_IOERR_COMMIT_ATOMIC"
        assert "archive" in str(raised.value)
        assert not connection.in_transaction
        assert (version(connection), one(connect(), "SELECT count(*) FROM log")) == (before, 100)
        if mode != "off":
            # Without a journal SQLite cannot roll it back.
            assert count(archive) == 0
    connection.execute("INSERT INTO archive.log SELECT n + 1000, text FROM main.log")
    connection.execute("DELETE FROM main.log")
    assert one(connect(), "SELECT count(*) FROM log") == 0
    assert count(archive) >= 100


def test_a_statement_that_changes_both_by_a_trigger(connect: Connect, archive: Path) -> None:
    connection = attached(connect, archive)
    connection.execute("CREATE TABLE archive.moved (n)")
    # SQLite finds `moved` where it is.
    connection.execute("CREATE TEMP TRIGGER move AFTER DELETE ON main.log BEGIN INSERT INTO moved VALUES (old.n); END")
    with pytest.raises(sqlite3.OperationalError, match=REFUSED):
        connection.execute("DELETE FROM main.log")
    assert one(connect(), "SELECT count(*) FROM log") == 100
    assert one(connection, "SELECT count(*) FROM archive.moved") == 0


@pytest.mark.parametrize("mode", ["delete", "wal", "truncate"])
def test_a_plain_main_that_was_changed_as_well(connect: Connect, db: Path, archive: Path, mode: str) -> None:
    attached(connect, archive)
    plain = sqlite3.connect(f"file:{archive}", uri=True, isolation_level=None)
    plain.execute(f"PRAGMA journal_mode={mode}")
    plain.execute("ATTACH ? AS shared", (seawall.uri(db),))
    plain.execute("BEGIN")
    plain.execute("INSERT INTO main.log SELECT * FROM shared.log")
    plain.execute("DELETE FROM shared.log")
    with pytest.raises(sqlite3.OperationalError):
        plain.execute("COMMIT")
    assert not plain.in_transaction
    assert (one(connect(), "SELECT count(*) FROM log"), count(archive)) == (100, 0)
    plain.execute("DELETE FROM shared.log WHERE n = 1")
    plain.execute("INSERT INTO main.log VALUES (1, 'x')")
    plain.close()
    assert (one(connect(), "SELECT count(*) FROM log"), count(archive)) == (99, 1)


def test_what_was_locked_and_not_changed_is_no_reason(
    connect: Connect, db: Path, archive: Path, tmp_path: Path
) -> None:
    connection = attached(connect, archive)
    connection.execute("ATTACH ? AS second", (f"file:{tmp_path / 'second.sqlite3'}?vfs=unix",))
    connection.execute("ATTACH ? AS ours", (seawall.uri(tmp_path / "ours.sqlite3"),))
    connection.execute("CREATE TABLE ours.t (a)")
    connection.execute("CREATE TABLE second.t (a)")
    for n in range(3):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE archive.log SET text = 'y' WHERE n = 77")
        connection.execute("UPDATE ours.t SET a = 1 WHERE a = 77")
        connection.execute("INSERT INTO main.log VALUES (?, 'x')", (1000 + n,))
        connection.execute("COMMIT")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO ours.t VALUES (?)", (n,))
        connection.execute("COMMIT")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO archive.log VALUES (?, 'x')", (n,))
        connection.execute("INSERT INTO second.t VALUES (?)", (n,))
        connection.execute("COMMIT")
    assert one(connect(), "SELECT count(*) FROM log") == 103
    assert one(connect(tmp_path / "ours.sqlite3"), "SELECT count(*) FROM t") == 3
    assert count(archive) == 3
    assert sorted(path.name for path in tmp_path.iterdir() if "-mj" in path.name) == []


def test_two_seawall_databases_on_a_plain_main(connect: Connect, tmp_path: Path) -> None:
    names = [tmp_path / "a.sqlite3", tmp_path / "b.sqlite3"]
    for name in names:
        connect(name).execute("CREATE TABLE t (x)")
    plain = sqlite3.connect(f"file:{tmp_path / 'plain.sqlite3'}", uri=True, isolation_level=None)
    plain.execute("CREATE TABLE other (a)")
    for schema, name in zip("ab", names, strict=True):
        plain.execute(f"ATTACH ? AS {schema}", (seawall.uri(name),))
    plain.execute("BEGIN IMMEDIATE")
    plain.execute("INSERT INTO b.t VALUES (1)")
    plain.execute("COMMIT")
    plain.execute("BEGIN")
    plain.execute("INSERT INTO a.t VALUES (1)")
    plain.execute("INSERT INTO b.t VALUES (2)")
    with pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
        plain.execute("COMMIT")
    plain.close()
    assert [rows(connect(name), "SELECT x FROM t") for name in names] == [[], [(1,)]]


def test_what_lies_in_memory_may_be_changed_as_well(connect: Connect) -> None:
    connection = connect()
    connection.execute("CREATE TABLE t (x)")
    connection.execute("CREATE TEMP TABLE scratch (x)")
    for schema, name in (("memory", ":memory:"), ("nameless", "")):
        connection.execute(f"ATTACH ? AS {schema}", (name,))
        connection.execute(f"CREATE TABLE {schema}.t (x)")
    connection.execute("BEGIN IMMEDIATE")
    for table in ("main.t", "memory.t", "nameless.t", "scratch"):
        connection.execute(f"INSERT INTO {table} VALUES (1)")
    connection.execute("COMMIT")
    assert rows(connect(), "SELECT x FROM t") == rows(connection, "SELECT x FROM memory.t") == [(1,)]


FULL = """
import os, sqlite3, subprocess, sys
import seawall
folder, small = sys.argv[1:]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "small", small], check=True)
db = seawall.connect(os.path.join(folder, "db.sqlite3"), isolation_level=None)
db.execute("ATTACH ? AS archive", ("file:" + os.path.join(small, "archive.sqlite3") + "?vfs=unix",))
db.execute("CREATE TABLE archive.log (n INTEGER PRIMARY KEY, text)")
db.execute("BEGIN IMMEDIATE")
db.execute("INSERT INTO archive.log SELECT n, hex(randomblob(3000)) FROM main.log")
db.execute("DELETE FROM main.log")
try:
    db.execute("COMMIT")
except sqlite3.Error as error:
    print(error.sqlite_errorname)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="SKIPPED: a small file system is mounted by root only")
def test_the_disk_of_the_other_one_is_full(connect: Connect, archive: Path, tmp_path: Path) -> None:
    attached(connect, archive).close()
    small = tmp_path / "small"
    small.mkdir()
    command = ["unshare", "-m", sys.executable, "-c", FULL, str(tmp_path), str(small)]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    if "mount" in told.stderr and "permission denied" in told.stderr:
        pytest.skip(f"SKIPPED: {told.stderr.strip()}")
    assert told.stdout.startswith("SQLITE_"), told
    assert one(connect(), "SELECT count(*) FROM log") == 100


FULL_TEMPORARY = """
import os, sqlite3, subprocess, sys
import seawall
folder, small = sys.argv[1:]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "small", small], check=True)
db = seawall.connect(os.path.join(folder, "db.sqlite3"), isolation_level=None)
db.execute("PRAGMA temp_store=FILE")
db.execute("CREATE TEMP TABLE scratch (x)")
db.execute("PRAGMA temp.cache_size=10")
db.execute("INSERT INTO scratch VALUES (zeroblob(200000))")
db.execute("PRAGMA temp.cache_size=1000")
db.execute("BEGIN IMMEDIATE")
db.execute("INSERT INTO scratch VALUES (zeroblob(2000000))")
db.execute("DELETE FROM main.log")
try:
    db.execute("COMMIT")
except sqlite3.Error as error:
    print(error.sqlite_errorname, error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="SKIPPED: a small file system is mounted by root only")
def test_the_disk_of_temporary_tables_is_full(connect: Connect, archive: Path, tmp_path: Path) -> None:
    attached(connect, archive).close()
    small = tmp_path / "small"
    small.mkdir()
    command = ["unshare", "-m", sys.executable, "-c", FULL_TEMPORARY, str(tmp_path), str(small)]
    environment = {**os.environ, "SQLITE_TMPDIR": str(small)}
    told = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if "mount" in told.stderr and "permission denied" in told.stderr:
        pytest.skip(f"SKIPPED: {told.stderr.strip()}")
    assert told.stdout.startswith("SQLITE_FULL") and "temporary tables" in told.stdout, told
    assert one(connect(), "SELECT count(*) FROM log") == 100


CROSSED = """
import sys, time
import seawall
folder, mine, other, at = sys.argv[1:]
db = seawall.connect(f"{folder}/{mine}", isolation_level=None, timeout=6)
db.execute("ATTACH ? AS other", (seawall.uri(f"{folder}/{other}"),))
db.create_function("nap", 1, lambda x: (time.sleep(0.5), x)[1])
time.sleep(max(0, float(at) - time.time()))
db.execute("BEGIN")
db.execute("INSERT INTO other.t SELECT nap(1) FROM (SELECT count(*) FROM main.t)")
db.execute("COMMIT")
"""


def test_two_that_read_what_the_other_writes(connect: Connect, tmp_path: Path) -> None:
    for name in "ab":
        connect(tmp_path / name).execute("CREATE TABLE t (x)")
    at = str(time.time() + 1.5)
    ways = [[sys.executable, "-c", CROSSED, str(tmp_path), *way, at] for way in ("ab", "ba")]
    both = [subprocess.Popen(way, stderr=subprocess.PIPE, text=True) for way in ways]
    told = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], told
