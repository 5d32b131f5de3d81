"""Full disks, read-only folders, missing permissions, damaged and foreign files: the design's table of errors.

Every look is taken by a process of its own: what a process has open or cached must not hide anything.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import seawall

from .conftest import Connect, one, rows

SUM = "SELECT count(*) FROM t"
INSERT = "INSERT INTO t VALUES (randomblob(100))"

ASK = """
import json, os, sqlite3, sys
import seawall
if len(sys.argv) > 3:
    os.setuid(int(sys.argv[3]))
try:
    connection = seawall.connect(sys.argv[1], isolation_level=None, timeout=2)
    for sql in json.loads(sys.argv[2]):
        answer = connection.execute(sql).fetchall()
except sqlite3.Error as error:
    answer = {"class": type(error).__name__, "code": error.sqlite_errorname, "text": str(error)}
print(json.dumps(answer))
"""


class Error(Exception):
    """The error of another process."""


def ask(name: Path, sql: str, user: int | None = None) -> list[list[object]]:
    """Ask a new process. Its error is raised here."""
    return ask_in_turn(name, [sql], user)


def ask_in_turn(name: Path, statements: list[str], user: int | None = None) -> list[list[object]]:
    """Ask a new process the statements, one after another, on one connection; the last answer."""
    asked = json.dumps(statements)
    arguments: list[str | Path] = [sys.executable, "-c", ASK, name, asked, *([] if user is None else [str(user)])]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer: list[list[object]] | dict[str, str] = json.loads(done.stdout)
    if isinstance(answer, dict):
        raise Error(f"{answer['class']} {answer['code']} {answer['text']}")
    return answer


def needs_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("SKIPPED: mounting a small file system and changing users needs root")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    needs_root()
    mount = tmp_path / "small"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "none", mount], check=False).returncode != 0:
        pytest.skip("SKIPPED: this machine does not let tests mount a tmpfs")
    yield mount
    subprocess.run(["umount", "-l", mount], check=True)


def remount(mount: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", mount], check=True)


def test_a_full_disk(connect: Connect, small: Path) -> None:
    connection = connect(small / "db.sqlite3")
    connection.execute("CREATE TABLE t (a)")
    written = 0
    with pytest.raises(seawall.DiskFull, match="Nothing was written; what was committed before is kept") as raised:
        while True:
            connection.execute("INSERT INTO t VALUES (randomblob(20000))")
            written += 1
    assert raised.value.sqlite_errorname == "SQLITE_FULL"
    assert written > 5
    assert ask(small / "db.sqlite3", SUM) == [[written]]
    with pytest.raises(seawall.DiskFull):
        connection.execute("INSERT INTO t VALUES (randomblob(200000))")
    remount(small, "size=8M")
    connection.execute("INSERT INTO t VALUES (randomblob(200000))")
    assert ask(small / "db.sqlite3", SUM) == [[written + 1]]


def test_a_transaction_that_does_not_fit_gives_its_space_back(connect: Connect, small: Path) -> None:
    """It takes all that is left of the disk. Afterwards all processes commit as before."""
    name = small / "db.sqlite3"
    connection = connect(name)
    connection.execute("CREATE TABLE t (a)")
    for _ in range(3):
        free = os.statvfs(small).f_bavail
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO t VALUES (randomblob(2000000))")
        with pytest.raises(seawall.DiskFull, match="Nothing was written"):
            connection.execute("COMMIT")
        assert not connection.in_transaction
        assert os.statvfs(small).f_bavail >= free - 2, "but for the mark of the commit that failed"
        connection.execute(INSERT)
        ask(name, INSERT)
    assert ask(name, SUM) == [[6]]


@pytest.mark.parametrize("journal", ["delete", "truncate", "persist", "memory"])
def test_a_commit_beside_a_plain_main_that_does_not_fit(small: Path, tmp_path: Path, journal: str) -> None:
    """SQLite makes a super-journal for all that it has locked, even if only Seawall's database was changed."""
    name, second = small / "db.sqlite3", tmp_path / "second.sqlite3"
    for path in (name, second):
        ask(path, "CREATE TABLE t (a)")
        ask(path, "INSERT INTO t VALUES (randomblob(100))")
    main = sqlite3.connect(f"file:{tmp_path / 'main.sqlite3'}", uri=True, isolation_level=None)
    main.execute("CREATE TABLE log (a)")
    for schema, path in (("shared", name), ("second", second)):
        main.execute(f"ATTACH ? AS {schema}", (seawall.uri(path),))
    main.execute(f"PRAGMA journal_mode={journal}")
    main.execute("PRAGMA shared.cache_size=10")
    for n in range(4):
        main.execute("BEGIN")
        # Locked, and not changed.
        main.execute("UPDATE second.t SET a = 1 WHERE a = 'nowhere'")
        main.execute("UPDATE shared.t SET a = 'not kept'")
        main.execute("INSERT INTO shared.t VALUES (randomblob(2500000))")
        if n % 2:
            main.execute("SAVEPOINT s")
            main.execute("DELETE FROM shared.t")
            main.execute("ROLLBACK TO s")
        with pytest.raises(sqlite3.OperationalError, match="full"):
            main.execute("COMMIT")
        assert not main.in_transaction
        # Neither this connection nor another one reads what was not committed, and the others go on.
        for connection in (main, seawall.connect(name)):
            assert rows(connection, "SELECT length(a) FROM t") == [(100,)]
        main.execute("INSERT INTO log VALUES (1)")
        main.execute("INSERT INTO second.t VALUES (1)")
    assert rows(main, "SELECT count(*) FROM log") == [(4,)]
    main.execute("BEGIN")
    main.execute("UPDATE second.t SET a = 1 WHERE a = 'nowhere'")
    main.execute("INSERT INTO shared.t VALUES ('kept')")
    main.execute("COMMIT")
    main.close()
    assert ask(name, SUM) == [[2]]
    assert ask(name, "PRAGMA integrity_check") == [["ok"]]
    assert sorted(path.name for folder in (small, tmp_path) for path in folder.glob("*-mj*")) == []


@pytest.mark.parametrize("page_size", [512, 65536])
def test_a_change_of_the_page_size_that_does_not_fit(connect: Connect, small: Path, page_size: int) -> None:
    name = small / "db.sqlite3"
    connection, other = connect(name), connect(name)
    connection.execute("CREATE TABLE t (a)")
    connection.execute("INSERT INTO t VALUES (randomblob(900000))")
    counted = rows(connection, "SELECT count(*), sum(length(a)) FROM t")
    for _ in range(2):
        connection.execute(f"PRAGMA page_size={page_size}")
        with pytest.raises(seawall.DiskFull, match="Nothing was written"):
            connection.execute("VACUUM")
        for one_more in (connection, other):
            assert rows(one_more, "SELECT count(*), sum(length(a)) FROM t") == counted
            assert (one(one_more, "PRAGMA page_size"), one(one_more, "PRAGMA integrity_check")) == (4096, "ok")
    remount(small, "size=16M")
    connection.execute("VACUUM")
    for one_more in (connection, other):
        assert rows(one_more, "SELECT count(*), sum(length(a)) FROM t") == counted
        assert (one(one_more, "PRAGMA page_size"), one(one_more, "PRAGMA integrity_check")) == (page_size, "ok")


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda cursor: cursor.fetchone(), id="fetchone"),
        pytest.param(lambda cursor: cursor.fetchmany(1), id="fetchmany"),
        pytest.param(lambda cursor: cursor.fetchall(), id="fetchall"),
        pytest.param(lambda cursor: next(cursor), id="next"),
        pytest.param(lambda cursor: next(iter(cursor)), id="iteration"),
        pytest.param(lambda cursor: cursor.close(), id="close"),
        pytest.param(lambda cursor: cursor.execute("SELECT 1").fetchall(), id="another statement"),
        pytest.param(lambda cursor: None, id="nothing"),
    ],
)
@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE t SET a = {} RETURNING 1",
        "WITH x AS (SELECT {} b) UPDATE t SET a = (SELECT b FROM x) RETURNING 1",
        "/* by a tool */ WITH x AS (SELECT {} b) UPDATE t SET a = (SELECT b FROM x) returning 1",
        "-- by a tool\n; UPDATE t SET a = {} RETURNING 1",
        "\ufeffUPDATE t SET a = {} RETURNING 1",
    ],
)
def test_a_statement_with_returning_that_does_not_fit(
    connect: Connect, small: Path, sql: str, use: Callable[[sqlite3.Cursor], object]
) -> None:
    """SQLite commits it when it resets it, after the last row. The error comes even if a program fetches fewer rows."""
    connection = connect(small / "db.sqlite3")
    connection.execute("CREATE TABLE t (a)")
    connection.execute("INSERT INTO t VALUES (1), (1)")
    with pytest.raises(seawall.DiskFull, match="Nothing was written"):
        use(connection.execute(sql.format("randomblob(2000000)")))
    assert not connection.in_transaction
    assert rows(connection, "SELECT a FROM t") == [(1,), (1,)]


def test_a_disk_too_full_to_adopt(small: Path) -> None:
    """What was there before is there again, and may be written by stock SQLite."""
    name = small / "plain.sqlite3"
    plain = sqlite3.connect(name, isolation_level=None)
    plain.execute("CREATE TABLE t (a)")
    plain.execute("INSERT INTO t VALUES (randomblob(600000))")
    with pytest.raises(Error, match="DiskFull SQLITE_FULL"):
        ask(name, SUM)
    plain.execute(INSERT)
    remount(small, "size=8M")
    assert ask(name, SUM) == [[2]]
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        plain.execute(INSERT)


def test_a_read_only_file_system(small: Path) -> None:
    name = small / "db.sqlite3"
    ask(name, "CREATE TABLE t (a)")
    ask(name, INSERT)
    remount(small, "ro")
    assert ask(name, SUM) == [[1]]
    for begin in ("BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"):
        assert ask_in_turn(name, [begin, "COMMIT", begin, SUM]) == [[1]], "it reads, as in stock SQLite"
    with pytest.raises(Error, match=r"DatabaseReadOnly SQLITE_READONLY attempt to write.*Nothing was written"):
        ask(name, INSERT)
    remount(small, "rw")
    ask(name, INSERT)
    assert ask(name, SUM) == [[2]]


def test_missing_permission(connect: Connect, db: Path) -> None:
    needs_root()
    nobody = 65534
    connection = connect()
    connection.execute("CREATE TABLE t (a)")
    connection.execute(INSERT)
    for folder in [db.parent, db.parent.parent, db.parent.parent.parent]:
        folder.chmod(0o755)
    # It may read, and not write.
    assert ask(db, SUM, nobody) == [[1]]
    assert ask_in_turn(db, ["BEGIN IMMEDIATE", "COMMIT", "BEGIN IMMEDIATE", SUM], nobody) == [[1]]
    with pytest.raises(Error, match=r"PermissionDenied SQLITE_READONLY attempt.*runs as.*let this user read and write"):
        ask(db, INSERT, nobody)
    # It may not even read.
    folder = Path(f"{db}-seawall")
    folder.chmod(0o700)
    with pytest.raises(Error, match=r"SQLITE_(PERM|CANTOPEN) "):
        ask(db, SUM, nobody)
    folder.chmod(0o755)
    assert ask(db, SUM, nobody) == [[1]]
    connection.execute(INSERT)
    assert ask(db, SUM) == [[2]]


@pytest.fixture
def filled(connect: Connect, db: Path) -> Path:
    """A database whose pages lie in one segment."""
    connection = connect()
    connection.execute("CREATE TABLE t (a)")
    for _ in range(20):
        connection.execute("INSERT INTO t VALUES (randomblob(3000))")
    connection.close()
    assert ask(db, SUM) == [[20]]
    return db


def segment(name: Path) -> Path:
    (only,) = Path(f"{name}-seawall/segments").iterdir()
    return only


def test_a_flipped_bit(filled: Path) -> None:
    file = segment(filled)
    content = file.read_bytes()
    # In the middle of the pages of an early commit.
    damaged = bytearray(content)
    damaged[len(content) // 3] ^= 4
    file.write_bytes(damaged)
    with pytest.raises(Error, match=r"DatabaseDamaged SQLITE_CORRUPT .*segments/.* is damaged: .*seawall verify"):
        ask(filled, "SELECT sum(length(a)), sum(hex(a) > '') FROM t")
    file.write_bytes(content)
    assert ask(filled, SUM) == [[20]]


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_a_truncated_segment(filled: Path, keep: float) -> None:
    file = segment(filled)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(Error, match=r"NeedsRecovery SQLITE_CANTOPEN .*files are older than the head.*seawall recover"):
        ask(filled, SUM)
    file.write_bytes(content)
    assert ask(filled, SUM) == [[20]]


def test_foreign_folders(filled: Path, tmp_path: Path) -> None:
    folder = Path(f"{filled}-seawall")
    identity = (folder / "id").read_bytes()
    for content, kind, words in [
        (identity.replace(b"fs:", b"xs:"), "NeedsRecovery", "checksum does not fit"),
        (b"seawall 2\nfrom the future\n", "CannotOpen", "use a newer Seawall"),
        (b"", "NeedsRecovery", "cannot be used"),
    ]:
        (folder / "id").write_bytes(content)
        with pytest.raises(Error, match=f"{kind} SQLITE_CANTOPEN .*{words}"):
            ask(filled, SUM)
    (folder / "id").write_bytes(identity)

    copy = tmp_path / "copy.sqlite3"
    shutil.copy(filled, copy)
    shutil.copytree(folder, f"{copy}-seawall", symlinks=True)
    with pytest.raises(Error, match=r"CannotOpen SQLITE_CANTOPEN .*this folder is a copy.*mode=ro"):
        ask(copy, SUM)

    (folder / "commits").rename(folder / "gone")
    with pytest.raises(Error, match=r"NeedsRecovery SQLITE_CANTOPEN .*the head is lost.*seawall recover"):
        ask(filled, SUM)
    (folder / "gone").rename(folder / "commits")

    marked = filled.read_bytes()
    filled.unlink()
    with pytest.raises(Error, match=r"CannotOpen SQLITE_CANTOPEN .*NAME was removed.*seawall snapshot NAME --refresh"):
        ask(filled, SUM)
    filled.write_bytes(marked)
    assert ask(filled, SUM) == [[20]]


def test_another_coordinator(filled: Path) -> None:
    with pytest.raises(seawall.CannotOpen, match="dynamodb://table"):
        seawall.connect(filled, coordinator="dynamodb://table")
    connection = seawall.connect(filled)
    assert one(connection, SUM) == 20
    assert rows(connection, "PRAGMA integrity_check") == [("ok",)]
