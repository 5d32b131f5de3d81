"""Many threads, many processes, forks; and what each may see."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import seawall

from .conftest import Connect, intact, one, rows, version


def test_thirty_two_threads(connect: Connect, db: Path) -> None:
    connect().execute("CREATE TABLE t (thread, n)")
    failures: list[BaseException] = []

    def work(thread: int) -> None:
        try:
            connection = seawall.connect(db, isolation_level=None, timeout=60)
            for n in range(10):
                connection.execute("BEGIN IMMEDIATE")
                count = one(connection, "SELECT count(*) FROM t WHERE thread = ?", thread)
                connection.execute("INSERT INTO t VALUES (?, ?)", (thread, count))
                connection.execute("COMMIT")
                assert one(connection, "SELECT count(*) FROM t WHERE thread = ?", thread) == n + 1
            connection.close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=[n]) for n in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    connection = connect()
    assert rows(connection, "SELECT thread, count(*), max(n) FROM t GROUP BY 1") == [(n, 10, 9) for n in range(32)]
    assert version(connection) == 321
    assert intact(connection)


def test_one_connection_in_many_threads(connect: Connect) -> None:
    connection = connect(check_same_thread=False)
    connection.execute("CREATE TABLE t (a)")
    # Python's own module mixes the results of concurrent calls up; SQLite and the VFS do not mind who calls.
    turn = threading.Lock()

    def work() -> None:
        for n in range(20):
            with turn:
                connection.execute("INSERT INTO t VALUES (?)", (n,))
            with turn:
                rows(connection, "SELECT count(*) FROM t")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert one(connection, "SELECT count(*) FROM t") == 160


def test_a_fork_after_connect(connect: Connect) -> None:
    """As gunicorn does with --preload: parent and children go on using the connection that was opened before."""
    connection = connect(timeout=60)
    connection.execute("CREATE TABLE t (pid, n)")
    rows(connection, "SELECT * FROM t")
    children = []
    for _ in range(4):
        if child := os.fork():
            children.append(child)
            continue
        try:
            for n in range(20):
                connection.execute("INSERT INTO t VALUES (?, ?)", (os.getpid(), n))
                assert one(connection, "SELECT count(*) FROM t WHERE pid = ?", os.getpid()) == n + 1
            os._exit(0)
        except BaseException as error:
            print(repr(error))
            os._exit(1)
    for n in range(20):
        connection.execute("INSERT INTO t VALUES (?, ?)", (os.getpid(), n))
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    assert one(connection, "SELECT count(*) FROM t") == 100
    assert version(connection) == 101
    assert intact(connection)


@pytest.mark.parametrize("asks", ["PRAGMA seawall_status", "PRAGMA seawall_version", "BACKUP", "ATTACH"])
def test_what_a_child_asks_takes_nothing_from_its_parent(connect: Connect, db: Path, asks: str) -> None:
    connection = connect()
    connection.execute("CREATE TABLE t (a)")
    connection.execute("INSERT INTO t VALUES (1)")
    for _ in range(40):
        # So often that the kernel watches the folder, on a local disk.
        one(connection, "SELECT count(*) FROM t")
    wait, go = os.pipe()
    if not (child := os.fork()):
        os.read(wait, 1)
        if asks == "BACKUP":
            connection.backup(sqlite3.connect(":memory:"))
        elif asks == "ATTACH":
            connection.execute("ATTACH ? AS again", (seawall.uri(db),))
        else:
            connection.execute(asks).fetchall()
        os._exit(0)
    code = "import seawall, sys; seawall.connect(sys.argv[1], isolation_level=None).execute('INSERT INTO t VALUES (2)')"
    subprocess.run([sys.executable, "-c", code, str(db)], check=True)
    os.write(go, b"x")
    assert os.waitpid(child, 0)[1] == 0
    assert one(connection, "SELECT count(*) FROM t") == 2


def test_a_fork_inside_a_transaction_belongs_to_the_parent(connect: Connect, db: Path) -> None:
    connection = connect(timeout=20)
    connection.execute("CREATE TABLE t (a)")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO t VALUES ('parent')")
    if not (child := os.fork()):
        try:
            connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            connection.close()
            os._exit("forked inside the transaction" not in str(error))
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    # The lease is still the parent's.
    with pytest.raises(seawall.DatabaseBusy):
        connect(timeout=0.2).execute("BEGIN IMMEDIATE")
    connection.execute("COMMIT")
    assert rows(connect(), "SELECT * FROM t") == [("parent",)]


def count_up(path: Path) -> None:
    """Add one to a counter, twenty-five times."""
    connection = seawall.connect(path, isolation_level=None, timeout=60)
    for _ in range(25):
        connection.execute("BEGIN IMMEDIATE")
        value = one(connection, "SELECT a FROM t")
        connection.execute("UPDATE t SET a = ?", (value + 1,))
        connection.execute("COMMIT")


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_count_without_a_loss(connect: Connect, db: Path, method: str) -> None:
    connection = connect()
    connection.execute("CREATE TABLE t (a)")
    connection.execute("INSERT INTO t VALUES (0)")
    context = multiprocessing.get_context(method)
    processes = [context.Process(target=count_up, args=[db]) for _ in range(4)]  # type: ignore[attr-defined]
    for process in processes:
        process.start()
    seen = 0
    while any(process.is_alive() for process in processes):
        now = one(connection, "SELECT a FROM t")
        assert now >= seen
        seen = now
    assert [process.exitcode for process in processes] == [0] * 4
    assert one(connection, "SELECT a FROM t") == 100


def write_elsewhere(path: Path, value: int) -> None:
    """Write from another process."""
    seawall.connect(path, isolation_level=None, timeout=20).execute("UPDATE t SET a = ?", (value,))


def in_another_process(path: Path, value: int) -> None:
    process = multiprocessing.get_context("spawn").Process(target=write_elsewhere, args=[path, value])
    process.start()
    process.join()
    assert process.exitcode == 0


def test_freshness(connect: Connect, db: Path) -> None:
    strict = connect()
    strict.execute("CREATE TABLE t (a)")
    strict.execute("INSERT INTO t VALUES (0)")
    lazy, relaxed = connect(freshness="request", request_age=3600), connect(freshness=3600)
    connections = (strict, lazy, relaxed)
    assert [one(connection, "SELECT a FROM t") for connection in connections] == [0, 0, 0]
    in_another_process(db, 1)
    seawall.begin_request()
    assert one(lazy, "SELECT a FROM t") == 1
    in_another_process(db, 2)
    before = seawall.counts(db)
    assert [one(lazy, "SELECT a FROM t") for _ in range(10)] == [1] * 10
    assert one(relaxed, "SELECT a FROM t") == 1
    assert (seawall.counts(db) - before).coordinator == 0
    assert one(strict, "SELECT a FROM t") == 2
    # This process never goes back to an older version, and always sees its own writes.
    assert one(lazy, "SELECT a FROM t") == 2
    in_another_process(db, 3)
    lazy.execute("UPDATE t SET a = a + 10")
    assert one(lazy, "SELECT a FROM t") == 13
    in_another_process(db, 4)
    seawall.end_request()
    assert one(lazy, "SELECT a FROM t") == 4


def test_a_request_that_lasts_sees_what_is_older_than_its_age(connect: Connect, db: Path) -> None:
    strict, lazy = connect(), connect(freshness="request", request_age=0.5)
    strict.execute("CREATE TABLE t (a)")
    strict.execute("INSERT INTO t VALUES (0)")
    seawall.begin_request()
    try:
        seen = [one(lazy, "SELECT a FROM t")]
        in_another_process(db, 1)
        deadline = time.monotonic() + 20
        while seen[-1] == 0 and time.monotonic() < deadline:
            seen.append(one(lazy, "SELECT a FROM t"))
        assert seen[-1] == 1, "it waits for what another process commits"
        # It asks once in its age, not at every transaction.
        before, began = seawall.counts(db), time.monotonic()
        while time.monotonic() - began < 1.6:
            assert one(lazy, "SELECT a FROM t") == 1
        # A busy machine runs fewer transactions.
        assert 1 <= (seawall.counts(db) - before).coordinator <= 4
    finally:
        seawall.end_request()


def test_what_only_reads_under_a_kept_lease_asks_at_its_commit(connect: Connect, db: Path) -> None:
    connection = connect()
    connection.execute("CREATE TABLE t (a)")
    for n in range(200):
        # A process that comes back soon keeps the lease, unless this machine is busy.
        connection.execute("INSERT INTO t VALUES (?)", (n,))
        before = seawall.counts(db)
        connection.execute("BEGIN IMMEDIATE")
        begun = seawall.counts(db) - before
        rows(connection, "SELECT * FROM t")
        connection.execute("COMMIT")
        whole = seawall.counts(db) - before
        if begun.coordinator == 0:
            assert whole.coordinator == 1, "a lease is no proof: what was read is certain once the head was asked"
            return
    pytest.fail("the lease was never kept, in 200 tries")


def test_a_write_asks_for_lease_and_head_at_once(connect: Connect, db: Path) -> None:
    connection = connect()
    connection.execute("CREATE TABLE t (a)")
    rows(connection, "SELECT * FROM t")
    time.sleep(0.5)
    before = seawall.counts(db)
    connection.execute("BEGIN IMMEDIATE")
    merged = seawall.counts(db) - before
    connection.execute("ROLLBACK")
    time.sleep(0.5)
    connection.set_trace_callback(lambda sql: None)
    before = seawall.counts(db)
    connection.execute("BEGIN IMMEDIATE")
    apart = seawall.counts(db) - before
    connection.execute("ROLLBACK")
    assert merged.coordinator < apart.coordinator


def test_readers_and_writers_do_not_wait_for_each_other(connect: Connect) -> None:
    writer, reader = connect(), connect()
    writer.execute("CREATE TABLE t (a)")
    writer.execute("INSERT INTO t VALUES (0)")
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE t SET a = 1")
    began = time.monotonic()
    reader.execute("BEGIN")
    assert one(reader, "SELECT a FROM t") == 0
    writer.execute("COMMIT")
    assert time.monotonic() - began < 1
    assert one(reader, "SELECT a FROM t") == 0
    reader.execute("COMMIT")
    assert one(reader, "SELECT a FROM t") == 1


def test_memory_and_temporary_databases_are_sqlites_own() -> None:
    for name in (":memory:", "", "file::memory:"):
        connection = seawall.connect(name, uri=name.startswith("file:"))
        connection.execute("CREATE TABLE t (a)")
        with pytest.raises(sqlite3.OperationalError, match=r"^no such table: u$"):
            connection.execute("SELECT * FROM u")
        connection.close()
