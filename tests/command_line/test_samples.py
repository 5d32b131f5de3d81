"""docs/command-line.md shows what the commands print, and names every field of their JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import seawall

from .samples import PAGE, commands, run, samples, shape
from .test_doctor import run as run_seawall


def test_the_samples_are_what_the_commands_print() -> None:
    page = PAGE.read_text()
    assert sum(map(len, commands(page))) >= 10
    for shown, printed in zip(samples(page), run(page), strict=True):
        assert shape(shown) == shape(printed), "make samples writes them again"


def fields(command: str) -> set[str]:
    """The fields that the page says of a command's JSON, those that every answer has among them."""
    section = PAGE.read_text().partition("\n## JSON\n")[2]
    rows = dict(re.findall(r"^\| ([^|]+) \| (.*) \|$", section, re.MULTILINE))

    def names(row: str) -> set[str]:
        without_parts = re.sub(r"\([^()]*\)", "", rows[row])
        return set(
            re.findall(r"`(\w+)`", without_parts if command not in ("pin", "pins") else without_parts.partition(":")[0])
        )

    return names("all but `doctor` and `init`") | names(f"`{command}`")


@pytest.mark.parametrize(
    "line",
    [
        ["status"],
        ["checkpoint"],
        ["gc"],
        ["gc", "--dry-run"],
        ["policy", "--history", "7d"],
        ["pin", "release"],
        ["pins"],
        ["unpin", "release"],
    ],
)
def test_every_field_of_the_json_is_on_the_page(line: list[str], tmp_path: Path) -> None:
    name = tmp_path / "db.sqlite3"
    seawall.connect(name, isolation_level=None).execute("CREATE TABLE t (x)")
    command, *arguments = line
    if command in ("pin", "unpin"):
        seawall.pin(name, "release")
        arguments, positional = [], arguments
        done = run_seawall(command, name, *positional, *arguments, "--json")
    else:
        done = run_seawall(command, name, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    # What an error adds is not here; what only a checkpoint that was made has is.
    assert set(answer) == fields(command)


def test_an_error_is_json_too(tmp_path: Path) -> None:
    done = run_seawall("status", tmp_path / "none.sqlite3", "--json")
    answer = json.loads(done.stdout)
    assert done.returncode == answer["exit"] == 10
    assert set(answer) == {"command", "name", "exit", "error", "next"}
    assert set(answer["error"]) == {"kind", "text"}
    assert answer["error"]["kind"] == "NoDatabase"
    assert "does not exist" in answer["error"]["text"] and "does not exist" in done.stderr
