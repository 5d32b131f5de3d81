"""Errors: their class, SQLite's code and name, and words that say what happened, what was kept, what to do."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import seawall
from seawall import _native, errors

from .conftest import Connect, one, rows, version


def test_busy_says_who_waits_for_whom(connect: Connect) -> None:
    holder, waiter = connect(), connect(timeout=0.3)
    holder.execute("CREATE TABLE t (a)")
    holder.execute("BEGIN IMMEDIATE")
    for statement in ("BEGIN IMMEDIATE", "INSERT INTO t VALUES (1)"):
        began = time.monotonic()
        with pytest.raises(seawall.DatabaseBusy, match=r"^database is locked: .*Nothing was written") as raised:
            waiter.execute(statement)
        assert 0.25 < time.monotonic() - began < 1
        assert isinstance(raised.value, sqlite3.OperationalError)
        assert raised.value.sqlite_errorname == "SQLITE_BUSY"
        assert raised.value.sqlite_errorcode == sqlite3.SQLITE_BUSY
    assert "another writer" in one(waiter, "PRAGMA seawall_last_error")
    assert rows(waiter, "SELECT * FROM t") == []
    holder.execute("ROLLBACK")
    waiter.execute("INSERT INTO t VALUES (1)")


@pytest.mark.parametrize(("pragma", "kind"), [("busy_timeout", int), ("seawall_timeout", str)])
def test_the_timeout_can_be_changed(connect: Connect, pragma: str, kind: type) -> None:
    holder, waiter = connect(), connect(timeout=60)
    holder.execute("BEGIN IMMEDIATE")
    assert one(waiter, f"PRAGMA {pragma}") == kind(60_000)
    assert one(waiter, f"PRAGMA {pragma}=200") == kind(200)
    assert one(waiter, f"PRAGMA {pragma}") == kind(200)
    began = time.monotonic()
    with pytest.raises(seawall.DatabaseBusy):
        waiter.execute("BEGIN IMMEDIATE")
    assert 0.15 < time.monotonic() - began < 1
    # SQLite's own handler forgets it when ours takes its place.
    assert one(waiter, f"PRAGMA {pragma}") == kind(200)


def test_without_a_timeout_of_ours_sqlites_own_counts(connect: Connect, db: Path) -> None:
    holder = connect()
    holder.execute("BEGIN IMMEDIATE")
    waiter = sqlite3.connect(f"file:{db}?vfs=seawall", uri=True, timeout=0.3, isolation_level=None)
    began = time.monotonic()
    with pytest.raises(sqlite3.OperationalError, match="database is locked"):
        waiter.execute("BEGIN IMMEDIATE")
    assert 0.25 < time.monotonic() - began < 1.5
    holder.execute("COMMIT")
    waiter.execute("BEGIN IMMEDIATE")
    waiter.close()


def test_attached_to_a_plain_database_sqlites_own_timeout_counts(connect: Connect, db: Path) -> None:
    holder = connect()
    holder.execute("CREATE TABLE t (a)")
    plain = sqlite3.connect("file::memory:", uri=True, timeout=0.3, isolation_level=None)
    plain.execute("ATTACH ? AS shared", (seawall.uri(db, timeout=60),))
    holder.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    with pytest.raises(sqlite3.OperationalError, match="database is locked"):
        plain.execute("INSERT INTO shared.t VALUES (1)")
    assert 0.25 < time.monotonic() - began < 1.5
    plain.close()


def test_a_waiting_writer_starts_on_the_newest_version(connect: Connect, db: Path) -> None:
    """A BEGIN IMMEDIATE that waited never fails for what was committed meanwhile."""
    connect().execute("CREATE TABLE t (a)")

    def write() -> None:
        connection = seawall.connect(db, isolation_level=None, timeout=20)
        for _ in range(25):
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO t SELECT coalesce(max(a), 0) + 1 FROM t")
            connection.execute("COMMIT")
        connection.close()

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rows(connect(), "SELECT a FROM t ORDER BY a") == [(n,) for n in range(1, 101)]


def test_a_stale_snapshot_fails_at_the_first_write(connect: Connect) -> None:
    writer, late = connect(), connect()
    writer.execute("CREATE TABLE t (a)")
    late.execute("BEGIN")
    assert rows(late, "SELECT * FROM t") == []
    writer.execute("INSERT INTO t VALUES (1)")
    began = time.monotonic()
    with pytest.raises(seawall.StaleSnapshot, match="BEGIN IMMEDIATE") as raised:
        late.execute("INSERT INTO t VALUES (2)")
    assert time.monotonic() - began < 1
    assert isinstance(raised.value, seawall.DatabaseBusy)
    assert raised.value.sqlite_errorname == "SQLITE_BUSY_SNAPSHOT"
    assert "database is locked" in str(raised.value)
    # The read transaction is still there, and reads what it read.
    assert late.in_transaction
    assert rows(late, "SELECT * FROM t") == []
    late.execute("ROLLBACK")
    late.execute("INSERT INTO t VALUES (2)")
    assert rows(writer, "SELECT a FROM t ORDER BY a") == [(1,), (2,)]


SLEEPER = """
import os, signal, sys, sqlite3, seawall
connection = seawall.connect(sys.argv[1], isolation_level=None, lease=0.5)
connection.execute("BEGIN IMMEDIATE")
connection.execute("INSERT INTO t VALUES ('lost')")
print("written", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
try:
    connection.execute("COMMIT")
except seawall.Superseded as error:
    print(error.sqlite_errorname, connection.in_transaction, str(error).replace(chr(10), " "))
connection.execute("BEGIN IMMEDIATE")
connection.execute("INSERT INTO t VALUES ('later')")
connection.execute("COMMIT")
print([a for a, in connection.execute("SELECT a FROM t ORDER BY rowid")])
"""


def test_a_writer_that_slept_over_its_lease_loses_its_commit(connect: Connect, db: Path) -> None:
    connection = connect(lease=0.5, timeout=20)
    connection.execute("CREATE TABLE t (a)")
    sleeper = subprocess.Popen([sys.executable, "-c", SLEEPER, str(db)], stdout=subprocess.PIPE, text=True)
    assert sleeper.stdout
    assert sleeper.stdout.readline() == "written\n"
    os.waitid(os.P_PID, sleeper.pid, os.WSTOPPED | os.WNOWAIT)
    connection.execute("INSERT INTO t VALUES ('won')")
    os.kill(sleeper.pid, signal.SIGCONT)
    said, _ = sleeper.communicate(timeout=30)
    lost, after = said.splitlines()
    assert lost.startswith("SQLITE_BUSY_SNAPSHOT False database is locked: ")
    assert "othing was written" in lost
    assert after == "['won', 'later']"
    assert rows(connection, "SELECT a FROM t ORDER BY rowid") == [("won",), ("later",)]


def test_opening_fails_in_words(tmp_path: Path) -> None:
    text = tmp_path / "text.sqlite3"
    text.write_text("This is no database, but it is long enough to be taken for one. " * 20)
    with contextlib.closing(seawall.connect(text)) as connection:
        for _ in range(2):
            with pytest.raises(seawall.NotADatabase, match=r"^file is not a database: .*not a SQLite") as raised:
                connection.execute("SELECT * FROM sqlite_schema")
            assert raised.value.sqlite_errorname == "SQLITE_NOTADB"
    assert text.read_text().startswith("This is")
    assert not Path(f"{text}-seawall").exists()
    with pytest.raises(seawall.CannotOpen, match="unable to open database file: "):
        seawall.connect(tmp_path / "no" / "such" / "folder.sqlite3")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"freshness": "often"}, "freshness=often"),
        ({"freshness": -1}, "freshness=-1"),
        ({"lease": 0}, "lease=0"),
        ({"lease": 1e-9}, "from 0.1 to 3600"),
        ({"lease": 7200}, "lease=7200"),
        ({"timeout": 1e9}, "timeout=1000000000"),
        ({"freshness": 1e6}, "freshness=1000000"),
        ({"request_age": -1}, "request_age=-1"),
        ({"page_cache": 1 << 60}, "page_cache=1152921504606846976"),
        ({"page_cache": "1M"}, "page_cache=1M"),
        ({"coordinator": "carrier-pigeon:"}, "carrier-pigeon"),
    ],
)
def test_options_that_make_no_sense(db: Path, options: dict[str, object], words: str) -> None:
    with pytest.raises(sqlite3.OperationalError, match=words):
        seawall.connect(db, **options)  # type: ignore[arg-type]
    assert not db.exists()


@pytest.mark.parametrize("parameter", ["at=7", "nolock=1", "immutable=1", "freshnes=1"])
def test_parameters_that_are_refused(connect: Connect, db: Path, parameter: str) -> None:
    connect().execute("CREATE TABLE t (a)")
    with pytest.raises(sqlite3.OperationalError, match=parameter.partition("=")[0]):
        seawall.connect(f"file:{db}?{parameter}")


def test_an_overcome_failure_is_forgotten(connect: Connect, db: Path) -> None:
    """A failure that SQLite retried with success is never reported as the cause of another one."""
    holder = connect(check_same_thread=False)
    holder.execute("CREATE TABLE t (a)")
    holder.execute("BEGIN IMMEDIATE")
    # SQLite's own busy handler retries this one, over and over.
    waiter = seawall.Connection(f"file:{db}?vfs=seawall", uri=True, timeout=20, isolation_level=None)
    release = threading.Timer(0.3, holder.execute, ["COMMIT"])
    release.start()
    waiter.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(sqlite3.OperationalError, match=r"^no such table: u$"):
        waiter.execute("SELECT * FROM u")
    waiter.close()


def test_unknown_pragmas_are_named(connect: Connect) -> None:
    connection = connect()
    with pytest.raises(sqlite3.OperationalError, match="seawall_nonsense"):
        connection.execute("PRAGMA seawall_nonsense")
    with pytest.raises(sqlite3.OperationalError, match="cannot be set"):
        connection.execute("PRAGMA seawall_version=3")
    assert version(connection) == 0
    assert "version" in one(connection, "PRAGMA seawall_status")


@pytest.mark.parametrize(
    ("kind", "like", "cls", "code", "name"),
    [
        ("Busy", sqlite3.OperationalError, seawall.DatabaseBusy, 5, "SQLITE_BUSY"),
        ("StaleSnapshot", sqlite3.OperationalError, seawall.StaleSnapshot, 517, "SQLITE_BUSY_SNAPSHOT"),
        ("Superseded", sqlite3.OperationalError, seawall.Superseded, 517, "SQLITE_BUSY_SNAPSHOT"),
        ("Unreachable", sqlite3.OperationalError, seawall.CoordinatorUnreachable, 3850, "SQLITE_IOERR_LOCK"),
        ("OutcomeUnknown", sqlite3.OperationalError, seawall.OutcomeUnknown, 7690, "SQLITE_IOERR_COMMIT_ATOMIC"),
        ("SnapshotTooOld", sqlite3.OperationalError, seawall.SnapshotTooOld, 266, "SQLITE_IOERR_READ"),
        ("Corrupt", sqlite3.DatabaseError, seawall.DatabaseDamaged, 11, "SQLITE_CORRUPT"),
        ("Full", sqlite3.OperationalError, seawall.DiskFull, 13, "SQLITE_FULL"),
        ("CannotOpen", sqlite3.OperationalError, seawall.CannotOpen, 14, "SQLITE_CANTOPEN"),
        ("NoDatabase", sqlite3.OperationalError, seawall.NoDatabase, 14, "SQLITE_CANTOPEN"),
        ("NeedsRecovery", sqlite3.OperationalError, seawall.NeedsRecovery, 14, "SQLITE_CANTOPEN"),
        ("NotADatabase", sqlite3.DatabaseError, seawall.NotADatabase, 26, "SQLITE_NOTADB"),
        ("Permission", sqlite3.OperationalError, seawall.PermissionDenied, 3, "SQLITE_PERM"),
        ("ReadOnly", sqlite3.OperationalError, seawall.DatabaseReadOnly, 8, "SQLITE_READONLY"),
        ("Io", sqlite3.OperationalError, seawall.StorageFailed, 10, "SQLITE_IOERR"),
    ],
)
def test_every_row_of_the_table(
    monkeypatch: pytest.MonkeyPatch, kind: str, like: type[sqlite3.Error], cls: type[Exception], code: int, name: str
) -> None:
    """The design's table of errors: what Python's class for the code is, ours is too."""
    error = like("SQLite's words")
    error.sqlite_errorcode, error.sqlite_errorname = code, name
    commit = "ab" * 16
    monkeypatch.setattr(_native, "take_failure", lambda: (code, kind, commit, "our words"))
    explained = errors.explained(error)
    assert type(explained) is cls
    assert isinstance(explained, (like, seawall.SeawallError))
    assert str(explained) == "SQLite's words: our words"
    assert (explained.sqlite_errorcode, explained.sqlite_errorname) == (code, name)
    assert getattr(explained, "commit_id", None) == (commit if kind == "OutcomeUnknown" else None)


def test_words_for_something_else_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_native, "take_failure", lambda: (5, "Busy", None, "our words"))
    error = sqlite3.OperationalError("no such table: t")
    error.sqlite_errorcode = 1
    assert errors.explained(error) is None
    assert errors.explained(sqlite3.ProgrammingError("Cannot operate on a closed database.")) is None
