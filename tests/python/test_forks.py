"""What a forked child may use of its parent's, and what it must never touch."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE

import pytest
import seawall

from .conftest import Connect, one, rows

PATIENCE = 20
"""Seconds after which a child that hangs is ended, by the signal that the parent then finds."""


def in_a_child(work: Callable[[], None]) -> int:
    """Do `work` in a forked child; its number."""
    if child := os.fork():
        return child
    try:
        signal.alarm(PATIENCE)
        work()
        os._exit(0)
    except BaseException as error:
        print(repr(error), flush=True)
        os._exit(1)


def wait_for(child: int) -> int:
    """What became of a child: 0 if all went well."""
    return os.waitpid(child, 0)[1]


def write_elsewhere(db: Path, sql: str) -> None:
    """Commit from another process."""
    code = "import seawall, sys; seawall.connect(sys.argv[1], isolation_level=None).execute(sys.argv[2])"
    subprocess.run([sys.executable, "-c", code, db, sql], check=True)


def test_a_child_leaves_its_parent_what_the_kernel_tells_it(connect: Connect, db: Path) -> None:
    connection = connect()
    connection.execute("CREATE TABLE t (x)")
    for _ in range(40):
        # A process that looks this often has the kernel watch the folder.
        rows(connection, "SELECT * FROM t")
    wait, go = os.pipe()

    def ask() -> None:
        os.read(wait, 1)
        for question in ("PRAGMA seawall_status", "PRAGMA seawall_version", "SELECT count(*) FROM t"):
            try:
                rows(connection, question)
            except sqlite3.Error as error:
                assert "forked" in str(error)
        seawall.status(db)
        seawall.counts(db)
        connection.close()

    child = in_a_child(ask)
    write_elsewhere(db, "INSERT INTO t VALUES (1)")
    os.write(go, b"x")
    assert wait_for(child) == 0
    assert rows(connection, "SELECT * FROM t") == [(1,)]
    os.close(wait)
    os.close(go)


STOCK = """
import sqlite3, sys
stock = sqlite3.connect(sys.argv[1], isolation_level=None)
stock.execute("CREATE TABLE t (x)")
stock.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.readline()
"""


def test_a_child_opens_what_another_thread_was_opening(db: Path) -> None:
    """The adoption waits for another program, with all that it has locked meanwhile."""
    failed = []

    def adopt() -> None:
        try:
            rows(seawall.connect(db, timeout=2), "SELECT * FROM t")
        except sqlite3.Error as error:
            failed.append(error)

    with subprocess.Popen([sys.executable, "-c", STOCK, db], stdin=PIPE, stdout=PIPE, text=True) as stock:
        assert stock.stdout is not None and stock.stdout.readline() == "locked\n"
        thread = threading.Thread(target=adopt)
        thread.start()
        time.sleep(0.5)
        wait, go = os.pipe()

        def open_too() -> None:
            os.read(wait, 1)
            assert rows(seawall.connect(db), "SELECT * FROM t") == []

        child = in_a_child(open_too)
        thread.join()
        stock.communicate("go\n")
    assert failed
    os.write(go, b"x")
    assert wait_for(child) == 0, "it hangs where its parent's thread was"
    os.close(wait)
    os.close(go)


def test_a_child_adopts_what_its_parent_has_locked_no_more(db: Path) -> None:
    """SQLite in the child believes the parent's list of locks. The kernel knows that no process has one."""
    seawall.register()
    stock = sqlite3.connect(db, isolation_level=None)
    stock.execute("CREATE TABLE t (x)")
    stock.execute("INSERT INTO t VALUES (1)")
    stock.execute("BEGIN EXCLUSIVE")
    wait, go = os.pipe()

    def adopt() -> None:
        # While the parent really has it, it is busy.
        with pytest.raises(seawall.DatabaseBusy):
            rows(seawall.connect(db, timeout=0.5), "SELECT * FROM t")
        os.read(wait, 1)
        adopted = seawall.connect(db, isolation_level=None)
        adopted.execute("INSERT INTO t VALUES (2)")
        assert rows(adopted, "SELECT * FROM t") == [(1,), (2,)]

    child = in_a_child(adopt)
    time.sleep(2)
    stock.execute("ROLLBACK")
    stock.close()
    os.write(go, b"x")
    assert wait_for(child) == 0
    assert rows(seawall.connect(db), "SELECT * FROM t") == [(1,), (2,)]
    os.close(wait)
    os.close(go)


@pytest.mark.parametrize("child_first", [True, False])
def test_a_connection_that_was_opened_before_the_fork_and_is_used_after_it(
    connect: Connect, db: Path, child_first: bool
) -> None:
    """Nothing was adopted when it was opened: each process does it, or finds it done."""
    stock = sqlite3.connect(db)
    stock.execute("CREATE TABLE t (x)")
    stock.close()
    connection = connect()
    wait, go = os.pipe()

    def use() -> None:
        os.read(wait, 1)
        connection.execute("INSERT INTO t VALUES ('child')")

    child = in_a_child(use)
    if not child_first:
        connection.execute("INSERT INTO t VALUES ('parent')")
    os.write(go, b"x")
    assert wait_for(child) == 0
    if child_first:
        connection.execute("INSERT INTO t VALUES ('parent')")
    assert sorted(rows(connection, "SELECT x FROM t")) == [("child",), ("parent",)]
    os.close(wait)
    os.close(go)


def test_a_child_ends_while_another_thread_of_its_parent_writes(connect: Connect, db: Path) -> None:
    """The child drops its copy of a transaction in which another thread was; the parent's goes on."""
    connection = connect(check_same_thread=False)
    connection.execute("CREATE TABLE t (x)")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO t VALUES (1)")
    child = in_a_child(connection.close)
    assert wait_for(child) == 0
    with pytest.raises(seawall.DatabaseBusy):
        connect(timeout=0.1).execute("BEGIN IMMEDIATE")
    connection.execute("COMMIT")
    assert one(connect(), "SELECT x FROM t") == 1


PARENT = """
import os, sys, time, seawall
connection = seawall.connect(sys.argv[1], isolation_level=None, lease=60)
connection.execute("BEGIN IMMEDIATE")
connection.execute("INSERT INTO t VALUES ('never committed')")
if os.fork() == 0:
    print(os.getpid(), flush=True)
    time.sleep(60)
time.sleep(60)
"""


def test_a_child_does_not_keep_the_lease_of_a_parent_that_died(connect: Connect, db: Path) -> None:
    connection = connect(timeout=5)
    connection.execute("CREATE TABLE t (x)")
    with subprocess.Popen([sys.executable, "-c", PARENT, db], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
        began = time.monotonic()
        connection.execute("INSERT INTO t VALUES ('at once')")
        waited = time.monotonic() - began
        os.kill(child, signal.SIGKILL)
    assert waited < 1, f"{waited:.1f} s"
    assert rows(connection, "SELECT * FROM t") == [("at once",)]
