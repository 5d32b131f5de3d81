"""Opening a connection does what it does in stock SQLite, and waits for no other. The first use adopts the file."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE

import pytest
import seawall

from .conftest import Connect, intact, one, rows

STOCK = """
import sqlite3, sys
stock = sqlite3.connect(sys.argv[1], isolation_level=None)
stock.execute("CREATE TABLE IF NOT EXISTS t (a)")
stock.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.readline()
stock.execute("INSERT INTO t VALUES (1)")
stock.execute("COMMIT")
"""


@contextlib.contextmanager
def locked_by_stock(name: Path) -> Iterator[subprocess.Popen[str]]:
    """Another program holds the file, with stock SQLite, until it reads a line."""
    with subprocess.Popen([sys.executable, "-c", STOCK, name], stdin=PIPE, stdout=PIPE, text=True) as stock:
        assert stock.stdin is not None
        assert stock.stdout is not None
        assert stock.stdout.readline() == "locked\n"
        yield stock
        if not stock.stdin.closed:
            stock.communicate("go\n")


def test_a_connection_that_does_nothing_leaves_an_empty_file_as_stock_does(connect: Connect, db: Path) -> None:
    connection = connect()
    assert one(connection, "SELECT 1") == 1
    assert one(connection, "PRAGMA busy_timeout") == 5000
    assert one(connection, "PRAGMA journal_mode") == "memory"
    assert one(connection, "PRAGMA mmap_size") == 0
    connection.close()
    sqlite3.connect(db.with_name("stock")).close()
    assert {path.name: path.read_bytes() for path in db.parent.iterdir()} == {"db.sqlite3": b"", "stock": b""}
    assert db.stat().st_mode == db.with_name("stock").stat().st_mode
    connection = connect()
    assert rows(connection, "SELECT * FROM sqlite_schema") == []
    assert Path(f"{db}-seawall", "id").exists()


def test_a_connection_that_does_nothing_leaves_a_plain_file_as_it_is(connect: Connect, db: Path) -> None:
    plain = sqlite3.connect(db, isolation_level=None)
    plain.execute("PRAGMA page_size=1024")
    plain.execute("CREATE TABLE t (a)")
    before = db.read_bytes()
    connection = connect()
    assert one(connection, "SELECT 1") == 1
    plain.execute("INSERT INTO t VALUES (1)")
    connection.close()
    assert [path.name for path in db.parent.iterdir()] == ["db.sqlite3"]
    assert before[18] == db.read_bytes()[18] == 1
    assert rows(connect(), "SELECT a FROM t") == [(1,)]
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        plain.execute("INSERT INTO t VALUES (2)")


@pytest.mark.parametrize("timeout", [0, 0.3])
def test_the_first_use_waits_as_long_as_it_may(connect: Connect, db: Path, timeout: float) -> None:
    with locked_by_stock(db):
        began = time.monotonic()
        connection = connect(timeout=timeout)
        assert time.monotonic() - began < 0.2, "nothing is waited for when it is opened"
        for statement in ("SELECT * FROM t", "BEGIN IMMEDIATE", "INSERT INTO t VALUES (2)"):
            began = time.monotonic()
            with pytest.raises(seawall.DatabaseBusy, match=r"^database is locked: .*stock SQLite"):
                connection.execute(statement)
            assert timeout <= time.monotonic() - began < timeout + 0.25
        assert not Path(f"{db}-seawall").exists()
    assert rows(connection, "SELECT a FROM t") == [(1,)]


@pytest.mark.parametrize(
    "statement",
    ["CREATE TABLE u (a)", "CREATE TABLE u AS SELECT 1", "CREATE TEMP TABLE u (a)", "CREATE VIEW v AS SELECT 1"],
)
def test_the_first_use_waits_once_where_sqlite_tries_twice(connect: Connect, db: Path, statement: str) -> None:
    """While SQLite prepares such a statement, it reads the schema, and after a failure looks whether it has changed."""
    with locked_by_stock(db):
        connection = connect(timeout=0.7)
        for again in (statement, statement, "SELECT * FROM t", statement, "BEGIN IMMEDIATE", statement):
            began = time.monotonic()
            with pytest.raises(seawall.DatabaseBusy, match=r"^database is locked: .*stock SQLite"):
                connection.execute(again)
            assert 0.7 <= time.monotonic() - began < 1.35, again
    assert not Path(f"{db}-seawall").exists()
    connection.execute(statement)


def test_the_first_use_waits_as_long_as_sqlites_own_timeout_says(db: Path) -> None:
    seawall.register()
    with locked_by_stock(db):
        connection = sqlite3.connect(f"file:{db}?vfs=seawall", uri=True, timeout=0.4, isolation_level=None)
        began = time.monotonic()
        with pytest.raises(sqlite3.OperationalError, match="database is locked"):
            connection.execute("SELECT * FROM t")
        assert 0.35 < time.monotonic() - began < 3  # SQLite counts its own sleeps only
        connection.execute("PRAGMA busy_timeout=0")
        began = time.monotonic()
        with pytest.raises(sqlite3.OperationalError, match="database is locked"):
            connection.execute("SELECT * FROM t")
        assert time.monotonic() - began < 0.25
    assert rows(connection, "SELECT a FROM t") == [(1,)]
    connection.close()


def test_the_first_use_goes_on_when_the_lock_is_free(connect: Connect, db: Path) -> None:
    with locked_by_stock(db) as stock:
        connection = connect(timeout=20)
        threading.Timer(0.5, stock.communicate, ["go\n"]).start()
        connection.execute("INSERT INTO t VALUES (2)")
    assert rows(connection, "SELECT a FROM t") == [(1,), (2,)]


def test_locks_of_this_process_stay(connect: Connect, db: Path) -> None:
    """The kernel ends all locks of a process on a file when any descriptor of it is closed."""
    stock = sqlite3.connect(db, isolation_level=None)
    stock.execute("CREATE TABLE t (a)")
    stock.execute("BEGIN IMMEDIATE")
    stock.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(seawall.DatabaseBusy):
        connect(timeout=0).execute("SELECT * FROM t")
    attached = connect(db.with_name("other.sqlite3"))
    attached.execute("ATTACH ? AS plain", (str(db),))
    assert rows(attached, "SELECT * FROM plain.t") == []
    attached.execute("DETACH plain")
    steal = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN IMMEDIATE')"
    stolen = subprocess.run([sys.executable, "-c", steal, db], capture_output=True, text=True, check=False)
    assert "database is locked" in stolen.stderr
    stock.execute("COMMIT")
    assert rows(connect(), "SELECT a FROM t") == [(1,)]


def test_threads_whose_first_use_races(db: Path) -> None:
    plain = sqlite3.connect(db)
    plain.execute("CREATE TABLE t (a)")
    plain.close()
    connections = [seawall.connect(db, isolation_level=None, check_same_thread=False, timeout=20) for _ in range(8)]
    ready = threading.Barrier(len(connections))
    failed = []

    def use(connection: sqlite3.Connection, n: int) -> None:
        ready.wait()
        try:
            connection.execute("INSERT INTO t VALUES (?)", (n,))
        except sqlite3.Error as error:
            failed.append(error)

    threads = [threading.Thread(target=use, args=(connection, n)) for n, connection in enumerate(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert rows(connections[0], "SELECT a FROM t ORDER BY a") == [(n,) for n in range(8)]
    assert intact(connections[1])
    for connection in connections:
        connection.close()


def test_a_thread_does_not_wait_for_another_ones_timeout(db: Path) -> None:
    """While a connection with a long timeout waits for stock SQLite, another one without a timeout fails at once."""
    with locked_by_stock(db) as stock:
        patient = seawall.connect(db, isolation_level=None, check_same_thread=False, timeout=20)
        waiting = threading.Thread(target=patient.execute, args=("INSERT INTO t VALUES (2)",))
        waiting.start()
        time.sleep(0.3)
        for timeout in (0, 0.3):
            with contextlib.closing(seawall.connect(db, timeout=timeout)) as connection:
                began = time.monotonic()
                with pytest.raises(seawall.DatabaseBusy):
                    connection.execute("SELECT * FROM t")
                assert timeout <= time.monotonic() - began < timeout + 0.25
        stock.communicate("go\n")
        waiting.join()
    assert rows(patient, "SELECT a FROM t") == [(1,), (2,)]
    patient.close()


def test_an_adoption_in_progress_is_not_waited_for_when_a_connection_is_opened(connect: Connect, db: Path) -> None:
    with locked_by_stock(db):
        # This is as far as another process gets, which waits as well.
        Path(f"{db}-seawall").mkdir()
        began = time.monotonic()
        connection = connect(timeout=0.3)
        assert time.monotonic() - began < 0.2
        with pytest.raises(seawall.DatabaseBusy):
            connection.execute("SELECT * FROM t")
        # Whose file it is to be is said already.
        other = connect(db.with_name("other.sqlite3"), timeout=0.3)
        with pytest.raises(seawall.DatabaseBusy):
            other.execute("ATTACH ? AS beside", (str(db),))
    assert rows(connection, "SELECT a FROM t") == [(1,)]


@pytest.mark.parametrize("mode", ["rw", "ro"])
def test_what_is_absent_and_may_not_be_made(db: Path, mode: str) -> None:
    with pytest.raises(seawall.CannotOpen, match="does not exist"):
        seawall.connect(f"file:{db}?mode={mode}")
    assert list(db.parent.iterdir()) == []


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_plain_file_that_is_opened_read_only_is_read_as_stock_sqlite_reads_it(
    connect: Connect, db: Path, mode: str
) -> None:
    plain = sqlite3.connect(db, isolation_level=None)
    plain.execute(f"PRAGMA journal_mode={mode}")
    plain.execute("CREATE TABLE t (a)")
    reader = connect(f"file:{db}?mode=ro", timeout=0.3)
    for n in range(3):
        assert one(reader, "SELECT count(*) FROM t") == n
        plain.execute("INSERT INTO t VALUES (1)")
    assert one(reader, "PRAGMA journal_mode") == mode
    reader.execute("BEGIN IMMEDIATE")
    assert one(reader, "SELECT count(*) FROM t") == 3
    with pytest.raises(sqlite3.OperationalError, match="attempt to write a readonly database"):
        reader.execute("INSERT INTO t VALUES (1)")
    reader.execute("COMMIT")
    if mode == "delete":
        plain.execute("BEGIN EXCLUSIVE")
        with pytest.raises(seawall.DatabaseBusy, match="stock SQLite"):
            reader.execute("SELECT * FROM t")
        plain.execute("COMMIT")
    with pytest.raises(sqlite3.OperationalError, match=r"is no Seawall database yet.*Open it once for writing"):
        reader.execute("PRAGMA seawall_version")
    assert rows(reader, "PRAGMA integrity_check") == [("ok",)]
    reader.close()
    plain.close()
    assert [path.name for path in db.parent.iterdir() if "-seawall" in path.name] == []


def test_an_empty_file_that_is_opened_read_only(connect: Connect, db: Path) -> None:
    db.touch()
    reader = connect(f"file:{db}?mode=ro")
    assert rows(reader, "SELECT * FROM sqlite_schema") == []
    connect().execute("CREATE TABLE t (a)")
    assert rows(reader, "SELECT * FROM t") == []


def test_a_hot_journal_beside_a_file_that_is_opened_read_only(connect: Connect, db: Path) -> None:
    """It is not ignored: stock SQLite refuses to read what it may not roll back."""
    crash = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('PRAGMA cache_size=2');"
        " c.execute('CREATE TABLE t (a)'); c.executemany('INSERT INTO t VALUES (zeroblob(?))', [(3000,)] * 99);"
        " c.commit(); c.execute('UPDATE t SET a = randomblob(3000)'); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", crash, db], check=True)
    assert Path(f"{db}-journal").stat().st_size > 1000
    told = []
    for reader in (connect(f"file:{db}?mode=ro"), sqlite3.connect(f"file:{db}?mode=ro", uri=True)):
        with pytest.raises(sqlite3.OperationalError) as raised:
            reader.execute("SELECT * FROM t")
        told.append(raised.value.sqlite_errorname)
    assert told == ["SQLITE_READONLY_ROLLBACK"] * 2
    assert Path(f"{db}-journal").exists()


def test_a_file_that_is_read_as_a_plain_one_becomes_seawalls_once_it_is_adopted(connect: Connect, db: Path) -> None:
    """Nothing that was committed since the adoption is missed, and no page of the plain file is used any more."""
    plain = sqlite3.connect(db, isolation_level=None)
    plain.execute("PRAGMA page_size=1024")
    plain.execute("CREATE TABLE t (a)")
    plain.executemany("INSERT INTO t VALUES (?)", [("old" * 100,) for _ in range(100)])
    readers = [connect(f"file:{db}?mode=ro") for _ in range(2)]
    used = readers[0]
    assert one(used, "SELECT count(*) FROM t WHERE a LIKE 'old%'") == 100
    used.execute("BEGIN")
    assert one(used, "SELECT count(*) FROM t") == 100
    writer = connect(timeout=0.2)
    with pytest.raises(seawall.DatabaseBusy, match="stock SQLite"):
        writer.execute("DELETE FROM t")
    used.execute("COMMIT")
    writer.execute("UPDATE t SET a = 'new'")
    for n in range(100, 103):
        for reader in readers:
            assert rows(reader, "SELECT count(*), min(a), max(a) FROM t") == [(n, "new", "new")]
            assert int(one(reader, "PRAGMA seawall_version")) == int(one(writer, "PRAGMA seawall_version"))
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                reader.execute("DELETE FROM t")
        writer.execute("INSERT INTO t VALUES ('new')")
    writer.execute("PRAGMA page_size=8192")
    writer.execute("VACUUM")
    for reader in readers:
        assert intact(reader)
        assert one(reader, "PRAGMA page_size") == 8192
    assert one(sqlite3.connect(db), "SELECT count(*) FROM t WHERE a LIKE 'old%'") == 100, "NAME is an old copy"


READS_ONLY = """
import os, sqlite3, sys, seawall
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
connection = seawall.connect(sys.argv[1], isolation_level=None, timeout=0.5)
reads = ["SELECT count(*) FROM sqlite_schema", "BEGIN IMMEDIATE", "ROLLBACK"]
for statement in [*reads, "CREATE TABLE u (a)", "PRAGMA user_version=1"]:
    try:
        print(connection.execute(statement).fetchall())
    except sqlite3.Error as error:
        print(error.sqlite_errorname, error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="SKIPPED: only root can become another user")
@pytest.mark.parametrize("content", ["empty", "plain"])
@pytest.mark.parametrize("denied", ["the file", "its folder"])
def test_a_plain_file_where_this_process_may_only_read(db: Path, content: str, denied: str) -> None:
    plain = sqlite3.connect(db, isolation_level=None)
    if content == "plain":
        plain.execute("CREATE TABLE t (a)")
    plain.close()
    # The tests' folders above are root's alone.
    with tempfile.TemporaryDirectory() as folder:
        moved = Path(folder, "db.sqlite3")
        shutil.copyfile(db, moved)
        moved.chmod(0o644 if denied == "the file" else 0o666)
        Path(folder).chmod(0o777 if denied == "the file" else 0o755)
        before = moved.read_bytes()
        command: list[str | Path] = [sys.executable, "-c", READS_ONLY, moved]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        read, begun, ended, *written = done.stdout.splitlines()
        assert (read, begun, ended) == (f"[({int(content == 'plain')},)]", "[]", "[]")
        assert len(written) == 2
        for line in written:
            assert line.startswith("SQLITE_READONLY attempt to write a readonly database")
            assert f"{moved if denied == 'the file' else folder} belongs to" in line
        assert moved.read_bytes() == before
        assert [path.name for path in Path(folder).iterdir()] == ["db.sqlite3"]


def test_a_setting_for_the_cache_that_comes_before_the_first_use_stays(connect: Connect, db: Path) -> None:
    sqlite3.connect(db).execute("CREATE TABLE t (a)")
    connection = connect()
    connection.execute("PRAGMA cache_size=77")
    connection.execute("INSERT INTO t VALUES (1)")
    assert one(connection, "PRAGMA cache_size") == 77
    other = connect(db.with_name("other.sqlite3"))
    other.execute("CREATE TABLE t (a)")
    assert one(other, "PRAGMA cache_size") == -16384


def test_numbers_are_numbers(connect: Connect, db: Path) -> None:
    """The answers are those of stock SQLite, statement by statement."""
    stock, ours = sqlite3.connect(db.with_name("stock.sqlite3"), timeout=5), connect(timeout=5)
    for pragma in ("busy_timeout", "busy_timeout=7000", "busy_timeout", "busy_timeout=-1", "busy_timeout", "mmap_size"):
        assert rows(ours, f"PRAGMA {pragma}") == rows(stock, f"PRAGMA {pragma}"), pragma
    stock.close()


def test_a_database_that_is_opened_by_the_name_of_the_vfs(connect: Connect, db: Path, tmp_path: Path) -> None:
    """sqlite3_open_v2(…, zVfs): a plain path, and no URI."""
    apsw = pytest.importorskip("apsw", reason="SKIPPED: needs apsw")
    loader = apsw.Connection(":memory:")
    loader.enable_load_extension(True)
    loader.load_extension(str(seawall.extension_path()))
    sqlite3.connect(db).execute("CREATE TABLE t (a)")
    before = db.read_bytes()
    connection = apsw.Connection(str(db), vfs="seawall")
    assert db.read_bytes() == before
    connection.execute("INSERT INTO t VALUES (1)")
    assert rows(connect(), "SELECT a FROM t") == [(1,)]
    plain = tmp_path / "plain.sqlite3"
    connection.execute("ATTACH ? AS plain", (str(plain),))
    connection.execute("CREATE TABLE plain.u (a)")
    connection.close()
    in_memory = apsw.Connection(":memory:", vfs="seawall")
    in_memory.execute("ATTACH ? AS plain", (str(plain),))
    in_memory.execute("INSERT INTO plain.u VALUES (2)")
    in_memory.close()
    assert rows(sqlite3.connect(plain), "SELECT a FROM u") == [(2,)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["db.sqlite3", "db.sqlite3-seawall", "plain.sqlite3"]
