"""System checks: each mistake in the settings has its message."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import CheckMessage
from django.core.exceptions import ImproperlyConfigured
from seawall.django.base import DatabaseWrapper
from seawall.django.checks import check_settings
from tree import below

Open = Callable[..., DatabaseWrapper]


def check(open_database: Open, **entry: Any) -> list[CheckMessage]:
    return list(check_settings(open_database(**entry).settings_dict))


def test_good_settings(open_database: Open) -> None:
    options = {
        "coordinator": "dynamodb://locks?region=eu-west-1",
        "timeout": 5,
        "freshness": 0.5,
        "lease": 30,
        "page_cache": 1 << 20,
        "transaction_mode": "deferred",
        "init_command": "PRAGMA cache_size=2000",
        "cached_statements": 256,
    }
    assert check(open_database, OPTIONS=options, AUTOCOMMIT=True, CONN_MAX_AGE=60) == []


@pytest.mark.parametrize(
    ("entry", "number", "text"),
    [
        ({"OPTIONS": {"timeout": -1}}, "E001", "OPTIONS['timeout'] is -1"),
        ({"OPTIONS": {"transaction_mode": "LATER"}}, "E001", "OPTIONS['transaction_mode']"),
        ({"OPTIONS": {"coordinator": "zk://a"}}, "E001", "use 'fs:' or 'dynamodb://TABLE'"),
        ({"OPTIONS": {"init_commands": ""}}, "E002", "Did you mean 'init_command'?"),
        ({"OPTIONS": {"TIMEOUT": 5}}, "E002", "Did you mean 'timeout'?"),
        ({"OPTIONS": {"pool": True}}, "E002", "CONN_MAX_AGE"),
        ({"OPTIONS": {"SQLITE_LOCK_EXPIRATION": 9}}, "E002", "an environment variable"),
        ({"OPTIONS": {"colour": "red"}}, "E002", "The options are "),
        ({"timeout": 90}, "E003", "'timeout' has no effect where it is"),
        ({"TIMEOUT": 90}, "E003", "Move it into OPTIONS: {'timeout': 90}."),
        ({"TEST": {"lease": 5}}, "E003", "TEST['lease'] has no effect"),
        ({"ATOMIC_REQUESTS": True}, "W001", "a write transaction"),
    ],
)
def test_a_mistake(open_database: Open, entry: dict[str, Any], number: str, text: str) -> None:
    (message,) = check(open_database, **entry)
    assert message.id == f"seawall.{number}"
    assert text in f"{message.msg} {message.hint}"


def test_atomic_requests_may_be_deferred(open_database: Open) -> None:
    for mode in ("DEFERRED", None):
        options = {"transaction_mode": mode}
        assert check(open_database, ATOMIC_REQUESTS=True, OPTIONS=options) == []


@pytest.mark.parametrize("options", [{"timeout": -1}, {"pool": {}}, {"colour": "red"}])
def test_a_connection_is_refused_too(open_database: Open, options: dict[str, Any]) -> None:
    (option,) = options
    place = rf"settings.DATABASES\['default'\]: OPTIONS\['{option}'\]"
    with pytest.raises(ImproperlyConfigured, match=place):
        open_database(options).ensure_connection()


def test_manage_py_checks_it(polls: Path, tmp_path: Path) -> None:
    settings = tmp_path / "mistaken.py"
    settings.write_text("from mysite.settings import *\nDATABASES['default']['freshness'] = 5\n")
    ended = subprocess.run(
        [sys.executable, "manage.py", "check", "--settings=mistaken", f"--pythonpath={tmp_path}"],
        cwd=polls,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 1
    assert "settings.DATABASES['default']: 'freshness' has no effect where it is" in ended.stderr
    assert "seawall.E003" in ended.stderr


PROJECT = """
DATABASES = {{"default": {{"ENGINE": "seawall.django", "NAME": {name!r}}}}}
INSTALLED_APPS = ["things"]
SECRET_KEY = "tests"

from seawall.django.base import DatabaseWrapper

def connects(self):
    raise AssertionError("a check has opened a connection")

if {forbidden!r}:
    DatabaseWrapper.connect = connects
"""

MODELS = """
from django.db import models


class Thing(models.Model):
    what = models.JSONField()
"""


def absent(name: Path) -> None:
    pass


def plain(name: Path) -> None:
    database = sqlite3.connect(name)
    database.execute("CREATE TABLE t (a)")
    database.close()


def adopted(name: Path) -> None:
    # By a process that is no more: a live one's background goes on for a second.
    make = "import seawall, sys; seawall.connect(sys.argv[1]).execute('CREATE TABLE t (a)')"
    subprocess.run([sys.executable, "-c", make, name], check=True)


def locked(name: Path) -> sqlite3.Connection:
    """A plain file that stock SQLite is writing now."""
    plain(name)
    database = sqlite3.connect(name)
    database.execute("BEGIN EXCLUSIVE")
    return database


@pytest.mark.parametrize("make", [absent, plain, locked, adopted])
@pytest.mark.parametrize("options", [["--database=default"], []])
@pytest.mark.parametrize("forbidden", [False, True])
def test_a_check_leaves_the_database_alone(
    tmp_path: Path, make: Callable[[Path], Any], options: list[str], forbidden: bool
) -> None:
    """Some checks ask what the database can do; Django 6.1 has all of them run by each command."""
    data, app = tmp_path / "data", tmp_path / "things"
    data.mkdir()
    app.mkdir()
    name = data / "db.sqlite3"
    held = make(name)
    (tmp_path / "checked.py").write_text(PROJECT.format(name=str(name), forbidden=forbidden))
    (app / "__init__.py").touch()
    (app / "models.py").write_text(MODELS)

    def state() -> dict[Path, tuple[int, ...]]:
        there = {path: path.lstat() for path in [data, *below(data)]}
        return {path: (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for path, stat in there.items()}

    before = state()
    command = [sys.executable, "-m", "django", "check", "--settings=checked", f"--pythonpath={tmp_path}", *options]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert state() == before
    del held
