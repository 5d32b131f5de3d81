"""The command that each command names at its end: it works as it is printed, or none is named."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import seawall

from .commands import answered, run

WRONG = 2


@pytest.fixture
def name(tmp_path: Path) -> Path:
    return make(tmp_path / "db.sqlite3")


def make(name: Path, **options: Any) -> Path:
    with seawall.connect(name, **options) as connection:
        connection.execute("CREATE TABLE votes (choice TEXT)")
        connection.execute("INSERT INTO votes VALUES ('a')")
    connection.close()
    return name


def run_next(line: str, **environment: str) -> tuple[int, str, str]:
    """What it is to run the printed line exactly, but for the program."""
    program, *arguments = shlex.split(line)
    assert program == "seawall"
    return run(*arguments, **environment)


def test_a_chosen_commit_and_a_taken_over_home_are_repeated(name: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copy.sqlite3"
    shutil.copy2(name, copied)
    shutil.copytree(f"{name}-seawall", f"{copied}-seawall", symlinks=True)
    shutil.rmtree(f"{name}-seawall")
    name.unlink()
    would = answered("recover", copied, "--take-over-home")[1]
    commit = would["kept"]["commit"]
    assert would["next"].endswith(f"{copied} --yes --take-over-home")
    would = answered("recover", copied, "--take-over-home", "--commit", commit)[1]
    assert would["next"].endswith(f"{copied} --yes --commit={commit} --take-over-home")
    code, out, err = run_next(would["next"])
    assert code == 0, out + err
    assert run("status", copied)[0] == 0


def test_where_id_is_lost_the_coordinator_is_repeated(name: Path) -> None:
    Path(f"{name}-seawall/id").unlink()
    would = answered("recover", name, "--coordinator", "fs:")[1]
    assert would["next"].endswith("--yes --coordinator fs:")
    code, out, err = run_next(would["next"])
    assert code == 0, out + err
    assert answered("status", name, "--coordinator", "fs:")[1]["next"].endswith(str(name)), "nothing has to be said now"


def test_a_database_behind_an_endpoint_is_reached_by_each_next_command(
    tmp_path: Path, table: str, dynamodb: str
) -> None:
    url = f"dynamodb://{table}?region=us-east-1&endpoint={dynamodb}"
    name = make(tmp_path / "db.sqlite3", coordinator=url)
    lines = [
        ["status", name],
        ["checkpoint", name],
        ["gc", name, "--dry-run", "--max-duration", "1min"],
        ["pin", name, "release"],
        ["pins", name],
        ["verify", name],
        ["policy", name, "--history", "7d"],
        ["recover", name],
        ["move", name, "--to", "fs:"],
    ]
    for line in lines:
        answer = answered(*line, "--coordinator", url)[1]
        assert "error" not in answer and answer["next"].endswith(f"--coordinator '{url}'"), answer
        code, out, err = run_next(answer["next"])
        assert code == 0, (answer["next"], out, err)
        # Where the environment names it, the next command needs no argument.
        if line[0] != "move":
            answer = answered(*line, "--coordinator", url, SEAWALL_COORDINATOR=url)[1]
            assert "--coordinator" not in answer["next"], answer
            code, out, err = run_next(answer["next"], SEAWALL_COORDINATOR=url)
            assert code == 0, (answer["next"], out, err)


def test_after_a_move_the_next_command_reaches_the_new_coordinator(name: Path, table: str, dynamodb: str) -> None:
    url = f"dynamodb://{table}?region=us-east-1&endpoint={dynamodb}"
    would = answered("move", name, "--to", url)[1]
    code, out, err = run_next(would["next"])
    assert code == 0 and f"next  seawall status {name} --coordinator '{url}'" in " ".join(out.split("  ")), out + err
    there = answered("move", name, "--to", url, "--coordinator", url, "--yes")[1]
    assert run_next(there["next"])[0] == 0, there
    back = answered("move", name, "--to", "fs:", "--coordinator", url, "--yes")[1]
    assert back["next"] == f"seawall status {name}" and run_next(back["next"])[0] == 0


def test_the_parts_of_a_verification_follow_each_other_on_one_version(name: Path) -> None:
    first = answered("verify", name, "--part", "1/2", "--deep")[1]
    second = first["next"]
    assert second.endswith(f"--at={first['version']} --deep --part=2/2")
    code, out, err = run_next(second)
    assert code == 0 and f"seawall status {name}" in out, out + err
    assert answered("verify", name, "--at", "1")[1]["next"].endswith(f"{name} --at=1 --deep")


def test_what_another_writer_was_in_the_way_of_is_asked_for_again_as_it_was(name: Path, tmp_path: Path) -> None:
    backup = tmp_path / "back up.sqlite3"
    seawall.copy(name, backup)
    stock = sqlite3.connect(tmp_path / "plain.sqlite3", isolation_level=None)
    stock.execute("CREATE TABLE t (x)")
    stock.execute("BEGIN EXCLUSIVE")
    line = ["adopt", "--coordinator=fs:", tmp_path / "plain.sqlite3"]
    code, _, err = run(*line)
    stock.execute("ROLLBACK")
    assert code == 11 and f"seawall adopt --coordinator=fs: {tmp_path}/plain.sqlite3" in err, err
    assert run_next(err.partition("next: ")[2])[0] == 0
    stock.close()


@pytest.mark.parametrize("odd", ["two\nlines.sqlite3", b"caf\xe9.sqlite3", "bidi\u202e.sqlite3"])
def test_a_name_that_cannot_be_written_on_a_line_gives_no_next_command(odd: str | bytes, tmp_path: Path) -> None:
    name = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + os.fsencode(odd)))
    make(name)
    assert answered("status", os.fsencode(name))[1]["next"] is None
    code, out, err = run("status", os.fsencode(name))
    assert code == 0 and "next" not in out + err
    name.unlink()
    shutil.rmtree(Path(os.fsdecode(os.fsencode(name) + b"-seawall")))
    code, out, err = run("status", os.fsencode(name))
    assert code == 10 and "next" not in out + err, err
    # One that only a shell would take apart is quoted.
    quoted = make(tmp_path / "it's & $HOME.sqlite3")
    assert run_next(answered("status", quoted)[1]["next"])[0] == 0


@pytest.mark.parametrize(
    ("line", "command", "why"),
    [
        (["pin", "NAME", "BAD"], "pin", "lower-case"),
        (["pin", "NAME", "checkpoint-mine"], "pin", "Choose another name"),
        (["pin", "NAME", "verification-1"], "pin", "Choose another name"),
        (["snapshot", "NAME"], "snapshot", "--refresh"),
        (["policy", "NAME", "--history", "1s"], "policy", "15min is the least"),
        (["gcc", "NAME"], None, "gc"),
        (["init"], "init", "--coordinator"),
    ],
)
def test_wrong_arguments_are_json_too(name: Path, line: list[str], command: str | None, why: str) -> None:
    line = [str(name) if word == "NAME" else word for word in line]
    code, out, err = run(*line, "--json")
    answer = json.loads(out)
    assert (code, answer["exit"], answer["command"]) == (WRONG, WRONG, command)
    assert set(answer) == {"command", "name", "exit", "error", "next"}
    assert answer["error"]["kind"] is None and why in answer["error"]["text"] and "\\n" not in answer["error"]["text"]
    assert why in err and run_next(answer["next"])[0] == 0
    assert run(*line)[:2] == (WRONG, "")
