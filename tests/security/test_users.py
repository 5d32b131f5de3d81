"""Several users of one database: the files that one makes are open to exactly those to whom NAME is open."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import pytest
import seawall
from seawall import _native

from .people import COLLEAGUE, OWNER, STRANGER, TEAM, as_user, everything, folder_of, needs_root, permissions

pytestmark = needs_root


def run(name: Path, sql: str) -> list[tuple[object, ...]]:
    """Run one statement through Seawall."""
    connection = seawall.connect(name, isolation_level=None, timeout=5)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def make_plain(name: Path, mode: int) -> None:
    """Make a plain SQLite file."""
    connection = sqlite3.connect(name)
    connection.execute("CREATE TABLE t (x)")
    connection.execute("INSERT INTO t VALUES ('secret')")
    connection.commit()
    connection.close()
    name.chmod(mode)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder of the owner's."""
    return folder_of(OWNER, tmp_path / "place")


@pytest.mark.parametrize("first", [OWNER, 0])
def test_one_command_as_root_locks_no_user_out(place: Path, first: int) -> None:
    name = place / "db.sqlite3"
    make_plain(name, 0o640)
    os.chown(name, OWNER, OWNER)
    assert as_user(first, lambda: run(name, "SELECT x FROM t")).error is None
    assert as_user(0, lambda: run(name, "INSERT INTO t VALUES ('root')")).error is None
    for path in everything(Path(f"{name}-seawall")):
        assert (path.stat().st_uid, path.stat().st_gid) == (OWNER, OWNER), path
    said = as_user(OWNER, lambda: run(name, "INSERT INTO t VALUES ('owner') RETURNING x"))
    assert (said.value, said.error) == ([["owner"]], None)


def test_two_users_of_one_group(tmp_path: Path) -> None:
    place = folder_of(OWNER, tmp_path / "team", 0o2775, TEAM)
    name = place / "db.sqlite3"
    make_plain(name, 0o664)
    os.chown(name, OWNER, TEAM)
    for user in (OWNER, COLLEAGUE, OWNER, COLLEAGUE):
        assert as_user(user, lambda: run(name, "INSERT INTO t VALUES (1)"), groups=[TEAM]).error is None
    for path in everything(Path(f"{name}-seawall")):
        assert path.stat().st_gid == TEAM, path
        assert permissions(path) == (0o775 if path.is_dir() else 0o664), path
    refused = as_user(STRANGER, lambda: run(name, "INSERT INTO t VALUES (1)"))
    assert refused.error is not None and "PermissionDenied" in refused.error


def test_the_group_is_names_even_where_folders_do_not_hand_it_down(tmp_path: Path) -> None:
    place = folder_of(OWNER, tmp_path / "team", 0o775, TEAM)
    name = place / "db.sqlite3"
    make_plain(name, 0o660)
    os.chown(name, OWNER, TEAM)
    for user in (COLLEAGUE, OWNER, COLLEAGUE):
        assert as_user(user, lambda: run(name, "INSERT INTO t VALUES (1)"), groups=[TEAM]).error is None
    assert {path.stat().st_gid for path in everything(Path(f"{name}-seawall"))} == {TEAM}


def test_a_private_database_is_private(place: Path) -> None:
    name, copy = place / "db.sqlite3", place / "copy.sqlite3"

    def use() -> None:
        make_plain(name, 0o600)
        run(name, "INSERT INTO t VALUES (2)")
        seawall.copy(name, copy)

    for umask in (0o022, 0):
        assert as_user(OWNER, use, umask=umask).error is None
        for path in [copy, *everything(Path(f"{name}-seawall"))]:
            assert permissions(path) & 0o077 == 0, path
        base = next(Path(f"{name}-seawall/bases").glob("*.sqlite3"))
        for path in (copy, base):
            assert as_user(STRANGER, path.read_bytes).error is not None
        seawall.remove(name)
        copy.unlink()


def test_a_new_database_is_as_the_umask_says(place: Path) -> None:
    name = place / "db.sqlite3"
    assert as_user(OWNER, lambda: run(name, "CREATE TABLE t (x)"), umask=0).error is None
    for path in [name, *everything(Path(f"{name}-seawall"))]:
        assert permissions(path) == (0o755 if path.is_dir() else 0o644), path


def test_files_that_are_there_already_say_whose_they_are(place: Path) -> None:
    name = place / "db.sqlite3"
    as_user(OWNER, lambda: run(name, "CREATE TABLE t (x)"))
    lease = Path(f"{name}-seawall/lease")
    os.chown(lease, 0, 0)
    lease.chmod(0o644)
    refused = as_user(OWNER, lambda: run(name, "INSERT INTO t VALUES (1)"))
    assert refused.error is not None
    for said in ("belongs to root, uid 0", f"runs as uid {OWNER}", "chown -hR --reference="):
        assert said in refused.error, refused.error
    command = refused.error.split("run as root: ")[1].split(". Nothing was written")[0]
    assert os.system(command) == 0
    assert as_user(OWNER, lambda: run(name, "INSERT INTO t VALUES (1)")).error is None


@pytest.mark.parametrize("mode", [0o1777, 0o777])
@pytest.mark.parametrize("kind", ["folder", "link"])
def test_a_folder_that_a_stranger_put_there_is_not_taken(tmp_path: Path, mode: int, kind: str) -> None:
    place = folder_of(0, tmp_path / "shared", mode)
    name, folder = place / "db.sqlite3", place / "db.sqlite3-seawall"
    theirs = folder_of(STRANGER, tmp_path / "theirs", 0o777)
    assert as_user(OWNER, lambda: make_plain(name, 0o600)).error is None
    before = name.read_bytes()

    def plant() -> None:
        if kind == "link":
            folder.symlink_to(theirs)
            return
        for path in (folder, *(folder / inside for inside in ("bases", "segments", "commits"))):
            path.mkdir()
            path.chmod(0o777)

    assert as_user(STRANGER, plant).error is None
    refused = as_user(OWNER, lambda: run(name, "INSERT INTO t VALUES (1)"))
    assert refused.error is not None and "CannotOpen" in refused.error
    assert ("link" if kind == "link" else f"uid {STRANGER}") in refused.error
    assert name.read_bytes() == before
    assert not any(theirs.iterdir())
    # It is its owner's again once the folder is gone.
    folder.unlink() if kind == "link" else shutil.rmtree(folder)
    assert as_user(OWNER, lambda: run(name, "INSERT INTO t VALUES (1)")).error is None


def test_a_folder_that_a_colleague_is_about_to_use_is_waited_for(tmp_path: Path) -> None:
    place = folder_of(OWNER, tmp_path / "team", 0o2775, TEAM)
    name = place / "db.sqlite3"
    make_plain(name, 0o664)
    os.chown(name, OWNER, TEAM)
    # The colleague's folder is there, and its `id` comes a moment later.
    assert as_user(COLLEAGUE, lambda: Path(f"{name}-seawall").mkdir(), groups=[TEAM]).error is None
    pid = os.fork()
    if pid == 0:
        os._exit(
            0 if as_user(COLLEAGUE, lambda: run(name, "INSERT INTO t VALUES (1)"), groups=[TEAM]).error is None else 1
        )
    assert as_user(OWNER, lambda: run(name, "INSERT INTO t VALUES (2)"), groups=[TEAM]).error is None
    assert os.waitpid(pid, 0)[1] == 0


def test_the_doctor_tells_whose_files_lock_others_out(place: Path) -> None:
    name = place / "db.sqlite3"
    as_user(OWNER, lambda: run(name, "CREATE TABLE t (x)"))
    name.chmod(0o600)
    report = as_user(OWNER, lambda: doctor(name)).value
    assert "PROBLEM  rights" in report and "more people can use it" in report and "chmod -R" in report
    os.chown(Path(f"{name}-seawall/commits"), 0, 0)
    report = as_user(OWNER, lambda: doctor(name)).value
    assert "not everybody who can write NAME can write it" in report


def doctor(name: Path) -> str:
    """What `seawall doctor` prints to this user, who need not be able to start Python."""
    printed = os.memfd_create("printed")
    os.dup2(printed, 1)
    _native.command_line(["seawall", "doctor", str(name)])
    return os.pread(printed, 1 << 20, 0).decode()


def test_a_database_that_may_not_be_written_is_not_adopted(place: Path) -> None:
    name = place / "db.sqlite3"
    for owner, mode in ((OWNER, 0o400), (0, 0o644)):
        make_plain(name, mode)
        os.chown(name, owner, owner)
        before = name.read_bytes()
        assert as_user(OWNER, lambda: run(name, "SELECT x FROM t")).value == [["secret"]], "as stock SQLite reads it"
        said = as_user(OWNER, lambda: run(name, "INSERT INTO t VALUES (1)"))
        assert said.error is not None
        assert "DatabaseReadOnly" in said.error and "may not write it" in said.error and f"uid {owner}" in said.error
        assert list(place.iterdir()) == [name], "no folder is left"
        assert name.read_bytes() == before
        problems = as_user(OWNER, lambda: wrong(name)).value
        assert [line.split()[1] for line in problems] == ["rights"], problems
        name.unlink()


def test_what_the_doctor_says_to_a_reader(place: Path) -> None:
    name = place / "db.sqlite3"
    make_plain(name, 0o644)
    os.chown(name, OWNER, OWNER)
    assert as_user(OWNER, lambda: run(name, "INSERT INTO t VALUES (1)")).error is None
    assert as_user(STRANGER, lambda: wrong(name)).value == [], "a reader need not write anything"


def test_a_user_who_may_only_read_has_transactions_that_read(place: Path) -> None:
    name, stock = place / "db.sqlite3", place / "stock.sqlite3"
    for path in (name, stock):
        make_plain(path, 0o644)
        os.chown(path, OWNER, OWNER)
    assert as_user(OWNER, lambda: run(name, "INSERT INTO t VALUES (1)")).error is None

    def use(database: str) -> list[object]:
        answers: list[object] = []
        connection = seawall.connect(database, isolation_level=None, timeout=5)
        for begin in ("BEGIN", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"):
            connection.execute(begin)
            answers.append(connection.execute("SELECT x FROM t LIMIT 1").fetchall())
            try:
                connection.execute("INSERT INTO t VALUES (2)")
            except sqlite3.OperationalError as error:
                answers.append((error.sqlite_errorname, str(error).split(":")[0], connection.in_transaction))
            connection.execute("COMMIT")
        return answers

    of_stock = as_user(STRANGER, lambda: use(f"file:{stock}?vfs=unix"))
    assert "SQLITE_READONLY" in str(of_stock.value)
    assert as_user(STRANGER, lambda: use(str(name))) == of_stock

    def cost() -> int:
        """What the second connection costs."""
        seawall.connect(name).close()
        before = seawall.counts(name)
        seawall.connect(name).close()
        return (seawall.counts(name) - before).metadata

    owners, strangers = as_user(OWNER, cost).value, as_user(STRANGER, cost).value
    assert strangers == owners + 1, "it is asked whether segments/ can be written"
    name.chmod(0o666)
    assert os.system(f"chmod -R o+rwX {name}-seawall") == 0
    assert as_user(STRANGER, lambda: run(name, "INSERT INTO t VALUES (3) RETURNING x")).value == [[3]]


def test_where_only_the_segments_may_be_written_is_no_read_only_place(place: Path) -> None:
    name = place / "db.sqlite3"
    make_plain(name, 0o644)
    os.chown(name, OWNER, OWNER)
    assert as_user(OWNER, lambda: run(name, "INSERT INTO t VALUES (1)")).error is None
    Path(f"{name}-seawall").chmod(0o555)
    assert as_user(OWNER, lambda: run(name, "INSERT INTO t VALUES (2) RETURNING x")).value == [[2]]


def test_the_doctor_sees_that_a_database_was_opened_to_more_people(place: Path) -> None:
    name = place / "db.sqlite3"
    make_plain(name, 0o600)
    os.chown(name, OWNER, TEAM)
    assert as_user(OWNER, lambda: run(name, "INSERT INTO t VALUES (1)"), groups=[TEAM]).error is None
    assert as_user(0, lambda: wrong(name)).value == []
    name.chmod(0o660)
    (line,) = as_user(0, lambda: wrong(name)).value
    assert "rights" in line and "not everybody" in line


def test_a_plain_file_that_may_not_be_written_is_attached_to_be_read(place: Path) -> None:
    plain = place / "plain.sqlite3"
    make_plain(plain, 0o644)

    def ask(sql: str) -> list[tuple[object, ...]]:
        connection = seawall.connect(place / "db.sqlite3", isolation_level=None)
        connection.execute("ATTACH ? AS plain", (str(plain),))
        return connection.execute(sql).fetchall()

    said = as_user(OWNER, lambda: ask("SELECT x FROM plain.t"))
    assert (said.value, said.error) == ([["secret"]], None)
    said = as_user(OWNER, lambda: ask("INSERT INTO plain.t VALUES (1)"))
    assert said.error is not None and "attempt to write a readonly database" in said.error
    plain.chmod(0o600)
    said = as_user(OWNER, lambda: ask("SELECT x FROM plain.t"))
    assert said.error is not None and "unable to open database" in said.error


def test_a_folder_that_cannot_be_made_is_given_to_no_user(place: Path) -> None:
    name = place / "db.sqlite3"
    make_plain(name, 0o644)
    os.chown(name, OWNER, OWNER)
    os.chown(place, 0, 0)
    assert as_user(OWNER, lambda: run(name, "SELECT x FROM t")).value == [["secret"]], "as stock SQLite reads it"
    said = as_user(OWNER, lambda: run(name, "INSERT INTO t VALUES (1)"))
    assert said.error is not None
    assert "DatabaseReadOnly" in said.error and "chown" not in said.error and "let this user write there" in said.error


def wrong(name: Path) -> list[str]:
    """What the doctor finds wrong."""
    return [line for line in doctor(name).splitlines() if line.startswith("PROBLEM")]
