"""`manage.py seawall COMMAND`: the command line for a database of the settings."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import seawall

Manage = Any


@pytest.fixture
def manage(tmp_path: Path) -> Manage:
    """Run `manage.py seawall …` in a project with two databases."""
    databases = {
        alias: {"ENGINE": "seawall.django", "NAME": str(tmp_path / f"{alias}.sqlite3")}
        for alias in ("default", "other")
    }
    databases["other"]["OPTIONS"] = {"upkeep": False}  # type: ignore[assignment]
    databases["wrong"] = {**databases["default"], "OPTIONS": {"upkeep": "sometimes"}}  # type: ignore[dict-item]
    settings = f"DATABASES = {databases}\nINSTALLED_APPS = ['seawall.django']\nSECRET_KEY = 'x'\n"
    (tmp_path / "command_settings.py").write_text(settings)
    for alias in ("default", "other"):
        seawall.connect(tmp_path / f"{alias}.sqlite3", isolation_level=None).execute("CREATE TABLE t (x)")

    def manage(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "django", "seawall", *arguments]
        path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "command_settings", "PYTHONPATH": path}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return manage


def test_it_takes_each_command_and_option_that_the_command_line_has(manage: Manage) -> None:
    def usage(*arguments: str) -> str:
        command = [sys.executable, "-m", "seawall", *arguments, "--help"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    here = manage("--help").stdout
    commands = set(re.findall(r"^  ([a-z-]+)  ", usage(), re.MULTILINE)) - {"help", "init", "ext-path"}
    assert commands == set(re.search(r"\{([a-z,]+)\}", here.replace(" ", "").split("positional")[1])[1].split(","))  # type: ignore[index]
    options = {
        option for command in commands for option in re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", usage(command), re.M)
    }
    assert options >= {"--measure", "--new-id"}
    # The settings say which coordinator.
    assert {option for option in options - {"--coordinator"} if option not in here} == set()


@pytest.mark.parametrize(
    "command",
    [
        ["status"],
        ["checkpoint", "--if-due"],
        ["checkpoint"],
        ["gc", "--dry-run"],
        ["gc"],
        ["policy", "--history", "7d", "--history-bytes=2GiB", "--checkpoint-at", "128MiB"],
        ["pin", "release", "--for", "3d"],
        ["pin", "older", "--at", "1"],
        ["pins"],
        ["snapshot", "--refresh"],
        ["verify", "--deep"],
        ["verify", "--part=2/3"],
        ["move", "--to=fs:"],
    ],
)
@pytest.mark.parametrize("alias", ["default", "other"])
def test_each_command_runs_for_a_configured_database(
    manage: Manage, tmp_path: Path, command: list[str], alias: str
) -> None:
    answer = json.loads(manage(*command, "--database", alias, "--json").stdout)
    assert (answer["command"], answer["name"]) == (command[0], str(tmp_path / f"{alias}.sqlite3"))


def test_what_it_does_is_done(manage: Manage, tmp_path: Path) -> None:
    name = tmp_path / "default.sqlite3"
    manage("policy", "--history", "7d")
    assert seawall.policy(name).history.days == 7
    manage("pin", "release")
    assert [pin.name for pin in seawall.pins(name)] == ["release"]
    manage("unpin", "release")
    manage("unpin", "release", code=1)
    assert seawall.pins(name) == ()
    manage("checkpoint", "--database", "other")
    assert seawall.status(tmp_path / "other.sqlite3").base_version == 1
    assert seawall.status(name).base_version is None


def test_wrong_arguments(manage: Manage) -> None:
    assert "unexpected argument" in manage("gc", "--history", "7d", code=2).stderr
    assert "15min" in manage("policy", "--history", "soon", code=2).stderr
    manage("gcc", code=2)
    assert "PIN" in manage("pin", code=2).stderr
    assert "upkeep" in manage("status", "--database", "wrong", code=1).stderr
