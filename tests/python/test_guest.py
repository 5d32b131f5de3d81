"""What a guest owes to the process that it runs in: signals, threads and descriptors are the program's."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import seawall

from .conftest import Connect


def run(code: str, *arguments: object) -> str:
    """Run a program with Seawall in it; what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True, timeout=120
    )
    assert done.returncode == 0, f"{done.returncode}: {done.stdout}"
    return done.stdout.strip()


BLOCKED = """
import os, signal, sys, time, seawall
connection = seawall.connect(sys.argv[1], isolation_level=None)
connection.execute("CREATE TABLE t (x)")
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
connection.execute("INSERT INTO t VALUES (1)")
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(0.3)
assert signal.sigtimedwait({signal.SIGTERM}, 0), "it stays pending until the program asks for it"
print("ended in order")
"""


def test_a_signal_that_the_program_blocks_waits_for_the_program(db: Path) -> None:
    assert run(BLOCKED, db) == "ended in order"


MASKS = """
import pathlib, signal, sys, threading, time, seawall
connection = seawall.connect(sys.argv[1], isolation_level=None)
connection.execute("CREATE TABLE t (x)")
time.sleep(0.2)  # a thread that is being started blocks all signals for a moment
masks = {}
for task in pathlib.Path("/proc/self/task").iterdir():
    if int(task.name) != threading.get_native_id():
        lines = dict(line.split(":", 1) for line in (task / "status").read_text().splitlines())
        masks[lines["Name"].strip()] = int(lines["SigBlk"], 16)
assert masks, "the background has something to do after a commit"
own = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSYS, signal.SIGTRAP}
free = {signal.SIGKILL, signal.SIGSTOP}
for name, mask in masks.items():
    blocked = {number for number in signal.valid_signals() if mask >> (number - 1) & 1}
    assert blocked == signal.valid_signals() - own - free, (name, blocked)
assert not signal.pthread_sigmask(signal.SIG_BLOCK, set()), "the program's own thread has its mask back"
"""


def test_threads_of_ours_take_no_signal(db: Path) -> None:
    run(MASKS, db)


THREADS = """
import os, sys, time, seawall
def threads():
    return len(os.listdir("/proc/self/task"))
connection = seawall.connect(sys.argv[1], isolation_level=None)
for _ in range(40):
    connection.execute("SELECT * FROM t").fetchall()
assert threads() == 1, "who reads needs no thread"
connection.execute("INSERT INTO t VALUES (1)")
assert threads() == 2, "what was committed is noted in the background"
deadline = time.monotonic() + 20
while threads() > 1:
    assert time.monotonic() < deadline, "with nothing to do the thread ends"
    time.sleep(0.1)
connection.execute("INSERT INTO t VALUES (2)")
assert threads() == 2, "and another one begins"
connection.execute("BEGIN IMMEDIATE")
connection.execute("INSERT INTO t VALUES (3)")
time.sleep(4)
assert threads() == 2, "a lease is renewed for as long as it takes"
connection.execute("COMMIT")
"""


def test_a_thread_is_there_only_while_there_is_something_to_do(connect: Connect, db: Path) -> None:
    connect().execute("CREATE TABLE t (x)")
    run(THREADS, db)


MANY_SEGMENTS = """
import os, resource, sys, seawall
folder, databases, writers = sys.argv[1], 6, 40
seawall.register()
names = [f"{folder}/{n}.sqlite3" for n in range(databases)]
def in_a_child(work):
    child = os.fork()
    if not child:
        work()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
def write(name, sql, *values):
    with seawall.connect(name) as connection:
        connection.execute(sql, values)
for name in names:
    in_a_child(lambda: write(name, "CREATE TABLE t (n INTEGER PRIMARY KEY, text)"))
    for n in range(writers):
        in_a_child(lambda: write(name, "INSERT INTO t VALUES (?, hex(randomblob(1800)))", n))
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
kept = [seawall.connect(name) for name in names]
for connection in kept:
    (row,) = connection.execute("SELECT count(*), sum(length(text)) FROM t")
    assert row == (writers, 3600 * writers)
print(len(os.listdir("/proc/self/fd")))
"""


def test_descriptors_are_bounded_for_the_process(tmp_path: Path) -> None:
    """Each writing process leaves a segment; an eighth of what the process may open serves to read them."""
    assert int(run(MANY_SEGMENTS, tmp_path)) < 128 // 2


TENANTS = """
import os, resource, sys, seawall
folder, databases = sys.argv[1], 210
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
def descriptors():
    return len(os.listdir("/proc/self/fd"))
kept = []
for n in range(databases):
    connection = seawall.connect(f"{folder}/{n}.sqlite3", isolation_level=None)
    connection.execute("CREATE TABLE t (x)")
    connection.execute("INSERT INTO t VALUES (?)", (n,))
    for _ in range(20):
        assert connection.execute("SELECT x FROM t").fetchall() == [(n,)]
    if sys.argv[2] == "held":
        kept.append(connection)
    else:
        connection.close()
held = descriptors()
for n, connection in enumerate(kept):
    connection.execute("UPDATE t SET x = x + 1")
    assert connection.execute("SELECT x FROM t").fetchall() == [(n + 1,)]
    connection.close()
print(held, descriptors())
"""


def test_hundreds_of_databases_one_after_the_other(tmp_path: Path) -> None:
    held, left = map(int, run(TENANTS, tmp_path, "in turn").split())
    assert held < 150
    assert left < 150


def test_hundreds_of_databases_at_the_same_time(tmp_path: Path) -> None:
    held, left = map(int, run(TENANTS, tmp_path, "held").split())
    assert 210 * 4 < held < 1024, "four for each that writes"
    assert left < 250, "the files of a closed database are closed"


FULL = """
import os, resource, sys, seawall
name, other = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
reader = seawall.connect(name, isolation_level=None)
assert reader.execute("SELECT count(*), sum(length(text)) FROM t").fetchone() == (40, 3600 * 40)
taken = []
try:
    while True:
        taken.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
writer = seawall.connect(other, isolation_level=None)
writer.execute("INSERT INTO t (text) VALUES ('x')")
assert reader.execute("SELECT count(*) FROM t").fetchone() == (40,)
"""


def test_what_is_only_kept_is_given_up_when_the_process_has_no_descriptor_left(db: Path, tmp_path: Path) -> None:
    code = (
        "import seawall, sys; c = seawall.connect(sys.argv[1], isolation_level=None);"
        "c.execute('CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY, text)');"
        "c.execute('INSERT INTO t (text) VALUES (hex(randomblob(1800)))')"
    )
    for _ in range(40):
        run(code, db)
    other = tmp_path / "other.sqlite3"
    run(code, other)
    run(FULL, db, other)


@pytest.mark.parametrize("bytes_each", [0, 40 << 20])
def test_closed_databases_keep_no_more_memory_than_one_cache(tmp_path: Path, bytes_each: int) -> None:
    code = """
import resource, sys, seawall
folder, size = sys.argv[1], int(sys.argv[2])
def resident():
    with open("/proc/self/statm") as facts:
        return int(facts.read().split()[1]) * resource.getpagesize()
before = 0
for n in range(7):
    with seawall.connect(f"{folder}/{n}.sqlite3", isolation_level=None) as connection:
        connection.execute("CREATE TABLE t (x)")
        if size:
            connection.execute("INSERT INTO t VALUES (randomblob(?))", (size,))
            # SQLite's own cache ends with the connection; the pages come from a base or a segment into Seawall's.
            connection.execute("SELECT sum(length(hex(x))) FROM t").fetchall()
    connection.close()
    before = before or resident()
print(resident() - before)
"""
    grown = int(run(code, tmp_path, bytes_each))
    assert grown < 150 << 20, f"{grown >> 20} MiB"


NO_THREAD = """
import os, resource, sys, time, seawall
os.setgid(65534)
os.setuid(65534)
connection = seawall.connect(sys.argv[1], isolation_level=None)
connection.execute("CREATE TABLE t (x)")
while len(os.listdir("/proc/self/task")) > 1:
    time.sleep(0.1)  # the background ends when it has nothing to do
soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
resource.setrlimit(resource.RLIMIT_NPROC, (1, hard))
connection.execute("INSERT INTO t VALUES (1)")
assert "no background thread" in seawall.status(sys.argv[1]).trouble
print("written", flush=True)
sys.stdin.readline()
resource.setrlimit(resource.RLIMIT_NPROC, (soft, hard))
connection.execute("INSERT INTO t VALUES (2)")
assert len(os.listdir("/proc/self/task")) == 2, "the background is back"
assert seawall.status(sys.argv[1]).trouble is None
print("written", flush=True)
sys.stdin.readline()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="SKIPPED: needs root, to become a user whose threads are limited")
def test_no_lease_stays_behind_where_no_thread_can_be_started() -> None:
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    name = folder / "db.sqlite3"
    command = [sys.executable, "-c", NO_THREAD, str(name)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        for _ in range(2):
            assert process.stdout.readline() == "written\n"
            time.sleep(0.2)
            with contextlib.closing(seawall.connect(name, isolation_level=None, timeout=1)) as other:
                # Below the lease of 3 s: it was given back.
                other.execute("INSERT INTO t VALUES (0)")
            process.stdin.write("\n")
            process.stdin.flush()
    assert process.returncode == 0
    shutil.rmtree(folder)
