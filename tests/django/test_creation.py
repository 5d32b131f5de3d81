"""Test databases: their names, and what `manage.py test` makes, keeps and asks."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import django
import pytest
import seawall
from seawall.django.base import DatabaseWrapper

Open = Callable[..., DatabaseWrapper]


@pytest.mark.parametrize(
    ("name", "test_name", "expected"),
    [
        ("/srv/db.sqlite3", None, "/srv/test_db.sqlite3"),
        (Path("/srv/db"), None, "/srv/test_db"),
        ("file:/srv/a%20b.sqlite3?mode=ro", None, "/srv/test_a b.sqlite3"),
        ("/srv/db.sqlite3", "/tmp/mine.sqlite3", "/tmp/mine.sqlite3"),
        ("/srv/db.sqlite3", Path("/tmp/mine.sqlite3"), "/tmp/mine.sqlite3"),
        ("/srv/db.sqlite3", "file:/tmp/my%20own.sqlite3?mode=rwc", "/tmp/my own.sqlite3"),
        ("/srv/db.sqlite3", "mine_gw0", "mine_gw0"),
        ("/srv/db.sqlite3", ":memory:", "file:memorydb_default?mode=memory&cache=shared"),
        # As pytest-django makes them.
        ("/srv/db.sqlite3", "test_/srv/db.sqlite3", "/srv/test_db.sqlite3"),
        ("/srv/db.sqlite3", "test_/srv/db.sqlite3_gw0", "/srv/test_db_gw0.sqlite3"),
        (Path("/srv/a b.c/db"), "test_/srv/a b.c/db_py312_gw1", "/srv/a b.c/test_db_py312_gw1"),
        ("data/db.sqlite3", "test_data/db.sqlite3_gw0", "data/test_db_gw0.sqlite3"),
        ("file:/srv/a%20b.sqlite3?mode=rw", "test_file:/srv/a%20b.sqlite3?mode=rw_gw0", "/srv/test_a b_gw0.sqlite3"),
        (":memory:", "test_:memory:_gw0", "file:memorydb_default?mode=memory&cache=shared"),
        ("/srv/db.sqlite3", "/tmp/mine.sqlite3_gw0", "/tmp/mine.sqlite3_gw0"),
        (":memory:", None, "file:memorydb_default?mode=memory&cache=shared"),
    ],
)
def test_names(open_database: Open, name: str | Path, test_name: str | None, expected: str) -> None:
    database = open_database(NAME=name, TEST={"NAME": test_name})
    assert database.creation._get_test_db_name() == expected  # type: ignore[attr-defined]


def test_a_clone_is_a_database_of_its_own(open_database: Open, tmp_path: Path) -> None:
    database = open_database()
    with database.cursor() as cursor:
        cursor.execute("CREATE TABLE t (x)")
        cursor.execute("INSERT INTO t VALUES (1)")
    database.creation.clone_test_db("2", verbosity=0)
    settings = database.creation.get_test_db_clone_settings("2")
    assert settings["NAME"] == str(tmp_path / "db_2.sqlite3")
    clone = open_database(NAME=settings["NAME"])
    with database.cursor() as cursor:
        cursor.execute("INSERT INTO t VALUES (2)")
    with clone.cursor() as cursor:
        assert cursor.execute("SELECT x FROM t").fetchall() == [(1,)]
    assert seawall.status(settings["NAME"]).database != seawall.status(database.settings_dict["NAME"]).database
    clone.close()
    database.creation.destroy_test_db(verbosity=0, suffix="2")
    assert list(tmp_path.glob("db_2*")) == []


def test_a_link_is_removed_and_not_what_it_leads_to(open_database: Open, tmp_path: Path) -> None:
    database = open_database()
    with database.cursor() as cursor:
        cursor.execute("CREATE TABLE t (x)")
    real = Path(database.settings_dict["NAME"])
    link = tmp_path / "test_real.sqlite3"
    link.symlink_to(real)
    database.creation._remove(str(link), verbosity=0)  # type: ignore[attr-defined]
    assert not link.is_symlink()
    with database.cursor() as cursor:
        assert cursor.execute("SELECT * FROM t").fetchall() == []
    assert seawall.status(real).version == 1


class Project:
    """The polls example, with its database in a folder of this test."""

    def __init__(self, polls: Path, folder: Path) -> None:
        self.polls = polls
        self.folder = folder

    def test(self, *options: str, start_method: str = "fork") -> subprocess.CompletedProcess[str]:
        """Run `manage.py test`, without input to answer its questions."""
        program = (
            "import multiprocessing, sys; from django.core.management import execute_from_command_line;"
            f"multiprocessing.set_start_method({start_method!r});"
            "execute_from_command_line(['manage.py', *sys.argv[1:]])"
        )
        environment = {
            "DJANGO_SETTINGS_MODULE": "mysite.settings",
            "POLLS_DATABASE": str(self.folder / "db.sqlite3"),
        }
        return subprocess.run(
            [sys.executable, "-c", program, "test", "polls", *options],
            cwd=self.polls,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )

    def test_databases(self) -> list[str]:
        return sorted(path.name for path in self.folder.glob("test_*") if path.is_file())


@pytest.fixture
def project(polls: Path, tmp_path: Path) -> Project:
    return Project(polls, tmp_path)


@pytest.mark.parametrize("start_method", ["fork", "spawn", "forkserver"])
def test_parallel(project: Project, start_method: str) -> None:
    if start_method == "forkserver" and django.VERSION < (6, 0):
        pytest.skip(f"SKIPPED: Django {django.get_version()} runs no tests in parallel by a fork server")
    ended = project.test("--parallel=2", start_method=start_method)
    assert ended.returncode == 0, ended.stderr
    assert "Ran 6 tests" in ended.stderr
    assert list(project.folder.iterdir()) == []


def test_keepdb_and_what_it_leaves(project: Project) -> None:
    for _ in range(2):
        ended = project.test("--parallel=2", "--keepdb")
        assert ended.returncode == 0, ended.stderr
        kept = ["test_db.sqlite3", "test_db_1.sqlite3", "test_db_2.sqlite3"]
        assert project.test_databases() == kept

    ended = project.test()
    assert ended.returncode == 1
    assert "Use --noinput to replace it, or --keepdb to use it again." in ended.stderr
    assert "Tests cancelled." in ended.stderr
    assert project.test_databases() == kept

    ended = project.test("--parallel=2", "--noinput")
    assert ended.returncode == 0, ended.stderr
    assert list(project.folder.iterdir()) == []
