"""Which transactions take the lease: those that will certainly write, and no others."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import seawall

from .conftest import Connect, one, rows

QUIET = 0.15
"""Seconds after which a process has given its lease back."""

WRITE = """
import sys, seawall
seawall.connect(sys.argv[1], isolation_level=None, timeout=float(sys.argv[2])).execute("INSERT INTO t VALUES (2)")
"""


def another_writes(db: Path, timeout: float = 3) -> bool:
    """Whether another process gets the lease."""
    command = [sys.executable, "-c", WRITE, str(db), str(timeout)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def connection(connect: Connect) -> sqlite3.Connection:
    """A table of main, and a temporary one."""
    connection = connect()
    connection.execute("CREATE TABLE t (x)")
    connection.execute("CREATE TABLE attempts (x)")
    connection.execute("INSERT INTO t VALUES (1)")
    connection.execute("CREATE TEMP TABLE scratch (x)")
    time.sleep(QUIET)
    return connection


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO scratch SELECT x FROM t",
        "INSERT INTO temp.scratch SELECT x FROM main.t",
        "UPDATE scratch SET x = (SELECT max(x) FROM t)",
        "WITH c AS (SELECT x FROM t) INSERT INTO scratch SELECT x FROM c",
        "CREATE TEMP TABLE more AS SELECT x FROM t",
        "CREATE TABLE IF NOT EXISTS t (x)",
        "EXPLAIN DELETE FROM t",
    ],
)
def test_a_transaction_that_only_reads_keeps_no_other_waiting(
    connection: sqlite3.Connection, db: Path, statement: str
) -> None:
    connection.execute("BEGIN")
    connection.execute(statement).fetchall()
    connection.execute("SELECT count(*) FROM t").fetchall()
    assert another_writes(db)
    connection.execute("ROLLBACK")


def test_a_temporary_view_hides_a_table(connection: sqlite3.Connection, db: Path) -> None:
    connection.execute("CREATE TEMP VIEW attempts AS SELECT x FROM scratch")
    connection.execute(
        "CREATE TEMP TRIGGER into_it INSTEAD OF INSERT ON attempts BEGIN INSERT INTO scratch SELECT max(x) FROM t; END"
    )
    connection.execute("BEGIN")
    connection.execute("INSERT INTO attempts VALUES (1)")
    assert another_writes(db)
    connection.execute("COMMIT")
    assert rows(connection, "SELECT x FROM scratch") == [(1,)]


@pytest.mark.parametrize("before", ["INSERT INTO t VALUES (1)", "BEGIN IMMEDIATE; COMMIT"])
def test_a_trace_callback_of_the_application(connection: sqlite3.Connection, db: Path, before: str) -> None:
    seen: list[str] = []
    for statement in before.split(";"):
        connection.execute(statement)
    # From now on SQLite announces no statements to Seawall.
    connection.set_trace_callback(seen.append)
    connection.execute("SELECT count(*) FROM t").fetchall()
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM t").fetchall()
    assert another_writes(db)
    connection.execute("COMMIT")
    connection.execute("INSERT INTO t VALUES (3)")
    assert seen[-1] == "INSERT INTO t VALUES (3)"
    assert rows(connection, "SELECT x FROM t WHERE x > 1 ORDER BY x") == [(2,), (3,)]


@pytest.mark.parametrize(
    "statement", ["BEGIN IMMEDIATE; SELECT count(*) FROM t; COMMIT", "INSERT INTO scratch SELECT x FROM t"]
)
def test_under_a_kept_lease_what_commits_nothing_asks(connection: sqlite3.Connection, db: Path, statement: str) -> None:
    for _ in range(3):
        # So soon after one another that the lease is kept.
        connection.execute("INSERT INTO t VALUES (1)")
    asked = seawall.counts(db).coordinator
    for part in statement.split(";"):
        connection.execute(part).fetchall()
    assert seawall.counts(db).coordinator > asked


def cost(connection: sqlite3.Connection, db: Path, *statements: str) -> int:
    """How often the coordinator is asked for them."""
    time.sleep(QUIET)
    before = seawall.counts(db).coordinator
    for statement in statements:
        connection.execute(statement)
    return seawall.counts(db).coordinator - before


def test_certain_writers_ask_once(connection: sqlite3.Connection, db: Path) -> None:
    transaction = cost(connection, db, "BEGIN IMMEDIATE", "INSERT INTO t VALUES (1)", "COMMIT")
    for statement in (
        "INSERT INTO t VALUES (1)",
        "INSERT INTO main.t VALUES (1)",
        "-- a comment\nUPDATE attempts SET x = 1",
        "UPDATE t SET x = x + 1",
        'REPLACE INTO "t" VALUES (1)',
        "DELETE FROM attempts",
        "WITH c AS (SELECT 5 AS x) INSERT INTO attempts SELECT x FROM c",
        "CREATE TABLE templates (x)",
    ):
        assert cost(connection, db, statement) <= transaction, statement
    assert cost(connection, db, "BEGIN", "SELECT * FROM t", "INSERT INTO t VALUES (1)", "COMMIT") > transaction


@pytest.mark.parametrize("cached", [0, 128])
def test_a_text_that_was_executed_before_is_judged_by_the_tables_of_now(
    connect: Connect, db: Path, connection: sqlite3.Connection, cached: int
) -> None:
    # Without cached statements, SQLite prepares each one where the one before was.
    connection = connect(cached_statements=cached)
    insert = "INSERT INTO attempts SELECT max(x) FROM t"
    once = cost(connection, db, insert)
    assert cost(connection, db, insert) == once
    connection.execute("CREATE TEMP TABLE attempts (x)")
    for end in ("COMMIT", "ROLLBACK"):
        connection.execute("BEGIN")
        connection.execute(insert)
        assert another_writes(db)
        connection.execute(end)
    connection.execute("DROP TABLE temp.attempts")
    assert cost(connection, db, insert) == once
    # Another text of the same length.
    connection.execute("CREATE TEMP TABLE scratch (x)")
    other = "INSERT INTO scratch  SELECT max(x) FROM t"
    assert len(other) == len(insert)
    reading = cost(connection, db, "SELECT max(x) FROM t")
    connection.execute(insert)
    assert cost(connection, db, other) == reading < once
    # While main is locked, no statement takes the lease together with a snapshot. The next one does again.
    deferred = cost(connection, db, "BEGIN", "SELECT * FROM t", insert, insert, "COMMIT")
    assert cost(connection, db, insert) == once < deferred
    # The same text with another number of letters, and one that is too long to be remembered.
    for spaces in (1, 2, 5000, 5000):
        assert cost(connection, db, f"INSERT INTO{' ' * spaces}attempts VALUES (1)") == once
    connection.execute("CREATE TEMP VIEW attempts AS SELECT x FROM t")
    connection.execute(
        "CREATE TEMP TRIGGER nowhere INSTEAD OF INSERT ON attempts BEGIN SELECT max(x) FROM main.attempts; END"
    )
    connection.execute("BEGIN")
    connection.execute(insert)
    assert another_writes(db)
    connection.execute("COMMIT")


def test_a_waiter_gets_the_lease_with_the_newest_version(connect: Connect, db: Path) -> None:
    connection = connect()
    connection.execute("CREATE TABLE t (x)")
    holder = connect()
    holder.execute("BEGIN IMMEDIATE")
    impatient = connect(timeout=0.05)
    with pytest.raises(seawall.DatabaseBusy):
        impatient.execute("INSERT INTO t VALUES (1)")
    # The refusal is of that statement: what only reads does not take the lease for it.
    assert one(impatient, "SELECT count(*) FROM t") == 0
    holder.execute("INSERT INTO t VALUES (2)")
    holder.execute("COMMIT")
    impatient.execute("BEGIN")
    assert one(impatient, "SELECT count(*) FROM t") == 1
    assert another_writes(db)
    impatient.execute("COMMIT")
