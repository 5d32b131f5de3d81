"""`manage.py dbshell`: the sqlite3 shell, through Seawall."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import seawall
from django.core.management import CommandError
from seawall.django.base import DatabaseWrapper

Open = Callable[..., DatabaseWrapper]


def test_the_shell_sees_the_newest_version_and_writes(open_database: Open) -> None:
    database = open_database({"timeout": 2})
    with database.cursor() as cursor:
        cursor.execute("CREATE TABLE t (x)")
        cursor.execute("INSERT INTO t VALUES ('it''s here')")
    sql = "INSERT INTO t VALUES ('and here'); SELECT * FROM t"
    command, environment = database.client.settings_to_cmd_args_env(database.settings_dict, ["-header", sql])
    assert command[0] == "sqlite3"
    ended = subprocess.run(command, env={**os.environ, **(environment or {})}, capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == ("x\nit's here\nand here\n", "")
    with database.cursor() as cursor:
        assert cursor.execute("SELECT count(*) FROM t").fetchall() == [(2,)]


def test_in_memory_it_is_the_stock_shell(open_database: Open) -> None:
    database = open_database(NAME=":memory:")
    command = database.client.settings_to_cmd_args_env(database.settings_dict, ["-help"])
    assert command == (["sqlite3", ":memory:", "-help"], None)


def test_without_the_extension_it_says_so(open_database: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Path:
        raise FileNotFoundError("libseawall.so is not there: install Seawall with pip")

    monkeypatch.setattr(seawall, "extension_path", missing)
    with pytest.raises(CommandError, match="install Seawall with pip"):
        open_database().client.runshell([])
