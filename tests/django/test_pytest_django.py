"""pytest-django, alone and with pytest-xdist, on a project whose settings have ENGINE and NAME only."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SETTINGS = """
DATABASES = {{"default": {{"ENGINE": "seawall.django", "NAME": {name}}}}}
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth"]
SECRET_KEY = "tests"
USE_TZ = True
"""

TESTS = """
import os
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import connection


@pytest.mark.django_db
@pytest.mark.parametrize("number", range(4))
def test_its_own_database(number, record_property):
    assert not User.objects.exists()
    User.objects.create(username=f"user {number}")
    with open(os.environ["NAMES"], "a") as names:
        print(connection.settings_dict["NAME"], file=names)


@pytest.mark.django_db(transaction=True)
def test_a_committed_transaction():
    User.objects.create(username="committed")
    connection.close()
    assert User.objects.count() == 1
"""


class Project:
    """A Django project with tests, and its database in a folder of this test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data with space"
        self.data.mkdir()
        self.configure(repr(str(self.data / "db.sqlite3")))
        (folder / "test_users.py").write_text(TESTS)

    def configure(self, name: str) -> None:
        """Set NAME, as Python source."""
        (self.folder / "project_settings.py").write_text(SETTINGS.format(name=name))

    def test(self, *options: str) -> set[str]:
        """Run pytest; the databases that the tests used."""
        names = self.folder / "names"
        names.unlink(missing_ok=True)
        command = [sys.executable, "-m", "pytest", "--ds=project_settings", "-c", os.devnull, "--rootdir=."]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
        ended = subprocess.run(
            [*command, "-p", "no:cacheprovider", *options, "test_users.py"],
            cwd=self.folder,
            env={**environment, "NAMES": str(names), "PYTHONPATH": os.pathsep.join([".", *sys.path])},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert "5 passed" in ended.stdout
        return set(names.read_text().splitlines())

    def there(self) -> list[str]:
        """What lies in the database's folder, but for Seawall's folders."""
        return sorted(path.name for path in self.data.iterdir() if path.is_file())


@pytest.fixture
def project(tmp_path: Path) -> Project:
    for needed in ("pytest_django", "xdist"):
        pytest.importorskip(needed, reason=f"SKIPPED: {needed} is not installed")
    return Project(tmp_path)


WORKERS = ["test_db_gw0.sqlite3", "test_db_gw1.sqlite3"]


def test_alone(project: Project) -> None:
    assert project.test() == {str(project.data / "test_db.sqlite3")}
    assert list(project.data.iterdir()) == []


def test_in_two_processes(project: Project) -> None:
    assert project.test("-n", "2") == {str(project.data / name) for name in WORKERS}
    assert list(project.data.iterdir()) == []


def test_a_database_that_is_kept(project: Project) -> None:
    for option in ("--reuse-db", "--reuse-db", "--create-db"):
        project.test("--reuse-db", option)
        assert project.there() == ["test_db.sqlite3"]
    project.test("--create-db")
    assert list(project.data.iterdir()) == []


def test_databases_that_two_processes_keep(project: Project) -> None:
    for _ in range(2):
        project.test("-n", "2", "--reuse-db")
        assert project.there() == WORKERS
    project.test("-n", "2")
    assert list(project.data.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    [
        '__import__("pathlib").Path(__file__).with_name("data with space") / "db.sqlite3"',
        '"data with space/db.sqlite3"',
        '"file:data%20with%20space/db.sqlite3?mode=rwc"',
    ],
)
def test_other_ways_to_write_a_name(project: Project, name: str) -> None:
    project.configure(name)
    assert {Path(used).name for used in project.test("-n", "2")} == set(WORKERS)
    assert list(project.data.iterdir()) == []


def test_in_memory(project: Project) -> None:
    project.configure("':memory:'")
    assert project.test("-n", "2") == {"file:memorydb_default?mode=memory&cache=shared"}
    assert list(project.data.iterdir()) == []
