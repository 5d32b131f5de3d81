"""`manage.py migrate` says which version the database had before it."""

import subprocess
import sys
from pathlib import Path

import pytest
import seawall

SETTINGS = """
DATABASES = {{
    "default": {{"ENGINE": "seawall.django", "NAME": {folder!r} + "/db.sqlite3"}},
    "stock": {{"ENGINE": "django.db.backends.sqlite3", "NAME": {folder!r} + "/stock.sqlite3"}},
    "memory": {{"ENGINE": "seawall.django", "NAME": ":memory:"}},
}}
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions"]
SECRET_KEY = "tests"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "migrated.py").write_text(SETTINGS.format(folder=str(tmp_path)))
    return tmp_path


def migrate(folder: Path, *options: str) -> list[str]:
    """Run it; what it said of versions."""
    command = [sys.executable, "-m", "django", "migrate", "--settings=migrated", f"--pythonpath={folder}", *options]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stderr
    lines = ended.stdout.splitlines()
    said = [line for line in lines if "version" in line]
    if said and "Running migrations:" in lines:
        assert lines.index(said[0]) == lines.index("Running migrations:") - 1
    return said


def test_it_says_the_version_once_before_it_begins(folder: Path) -> None:
    assert migrate(folder) == ["  before this: version 0 (database 'default')"]
    version = seawall.status(folder / "db.sqlite3").version
    assert version > 10
    assert migrate(folder, "sessions", "zero") == [f"  before this: version {version} (database 'default')"]
    newest = seawall.status(folder / "db.sqlite3").version
    assert migrate(folder) == [f"  before this: version {newest} (database 'default')"]


def test_where_there_is_nothing_to_say(folder: Path) -> None:
    assert migrate(folder, "--verbosity=0") == []
    assert migrate(folder, "--database=stock") == []
    assert migrate(folder, "--database=memory") == []


TESTS = """
from django.contrib.sessions.models import Session
from django.test import TestCase

class Empty(TestCase):
    def test_it(self):
        self.assertFalse(Session.objects.exists())
"""


def test_it_says_nothing_of_a_test_database(folder: Path) -> None:
    (folder / "test_sessions.py").write_text(TESTS)
    command = [sys.executable, "-m", "django", "test", "--settings=migrated", f"--pythonpath={folder}", "-v", "2"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "Ran 1 test " in ended.stderr
    assert "Running migrations:" in ended.stdout
    assert "before this" not in ended.stdout


FAILING = """
from seawall.django.base import DatabaseWrapper

def fails(self):
    raise RuntimeError("nobody knows")

DatabaseWrapper.newest_version = fails
"""


def test_it_never_fails_the_migration(folder: Path) -> None:
    with (folder / "migrated.py").open("a") as settings:
        settings.write(FAILING)
    assert migrate(folder) == []
    assert seawall.status(folder / "db.sqlite3").version > 10
