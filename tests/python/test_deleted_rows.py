"""What docs/security.md says of deleted rows: where they stay, and how they are purged."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import seawall
from tree import below

SECRET = b"a-secret-that-was-deleted-7c41b3"
ROW = "INSERT INTO t VALUES (?)"


@pytest.fixture
def name(tmp_path: Path) -> Path:
    """A plain database with the secret and much else, adopted; then the secret is deleted."""
    path = tmp_path / "db.sqlite3"
    plain = sqlite3.connect(path)
    plain.execute("CREATE TABLE t (x)")
    plain.execute(ROW, (SECRET.decode(),))
    plain.executemany(ROW, [("x" * 500,)] * 50)
    plain.commit()
    plain.close()
    connection = seawall.connect(path, isolation_level=None)
    connection.execute("DELETE FROM t WHERE x LIKE 'a-secret%'")
    connection.close()
    return path


def copied(name: Path) -> bytes:
    target = name.with_name("copy.sqlite3")
    target.unlink(missing_ok=True)
    seawall.copy(name, target)
    return target.read_bytes()


def in_files(name: Path) -> bool:
    folder = name.with_name(name.name + "-seawall")
    files = [path for path in below(folder) if not path.is_symlink() and path.is_file()]
    return any(SECRET in path.read_bytes() for path in [name, *files])


def test_a_copy_has_what_the_newest_version_has_deleted(name: Path) -> None:
    assert SECRET in copied(name)


def test_whole_free_pages_are_copied_too(name: Path) -> None:
    connection = seawall.connect(name, isolation_level=None)
    connection.execute("CREATE TABLE u (x)")
    connection.executemany("INSERT INTO u VALUES (?)", [("another-secret" * 200,)] * 20)
    connection.execute("DROP TABLE u")
    assert connection.execute("PRAGMA freelist_count").fetchone() > (0,)
    connection.close()
    assert b"another-secret" in copied(name)


def test_vacuum_purges_copies_and_not_the_folder(name: Path) -> None:
    connection = seawall.connect(name, isolation_level=None)
    connection.execute("VACUUM")
    connection.close()
    assert SECRET not in copied(name)
    assert in_files(name), "older versions stay"


def test_a_purged_copy_in_the_place_of_the_database(name: Path) -> None:
    """The way that the page gives."""
    connection = seawall.connect(name, isolation_level=None)
    connection.execute("VACUUM")
    connection.close()
    fresh = name.with_name("fresh.sqlite3")
    seawall.copy(name, fresh)
    seawall.remove(name)
    fresh.rename(name)
    connection = seawall.connect(name)
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (50,)
    connection.close()
    assert not in_files(name)


def test_secure_delete_is_off_and_can_be_switched_on(name: Path) -> None:
    connection = seawall.connect(name, isolation_level=None)
    assert connection.execute("PRAGMA secure_delete").fetchone() == (0,)
    connection.execute("PRAGMA secure_delete=ON")
    connection.execute(ROW, ("a-third-secret",))
    connection.execute("DELETE FROM t WHERE x = 'a-third-secret'")
    connection.close()
    assert b"a-third-secret" not in copied(name)
