"""Connections and transactions, as Django uses them."""

import copy
import multiprocessing
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import seawall
from django.db import IntegrityError, OperationalError, ProgrammingError
from django.test.utils import CaptureQueriesContext
from seawall.django.base import DatabaseWrapper

Open = Callable[..., DatabaseWrapper]


def run(database: DatabaseWrapper, sql: str) -> list[Any]:
    with database.cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())


@pytest.fixture
def database(open_database: Open) -> DatabaseWrapper:
    database = open_database()
    run(database, "CREATE TABLE t (x INTEGER UNIQUE)")
    return database


def begin_statement(database: DatabaseWrapper) -> str:
    """The statement by which a transaction begins."""
    database.ensure_connection()
    with CaptureQueriesContext(database) as queries:
        database.set_autocommit(False, force_begin_transaction_with_broken_autocommit=True)
        database.rollback()
        database.set_autocommit(True)
    return str(queries[0]["sql"])


def test_the_database_is_seawalls(database: DatabaseWrapper, tmp_path: Path) -> None:
    assert (tmp_path / "db.sqlite3-seawall").is_dir()
    assert isinstance(database.connection, seawall.Connection)
    assert (database.vendor, database.display_name) == ("sqlite", "Seawall (SQLite)")


@pytest.mark.parametrize(
    ("options", "begin"),
    [
        ({}, "BEGIN IMMEDIATE"),
        ({"transaction_mode": "EXCLUSIVE"}, "BEGIN EXCLUSIVE"),
        ({"transaction_mode": "deferred"}, "BEGIN DEFERRED"),
        ({"transaction_mode": "EXCLUSIVE", "exclusive_mode": "deferred"}, "BEGIN DEFERRED"),
        ({"exclusive_mode": "deferred"}, "BEGIN IMMEDIATE"),
        ({"transaction_mode": None}, "BEGIN"),
    ],
)
def test_transaction_modes(open_database: Open, options: dict[str, Any], begin: str) -> None:
    assert begin_statement(open_database(options)) == begin


def test_a_mode_that_is_set_before_django_connects(open_database: Open) -> None:
    """As django-tasks-db does it for one transaction, after it has closed old connections."""
    database = open_database({"exclusive_mode": "DEFERRED"})
    with pytest.raises(AttributeError):
        assert database.transaction_mode
    database.get_connection_params()
    before, database.transaction_mode = database.transaction_mode, "EXCLUSIVE"
    assert begin_statement(database) == "BEGIN DEFERRED"
    database.transaction_mode = before
    assert begin_statement(database) == "BEGIN IMMEDIATE"
    database.close()
    assert begin_statement(database) == "BEGIN IMMEDIATE"


def test_a_read_only_database_begins_deferred(database: DatabaseWrapper, open_database: Open, tmp_path: Path) -> None:
    reader = open_database(NAME=f"file:{tmp_path}/db.sqlite3?mode=ro")
    assert begin_statement(reader) == "BEGIN"
    assert run(reader, "SELECT count(*) FROM t") == [(0,)]
    with pytest.raises(OperationalError, match="readonly"):
        run(reader, "INSERT INTO t VALUES (1)")


def test_without_autocommit(database: DatabaseWrapper, open_database: Open) -> None:
    database.set_autocommit(False)
    run(database, "INSERT INTO t VALUES (1)")
    assert database.connection.in_transaction
    assert database.connection.isolation_level == "IMMEDIATE"
    assert run(open_database(), "SELECT x FROM t") == []
    database.commit()
    assert run(open_database(), "SELECT x FROM t") == [(1,)]
    run(database, "INSERT INTO t VALUES (2)")
    database.rollback()
    database.set_autocommit(True)
    assert run(database, "SELECT x FROM t") == [(1,)]


def test_rows_come_one_by_one(database: DatabaseWrapper) -> None:
    run(database, "INSERT INTO t VALUES (1), (2), (3)")
    with database.cursor() as cursor:
        cursor.execute("SELECT x FROM t ORDER BY x")
        assert [next(cursor.cursor), *cursor] == [(1,), (2,), (3,)]


def test_init_command_and_timeout(open_database: Open) -> None:
    options = {"init_command": "PRAGMA cache_size=123; PRAGMA user_version=7", "timeout": 2}
    database = open_database(options)
    assert run(database, "PRAGMA cache_size") == [(123,)]
    assert run(database, "PRAGMA user_version") == [(7,)]
    assert [int(*row) for row in run(database, "PRAGMA busy_timeout")] == [2000]


def test_the_settings_stay_as_they_are(open_database: Open) -> None:
    database = open_database({"timeout": 5, "freshness": 2, "init_command": "PRAGMA cache_size=9"})
    before = copy.deepcopy(database.settings_dict)
    run(database, "CREATE TABLE t (x)")
    begin_statement(database)
    database.close()
    assert database.settings_dict == before


def test_in_memory_is_stock_sqlite(open_database: Open) -> None:
    database = open_database({"coordinator": "fs:", "lease": 5}, NAME=":memory:")
    run(database, "CREATE TABLE t (x)")
    assert type(database.connection) is sqlite3.Connection
    assert database.is_in_memory_db()
    database.close()
    assert run(database, "SELECT count(*) FROM t") == [(0,)]


def test_busy(database: DatabaseWrapper, open_database: Open) -> None:
    waiting = open_database({"timeout": 0.2})
    waiting.ensure_connection()
    database.ensure_connection()
    run(database, "BEGIN IMMEDIATE")
    with pytest.raises(OperationalError, match="database is locked") as raised:
        run(waiting, "INSERT INTO t VALUES (1)")
    assert isinstance(raised.value.__cause__, seawall.DatabaseBusy)
    run(database, "ROLLBACK")
    run(waiting, "INSERT INTO t VALUES (1)")


def test_a_deferred_transaction_is_refused_when_stale(database: DatabaseWrapper, open_database: Open) -> None:
    deferred = open_database({"transaction_mode": "DEFERRED"})
    run(deferred, "BEGIN")
    assert run(deferred, "SELECT x FROM t") == []
    run(database, "INSERT INTO t VALUES (1)")
    with pytest.raises(OperationalError, match="IMMEDIATE") as raised:
        run(deferred, "INSERT INTO t VALUES (2)")
    assert isinstance(raised.value.__cause__, seawall.StaleSnapshot)
    run(deferred, "ROLLBACK")
    assert run(deferred, "SELECT x FROM t") == [(1,)]


def test_stock_errors_stay_as_they_are(database: DatabaseWrapper) -> None:
    run(database, "INSERT INTO t VALUES (1)")
    with pytest.raises(IntegrityError, match=r"UNIQUE constraint failed: t\.x"):
        run(database, "INSERT INTO t VALUES (1)")
    with pytest.raises(OperationalError, match="no such table: u"):
        run(database, "SELECT * FROM u")


def test_is_usable(database: DatabaseWrapper) -> None:
    assert database.is_usable()
    run(database, "BEGIN IMMEDIATE")
    assert database.is_usable()
    run(database, "ROLLBACK")
    database.connection.close()
    assert not database.is_usable()
    with pytest.raises(ProgrammingError):
        run(database, "SELECT 1")
    database.connection = None
    assert not database.is_usable()


def test_a_persistent_connection_is_kept_and_checked(open_database: Open) -> None:
    database = open_database(CONN_MAX_AGE=None, CONN_HEALTH_CHECKS=True)
    run(database, "CREATE TABLE t (x)")
    first = database.connection
    database.close_if_unusable_or_obsolete()
    run(database, "SELECT * FROM t")
    assert database.connection is first
    database.close_if_unusable_or_obsolete()
    first.close()
    assert run(database, "SELECT * FROM t") == []
    assert database.connection is not first


def test_threads_have_connections_of_their_own(database: DatabaseWrapper, open_database: Open) -> None:
    def write(number: int) -> None:
        mine = open_database()
        for _ in range(10):
            run(mine, f"INSERT INTO t SELECT {number} + 8 * count(*) FROM t WHERE x % 8 = {number}")
        mine.close()

    threads = [threading.Thread(target=write, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert run(database, "SELECT count(*), count(DISTINCT x) FROM t") == [(80, 80)]


def test_a_connection_that_is_inherited_by_fork(database: DatabaseWrapper) -> None:
    """As by gunicorn's workers, when the application was loaded, and asked, before they forked."""

    def write(number: int) -> None:
        for _ in range(10):
            run(database, f"INSERT INTO t SELECT {number} + 4 * count(*) FROM t WHERE x % 4 = {number}")

    forking = multiprocessing.get_context("fork")
    workers = [forking.Process(target=write, args=[number]) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0, 0]
    assert run(database, "SELECT count(*), count(DISTINCT x) FROM t") == [(40, 40)]
