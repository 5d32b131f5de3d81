"""Several databases on one connection: after a commit is published, no part of the transaction may still fail."""

from __future__ import annotations

import os
import shutil
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
    # Seawall cannot know that it did not change `plain`.
    plain.execute("BEGIN IMMEDIATE")
    plain.execute("INSERT INTO b.t VALUES (1)")
    with pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
        plain.execute("COMMIT")
    error = str(one(plain, "PRAGMA b.seawall_last_error"))
    assert "has written main as well, or may have" in error and "begin it with plain BEGIN" in error
    plain.execute("BEGIN")
    plain.execute("SELECT * FROM main.other").fetchall()
    plain.execute("INSERT INTO b.t VALUES (1)")
    plain.execute("COMMIT")
    plain.execute("BEGIN")
    plain.execute("INSERT INTO a.t VALUES (1)")
    plain.execute("INSERT INTO b.t VALUES (2)")
    with pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
        plain.execute("COMMIT")
    plain.close()
    assert [rows(connect(name), "SELECT x FROM t") for name in names] == [[], [(1,)]]


def test_two_seawall_databases_on_a_main_in_memory(connect: Connect, tmp_path: Path) -> None:
    memory = sqlite3.connect("file::memory:", uri=True, isolation_level=None)
    for schema in "ab":
        connect(tmp_path / schema).execute("CREATE TABLE t (x)")
        memory.execute(f"ATTACH ? AS {schema}", (seawall.uri(tmp_path / schema),))
    memory.execute("CREATE TABLE other (a)")
    memory.execute("BEGIN IMMEDIATE")
    memory.execute("INSERT INTO b.t VALUES (1)")
    memory.execute("INSERT INTO other VALUES (1)")
    memory.execute("COMMIT")
    memory.close()
    assert rows(connect(tmp_path / "b"), "SELECT x FROM t") == [(1,)]


@pytest.mark.parametrize("how", ["a plain main", "a trace callback", "a plain main that is changed", "a semicolon"])
@pytest.mark.parametrize("begin", ["BEGIN", "BEGIN IMMEDIATE"])
def test_a_journal_that_was_turned_off_unheard(
    connect: Connect, archive: Path, tmp_path: Path, how: str, begin: str
) -> None:
    attached(connect, archive).close()
    changed = "archive"
    if "main" in how:
        connection = sqlite3.connect(f"file:{tmp_path / 'main.sqlite3'}", uri=True, isolation_level=None)
        connection.execute("ATTACH ? AS shared", (seawall.uri(tmp_path / "db.sqlite3"),))
        connection.execute("CREATE TABLE main.other (n, text)")
    else:
        connection = connect()
    connection.execute("ATTACH ? AS archive", (f"file:{archive}?vfs=unix",))
    if how == "a trace callback":
        connection.set_trace_callback(lambda _: None)
    if how == "a plain main that is changed":
        changed = "main"
    semicolon = ";" if how == "a semicolon" else ""
    connection.execute(f"{semicolon}PRAGMA {changed}.journal_mode=off")
    table = {"main": "main.other", "archive": "archive.log"}[changed]
    ours = "shared" if "main" in how else "main"
    connection.execute(begin)
    connection.execute(f"INSERT INTO {table} SELECT * FROM {ours}.log")
    connection.execute(f"DELETE FROM {ours}.log")
    with pytest.raises(sqlite3.OperationalError):
        connection.execute("COMMIT")
    assert REFUSED in str(one(connection, f"PRAGMA {ours}.seawall_last_error"))
    connection.close()
    assert one(connect(), "SELECT count(*) FROM log") == 100


def test_an_application_that_listens_itself(connect: Connect, archive: Path) -> None:
    connection = attached(connect, archive)
    heard: list[str] = []
    connection.set_trace_callback(heard.append)
    for _ in range(3):
        # Seawall no longer learns whether the archive has a journal.
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO main.log VALUES (1000, 'x')")
        with pytest.raises(sqlite3.OperationalError, match="begin it with plain BEGIN"):
            connection.execute("COMMIT")
    connection.execute("BEGIN")
    connection.execute("SELECT * FROM archive.log").fetchall()
    connection.execute("INSERT INTO main.log VALUES (1000, 'x')")
    connection.execute("COMMIT")
    assert one(connect(), "SELECT count(*) FROM log") == 101
    assert len([sql for sql in heard if "Seawall" in sql]) == 1


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


def on_a_small_disk(tmp_path: Path, script: str, *arguments: str) -> str:
    """What `script` prints. It gets the folder of the database, and one for a small file system."""
    small = tmp_path / "small"
    small.mkdir()
    command = ["unshare", "-m", sys.executable, "-c", script, str(tmp_path), str(small), *arguments]
    environment = {**os.environ, "SQLITE_TMPDIR": str(small)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if ("mount" in done.stderr or "unshare" in done.stderr) and "ermi" in done.stderr:
        pytest.skip(f"SKIPPED: {done.stderr.strip()}")
    assert done.returncode == 0, done
    return done.stdout


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
    assert on_a_small_disk(tmp_path, FULL).startswith("SQLITE_")
    assert one(connect(), "SELECT count(*) FROM log") == 100


FULL_TEMPORARY = """
import os, sqlite3, subprocess, sys
import seawall
folder, small, schema, setting, is_read = sys.argv[1:]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "small", small], check=True)
db = seawall.connect(os.path.join(folder, "db.sqlite3"), isolation_level=None)
db.execute("PRAGMA temp_store=FILE")
if schema != "temp":
    db.execute(f"ATTACH '' AS {schema}")
db.execute(f"CREATE TABLE {schema}.scratch (x)")
db.execute(f"PRAGMA {schema}.cache_size=10")
db.execute("INSERT INTO scratch VALUES (zeroblob(200000))")
db.execute(f"PRAGMA {schema}.cache_size=1000")
if setting:
    db.execute(setting)
db.execute("BEGIN IMMEDIATE")
db.execute("INSERT INTO scratch VALUES (zeroblob(1000)), (zeroblob(2000000))")
db.execute("DELETE FROM main.log")
if is_read:
    half_read = db.execute("SELECT x FROM scratch")
    half_read.fetchone()
try:
    db.execute("COMMIT")
except sqlite3.Error as error:
    print(error.sqlite_errorname, error)
"""
IS_READ = "is read"


@pytest.mark.skipif(os.geteuid() != 0, reason="SKIPPED: a small file system is mounted by root only")
@pytest.mark.parametrize("schema", ["temp", "nameless"])
@pytest.mark.parametrize(
    ("setting", "is_read", "code", "words"),
    [
        ("", "", "SQLITE_FULL", "temporary tables"),
        ("", IS_READ, "SQLITE_IOERR_COMMIT_ATOMIC", "another statement of this connection has not ended"),
        ("PRAGMA cache_spill=OFF", "", "SQLITE_IOERR_COMMIT_ATOMIC", "cache_spill"),
        ("PRAGMA temp.cache_spill=0", "", "SQLITE_IOERR_COMMIT_ATOMIC", "cache_spill"),
    ],
)
def test_the_disk_of_temporary_tables_is_full(
    connect: Connect, archive: Path, tmp_path: Path, schema: str, setting: str, is_read: str, code: str, words: str
) -> None:
    attached(connect, archive).close()
    output = on_a_small_disk(tmp_path, FULL_TEMPORARY, schema, setting, is_read)
    assert output.startswith(code) and words in output, output
    assert one(connect(), "SELECT count(*) FROM log") == 100


FULL_AT_PAGE_ONE = """
import os, sqlite3, subprocess, sys
import seawall
folder, small, schema = sys.argv[1:]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "small", small], check=True)
seawall.register()
outcomes = set()
for n in range(8, 20):
    db = sqlite3.connect(seawall.uri(os.path.join(folder, f"{n}.sqlite3")), uri=True, isolation_level=None)
    db.execute("PRAGMA temp_store=FILE")
    db.execute("CREATE TABLE t (x)")
    if schema != "temp":
        db.execute(f"ATTACH '' AS {schema}")
    # So few pages that SQLite writes the rest of them when it commits.
    db.execute(f"PRAGMA {schema}.cache_size=4")
    db.execute("BEGIN")
    db.execute(f"CREATE TABLE {schema}.scratch (x)")
    db.execute("INSERT INTO t VALUES (1)")
    outcome = "committed"
    try:
        for _ in range(n):
            db.execute("INSERT INTO scratch VALUES (zeroblob(3000))")
        db.execute("COMMIT")
    except sqlite3.Error as error:
        outcome = error.sqlite_errorname
    if db.in_transaction:
        db.execute("ROLLBACK")
    there = db.execute("SELECT count(*) FROM t").fetchone() == (1,)
    assert there == (outcome == "committed"), (n, outcome)
    outcomes.add(outcome)
    db.close()
print(sorted(outcomes))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="SKIPPED: a small file system is mounted by root only")
@pytest.mark.parametrize("schema", ["temp", "nameless"])
def test_the_last_temporary_page_does_not_fit(tmp_path: Path, schema: str) -> None:
    assert on_a_small_disk(tmp_path, FULL_AT_PAGE_ONE, schema) == "['SQLITE_FULL', 'committed']\n"


@pytest.mark.parametrize("listens", [False, True])
def test_vacuum_of_more_than_the_cache_holds(connect: Connect, listens: bool) -> None:
    connection = connect()
    connection.execute("CREATE TABLE t (x)")
    connection.execute("INSERT INTO t VALUES (zeroblob(2000000)), (zeroblob(1000000))")
    connection.execute("DELETE FROM t WHERE length(x) = 2000000")
    connection.execute("PRAGMA cache_size=10")
    connection.execute("PRAGMA cache_spill=OFF")
    if listens:
        connection.set_trace_callback(lambda _: None)
    before = int(one(connection, "PRAGMA page_count"))
    connection.execute("VACUUM")
    assert int(one(connect(), "PRAGMA page_count")) < before / 2


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
    errors = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors


MAIN_IS_OURS = """
import sys
import seawall
main = seawall.connect(f"{sys.argv[1]}/main.sqlite3", isolation_level=None)
main.execute("CREATE TABLE t (a)")
for n, vfs in enumerate(["seawall", "seawall", "unix"]):
    main.execute(f'ATTACH ? AS "the ""{n}"', (f"file:{sys.argv[1]}/{n}.sqlite3?vfs={vfs}",))
    main.execute(f'CREATE TABLE "the ""{n}".u{n} (a)')
for n in range(3):
    main.execute("BEGIN IMMEDIATE")
    main.execute("INSERT INTO t VALUES (1)")
    main.execute("COMMIT")
    main.execute("BEGIN EXCLUSIVE")
    main.execute(f"INSERT INTO u{n} VALUES (1)")
    main.execute("ROLLBACK" if n == 1 else "COMMIT")
print([main.execute(f"SELECT count(*) FROM u{n}").fetchone()[0] for n in range(3)])
"""


def test_no_super_journal_is_made_where_main_is_ours(tmp_path: Path) -> None:
    if not shutil.which("strace"):
        pytest.skip("SKIPPED: needs strace")
    trace = tmp_path / "trace"
    command: list[str | Path] = ["strace", "-f", "-qq", "-e", "trace=file", "-o", trace]
    done = subprocess.run(
        [*command, sys.executable, "-c", MAIN_IS_OURS, tmp_path], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[1, 0, 1]\n"
    calls = [line for line in trace.read_text().splitlines() if str(tmp_path) in line]
    assert any("2.sqlite3-journal" in line for line in calls), "the plain one has its journal"
    assert [line for line in calls if "-mj" in line] == []


@pytest.mark.parametrize("mode", ["delete", "truncate", "persist", "memory", "off", "wal"])
def test_ours_beside_a_plain_main_in_any_journal_mode(connect: Connect, db: Path, archive: Path, mode: str) -> None:
    connection = attached(connect, archive)
    plain = sqlite3.connect(f"file:{archive}", uri=True, isolation_level=None)
    plain.execute("ATTACH ? AS shared", (seawall.uri(db),))
    plain.execute(f"PRAGMA journal_mode={mode}")
    plain.execute("PRAGMA shared.cache_size=5")
    for n in range(1, 5):
        plain.execute("BEGIN")
        plain.execute("UPDATE shared.log SET text = zeroblob(2000)")
        plain.execute("ROLLBACK")
        with pytest.raises(sqlite3.IntegrityError):
            plain.execute("UPDATE shared.log SET text = zeroblob(2000), n = CASE WHEN n > 98 THEN 1 ELSE n + 1000 END")
        assert one(connection, "SELECT count(*) FROM log WHERE text = 'x'") == 101 - n
        assert one(plain, "SELECT count(*) FROM shared.log WHERE text = 'x'") == 101 - n
        plain.execute("DELETE FROM shared.log WHERE n = ?", (n,))
        plain.execute("INSERT INTO main.log VALUES (?, 'y')", (n,))
    plain.close()
    assert one(connect(), "SELECT count(*) FROM log") == 96
    assert count(archive) == 4
    assert one(connect(), "PRAGMA integrity_check") == "ok"
    assert not Path(f"{db}-journal").exists()


@pytest.mark.parametrize("mode", ["delete", "truncate", "persist"])
@pytest.mark.parametrize("changed", ["main", "later"])
def test_what_a_plain_database_joins_after_a_spill_is_rolled_back_whole(
    connect: Connect, db: Path, archive: Path, tmp_path: Path, mode: str, changed: str
) -> None:
    other = attached(connect, archive)
    other.execute("UPDATE main.log SET text = 'x' || hex(zeroblob(500))")
    plain = sqlite3.connect(f"file:{tmp_path / 'main.sqlite3'}", uri=True, isolation_level=None)
    plain.execute("CREATE TABLE log (n INTEGER PRIMARY KEY, text)")
    plain.execute("ATTACH ? AS shared", (seawall.uri(db),))
    plain.execute("ATTACH ? AS later", (str(archive),))
    plain.execute(f"PRAGMA journal_mode={mode}")
    plain.execute("PRAGMA shared.cache_size=5")
    for n in range(3):
        plain.execute("BEGIN")
        # SQLite asks for the exclusive lock here, and not again.
        plain.execute("UPDATE shared.log SET text = 'not kept' || substr(text, 9)")
        plain.execute(f"INSERT INTO {changed}.log VALUES (?, 'not kept')", (n,))
        with pytest.raises(sqlite3.OperationalError):
            plain.execute("COMMIT")
        assert not plain.in_transaction
        # To SQLite this looks as its own commit would have: it keeps its cache, in which nothing of that may be left.
        other.execute("UPDATE main.log SET text = 'x' || substr(text, 2) WHERE n = 7")
        for schema, counted in (("main", 0), ("later", 0), ("shared", 100)):
            assert one(plain, f"SELECT count(*) FROM {schema}.log WHERE text LIKE 'x%'") == counted, schema
            assert one(plain, f"SELECT count(*) FROM {schema}.log") == counted, schema
        assert one(connect(), "SELECT count(*) FROM log WHERE text LIKE 'x%'") == 100
        assert count(archive) == 0
    plain.close()
    assert [path.name for path in tmp_path.iterdir() if "-mj" in path.name] == []
    assert one(connect(), "PRAGMA integrity_check") == "ok"


@pytest.mark.parametrize("changes", ["all", "main"])
@pytest.mark.parametrize("ours", ["main", "second"])
def test_a_commit_that_fails_after_a_spill_leaves_no_super_journal(
    connect: Connect, tmp_path: Path, changes: str, ours: str
) -> None:
    """SQLite makes one for two plain databases that it has locked, and leaves it if what comes next fails."""
    connection = connect()
    connection.execute("CREATE TABLE main.t (a)")
    for name in ("first", "second", "third"):
        path = str(tmp_path / f"{name}.sqlite3")
        connection.execute(f"ATTACH ? AS {name}", (seawall.uri(path) if name == ours else path,))
        connection.execute(f"CREATE TABLE {name}.t (a)")
    connection.execute(f"PRAGMA {ours}.cache_size=1")
    for _ in range(3):
        connection.execute("BEGIN IMMEDIATE")
        # SQLite asks for the exclusive lock here, and not again.
        connection.execute(f"INSERT INTO {ours}.t VALUES (zeroblob(200000))")
        if changes == "all":
            connection.execute("INSERT INTO first.t VALUES (1)")
            connection.execute("INSERT INTO third.t VALUES (1)")
            with pytest.raises(sqlite3.OperationalError, match=REFUSED):
                connection.execute("COMMIT")
        else:
            connection.execute("COMMIT")
        assert not connection.in_transaction
        assert [path.name for path in tmp_path.iterdir() if "-mj" in path.name or "-journal" in path.name] == []
    kept = 0 if changes == "all" else 3
    counted = {name: one(connection, f"SELECT count(*) FROM {name}.t") for name in ("first", "third", ours)}
    assert counted == {"first": 0, "third": 0, ours: kept}
    connection.execute("BEGIN")
    connection.execute("INSERT INTO first.t VALUES (1)")
    connection.execute("INSERT INTO third.t VALUES (1)")
    connection.execute("COMMIT")
    assert one(sqlite3.connect(tmp_path / "third.sqlite3"), "SELECT count(*) FROM t") == 1
    assert [path.name for path in tmp_path.iterdir() if "-mj" in path.name] == []
