"""`seawall status`, `checkpoint`, `gc`, `policy`, `pin`, `pins` and `unpin`: what they do, print and answer as JSON."""

from __future__ import annotations

import json
import os
import pty
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import seawall
from dynamodb.fixtures import client, make_table
from dynamodb.proxy import Proxy
from seawall import _native
from security.people import STRANGER, as_user, needs_root

from .test_doctor import run

COMMANDS = ["status", "checkpoint", "gc", "policy", "pins"]
JSON = dict[str, Any]


@pytest.fixture
def name(tmp_path: Path) -> Path:
    """A database with some commits, made by a process that is gone."""
    name = tmp_path / "db.sqlite3"
    program = """
import sys, seawall
connection = seawall.connect(sys.argv[1], isolation_level=None, upkeep=False)
connection.execute("CREATE TABLE t (x)")
for n in range(20):
    connection.execute("INSERT INTO t VALUES (randomblob(3000))")
connection.close()
"""
    subprocess.run([sys.executable, "-c", program, name], check=True)
    return name


def answer(command: str, *arguments: str | Path, code: int = 0) -> JSON:
    """The JSON answer; the exit code is in it, and nothing goes to standard error but an error."""
    done = run(command, *arguments, "--json")
    result: JSON = json.loads(done.stdout)
    assert done.returncode == result["exit"] == code, done.stdout + done.stderr
    assert result["command"] == command
    assert result["next"].startswith("seawall ")
    if code == 0:
        assert done.stderr == ""
    return result


def text(command: str, *arguments: str | Path, code: int = 0, **environment: str) -> str:
    done = run(command, *arguments, **environment)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code in (0, 1) and done.stdout else done.stderr


def wait_until(condition: Callable[[], bool]) -> None:
    """A writer says who it is when it has had the lease for a while."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_status_at_a_glance(name: Path) -> None:
    before = answer("status", name)
    assert before["healthy"] and before["problems"] == []
    assert (before["version"], before["base_version"], before["writer"], before["collected"]) == (21, None, None, None)
    assert before["log_bytes"] > 20 * 3000 and before["checkpoint_due_bytes"] == 64 << 20
    assert before["floor"] == {"version": 0, "time": None}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", before["time"])
    writer = seawall.connect(name, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    wait_until(lambda: f"process {os.getpid()}" in (answer("status", name)["writer"] or ""))
    writer.execute("ROLLBACK")
    writer.close()
    answer("checkpoint", name)
    answer("gc", name)
    after = answer("status", name)
    assert (after["base_version"], after["log_bytes"] < before["log_bytes"]) == (21, True)
    assert after["base_bytes"] == after["page_size"] * after["page_count"]
    assert after["collected"]["deleted"] == {"files": 0, "bytes": 0}
    assert after["would_collect"]["kept"]["history"]["files"] >= 1
    shown = text("status", name)
    for word in ("healthy", "version", "nobody has the lease", "due at 64.0 MiB", "reaches back", "next"):
        assert word in shown
    assert "\x1b" not in shown


def test_a_checkpoint_makes_the_newest_version_the_base(name: Path) -> None:
    assert not answer("checkpoint", name, "--if-due")["made"]
    made = answer("checkpoint", name)
    assert (made["made"], made["base_version"], made["name_not_renewed"]) == (True, 21, None)
    again = answer("checkpoint", name)
    assert (again["made"], again["base_version"]) == (False, 21)
    assert "nothing to do" in text("checkpoint", name)
    with sqlite3.connect(name) as plain:
        assert plain.execute("SELECT count(*) FROM t").fetchone() == (20,)
    plain.close()
    assert seawall.connect(name).execute("SELECT count(*) FROM t").fetchone() == (20,)


def test_a_checkpoint_that_cannot_renew_name_says_so(name: Path) -> None:
    # Another program puts its file there while a process has the database open: this one opens it afterwards.
    name.write_bytes(b"overwritten" * 1000)
    assert "overwritten" in text("checkpoint", name, code=1)


def test_gc_says_what_stays_and_leaves_what_is_not_seawalls(name: Path) -> None:
    (Path(f"{name}-seawall") / "notes.txt").write_text("mine")
    (Path(f"{name}-seawall") / "segments" / "a\x1b[31mb").write_text("mine")
    answer("checkpoint", name)
    would = answer("gc", name, "--dry-run")
    assert would["dry_run"] and answer("status", name)["collected"] is None, "a dry run notes nothing"
    done = answer("gc", name)
    assert not done["dry_run"]
    assert done["unknown"] == ["notes.txt", "a\\u{1b}[31mb"]
    assert set(done["kept"]) == {"newest", "history", "pin", "evidence", "young"}
    assert done["kept"]["newest"]["files"] > 0 and done["kept"]["newest"]["bytes"] > 0
    assert (Path(f"{name}-seawall") / "notes.txt").read_text() == "mine"
    shown = text("gc", name)
    assert "notes.txt (kept)" in shown and "\x1b" not in shown
    assert "the newest version needs it" in shown and "inside history" in shown


def test_what_gc_cannot_understand_ends_it(name: Path) -> None:
    (Path(f"{name}-seawall") / "pin.bad").write_text("nonsense")
    failed = answer("gc", name, code=1)
    assert failed["error"]["kind"] == "Corrupt" and "Nothing was deleted" in failed["error"]["text"]
    sick = answer("status", name, code=1)
    assert not sick["healthy"] and sick["would_collect"] is None
    assert "pin.bad" in sick["problems"][0]


def test_the_policy_is_for_all(name: Path) -> None:
    default = answer("policy", name)
    assert (default["history_seconds"], default["history_bytes_limit"], default["checkpoint_at_bytes"]) == (
        24 * 3600,
        None,
        64 << 20,
    )
    longer = answer("policy", name, "--history", "7d", "--history-bytes", "2GiB", "--checkpoint-at", "128MiB")
    assert (longer["history_seconds"], longer["history_bytes_limit"]) == (7 * 24 * 3600, 2 << 30)
    assert longer["checkpoint_at_bytes"] == 128 << 20
    assert longer["becomes_unreachable_below"] is None
    assert seawall.policy(name).history.days == 7
    # The command at the end undoes it.
    assert longer["next"].endswith("--history 24h --history-bytes none --checkpoint-at 64MiB")
    undo = longer["next"].split()[1:]
    assert run(*undo).returncode == 0
    unchanged = answer("policy", name)
    assert {**unchanged, "next": ""} == {**default, "next": ""}
    assert "what is older than 1h" in text("policy", name, "--history", "1h")


def test_pins(name: Path) -> None:
    assert answer("pins", name)["pins"] == []
    made = answer("pin", name, "before.the-release", "--for", "7d")["pin"]
    assert (made["pin"], made["version"], made["by"]) == ("before.the-release", 21, "person")
    assert answer("pins", name)["pins"] == [made]
    assert [pin["pin"] for pin in answer("status", name)["pins"]] == ["before.the-release"]
    assert answer("pin", name, "christmas", "--for", "2999-12-24")["pin"]["until"].startswith("2999-12-2")
    assert "before.the-release  version 21, until " in text("pins", name)
    assert answer("pin", name, "older", "--at", "7")["pin"]["version"] == 7
    assert answer("pin", name, "older", "--at", "0s ago")["pin"]["version"] == 21
    assert answer("unpin", name, "older")["was_there"]
    assert "does not exist yet" in answer("pin", name, "older", "--at", "999", code=1)["error"]["text"]
    assert answer("unpin", name, "before.the-release")["was_there"]
    assert not answer("unpin", name, "before.the-release", code=1)["was_there"]
    assert [pin.name for pin in seawall.pins(name)] == ["christmas"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["policy", "NAME", "--history", "1min"], "15min is the least"),
        (["policy", "NAME", "--history", "soon"], "as in 15min, 24h or 7d"),
        (["policy", "NAME", "--history=-7d"], "as in 15min"),
        (["policy", "NAME", "--history-bytes", "much"], "as in 64MiB or 2GiB; or none"),
        (["policy", "NAME", "--checkpoint-at", "1KiB"], "1MiB is the least"),
        (["pin", "NAME", "Release"], "lower-case"),
        (["pin", "NAME", "../../etc"], "lower-case"),
        (["pin", "NAME", "release", "--for", "2001-01-01"], "over already"),
        (["pin", "NAME", "release", "--for", "0s"], "nothing would be kept"),
        (["pin", "NAME"], "PIN"),
        (["pin", "NAME", "release", "--at", "yesterday"], "how long ago, as in 2h"),
        (["gc", "NAME", "--history", "7d"], "unexpected argument"),
        (["gc"], "NAME"),
        (["status", "file:db.sqlite3?vfs=seawall"], "name the file by its path"),
        (["status", ":memory:"], "name the file by its path"),
        (["gcc", "NAME"], "gc"),
    ],
)
def test_wrong_arguments(name: Path, arguments: list[str], why: str) -> None:
    before = answer("policy", name)
    done = run(*[str(name) if argument == "NAME" else argument for argument in arguments])
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert why in done.stderr
    assert answer("policy", name) == before and answer("pins", name)["pins"] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_no_database_is_there(command: str, tmp_path: Path) -> None:
    stock = tmp_path / "stock.sqlite3"
    with sqlite3.connect(stock) as plain:
        plain.execute("CREATE TABLE t (x)")
    plain.close()
    (tmp_path / "empty.sqlite3").touch()
    (tmp_path / "text.sqlite3").write_text("no database at all, but a text that is long enough for a header" * 9)
    (tmp_path / "folder.sqlite3").mkdir()
    (tmp_path / "alone.sqlite3").touch()
    (tmp_path / "alone.sqlite3-seawall").mkdir()
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    cases = {
        "none": ("NoDatabase", "does not exist"),
        "no/such/folder/db": ("NoDatabase", "does not exist"),
        "stock": ("NoDatabase", "not a Seawall database yet"),
        "empty": ("NoDatabase", "not a Seawall database yet"),
        "alone": ("NoDatabase", "not a Seawall database yet"),
        "text": ("NotADatabase", "not a SQLite database"),
        "folder": ("NoDatabase", "is no file"),
        "stock.sqlite3/x": ("NoDatabase", "a file is in the place of a folder"),
    }
    for case, (kind, why) in cases.items():
        failed = answer(command, tmp_path / f"{case}.sqlite3", code=10)
        assert failed["error"]["kind"] == kind and why in failed["error"]["text"], (case, failed)
        assert failed["next"].startswith("seawall doctor ")
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
    assert not Path(f"{stock}-seawall").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_what_cannot_be_opened(command: str, name: Path) -> None:
    folder = Path(f"{name}-seawall")
    identity = (folder / "id").read_text()
    (folder / "id").write_text("seawall 2\nof the future\n")
    newer = answer(command, name, code=1)
    assert newer["error"]["kind"] == "CannotOpen" and "use a newer Seawall" in newer["error"]["text"]
    assert "recover" not in newer["error"]["text"]
    (folder / "id").write_text(identity[:20])
    assert answer(command, name, code=13)["error"]["kind"] == "NeedsRecovery"
    (folder / "id").write_text(identity)
    for link in (folder / "commits").iterdir():
        link.unlink()
    lost = answer(command, name, code=13)
    assert "the head is lost" in lost["error"]["text"]
    # NAME without its folder is a copy of some version, and needs its folder back.
    folder.rename(name.parent / "elsewhere")
    alone = answer(command, name, code=1)
    assert "Bring the whole folder back" in alone["error"]["text"]
    name.unlink()
    (name.parent / "elsewhere").rename(folder)
    gone = answer(command, name, code=1)
    assert "NAME was removed" in gone["error"]["text"] or gone["error"]["kind"] == "NeedsRecovery"


@needs_root
def test_a_user_who_may_only_read(name: Path) -> None:
    """It gets what changes nothing, and a clear refusal of the rest."""
    for folder in [name.parent, *list(name.parents)[1:-2]]:
        folder.chmod(folder.stat().st_mode | 0o055)

    def run_here(*arguments: str) -> tuple[int, str]:
        """The command, in this process: the user need not be able to start Python."""
        printed = os.memfd_create("printed")
        os.dup2(printed, 1)
        code = _native.command_line(["seawall", *arguments])
        return code, os.pread(printed, 1 << 20, 0).decode()

    def as_stranger(*arguments: str) -> tuple[int, JSON]:
        done = as_user(STRANGER, lambda: run_here(*arguments, "--json"))
        assert done.error is None, done.error
        code, printed = done.value
        return code, json.loads(printed)

    for command in (["status"], ["gc", "--dry-run"], ["policy"], ["pins"]):
        code, looked = as_stranger(command[0], str(name), *command[1:])
        assert code == 0, looked
    code, verified = as_stranger("verify", str(name))
    assert code == 0 and verified["whole"] and "permission" in verified["not_pinned"].lower(), verified
    for command in (["checkpoint"], ["gc"], ["policy", "--history", "7d"], ["pin", "x"], ["unpin", "x"]):
        code, refused = as_stranger(command[0], str(name), *command[1:])
        assert code == refused["exit"] == 12, refused
        assert refused["error"]["kind"] in ("Permission", "ReadOnly")
    name.chmod(0)
    Path(f"{name}-seawall").chmod(0)
    for opening in COMMANDS:
        code, refused = as_stranger(opening, str(name))
        assert code == 12, refused


def test_a_copied_folder_is_only_looked_at(name: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.sqlite3"
    subprocess.run(["cp", "-a", name, copy], check=True)
    subprocess.run(["cp", "-a", f"{name}-seawall", f"{copy}-seawall"], check=True)
    looked = answer("status", copy)
    assert looked["is_copy"] and looked["version"] == 21
    for command in ("checkpoint", "gc"):
        refused = answer(command, copy, code=1)
        assert "this folder is a copy" in refused["error"]["text"]


def test_a_database_on_dynamodb(tmp_path: Path, dynamodb: str) -> None:
    """It is found by its own `id`; the environment says how the table is reached."""
    name, table = tmp_path / "db.sqlite3", make_table(dynamodb)
    coordinator = f"dynamodb://{table}?endpoint={dynamodb}"
    connection = seawall.connect(name, coordinator=coordinator, isolation_level=None)
    connection.execute("CREATE TABLE t (x)")
    connection.execute("BEGIN IMMEDIATE")
    reached = {"SEAWALL_COORDINATOR": coordinator}

    def asked(command: str, *arguments: str, code: int = 0) -> JSON:
        done = run(command, name, *arguments, "--json", **reached)
        result: JSON = json.loads(done.stdout)
        assert done.returncode == result["exit"] == code, done.stdout + done.stderr
        return result

    looked = asked("status")
    assert looked["coordinator"] == f"dynamodb://{table}?region=us-east-1"
    assert f"process {os.getpid()}" in looked["writer"]
    connection.execute("ROLLBACK")
    connection.close()
    assert asked("checkpoint")["made"]
    assert asked("gc")["names"] == 0, "commits/ is not there"
    assert asked("status")["base_version"] == 1 and asked("status")["writer"] is None
    assert asked("pin", "release")["pin"]["version"] >= 1
    with Proxy(dynamodb) as proxy:
        pass
    reached["SEAWALL_COORDINATOR"] = f"dynamodb://{table}?endpoint={proxy.endpoint}"
    unreachable = asked("status", code=1)
    assert unreachable["error"]["kind"] == "Unreachable"
    for item in client(dynamodb).scan(TableName=table)["Items"]:
        client(dynamodb).delete_item(TableName=table, Key={"pk": item["pk"]})
    reached["SEAWALL_COORDINATOR"] = coordinator
    assert asked("status", code=13)["error"]["kind"] == "NeedsRecovery"


def on_a_terminal(*arguments: str, **environment: str) -> str:
    """What a command prints on a terminal."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "seawall", *arguments]
    env = {key: value for key, value in os.environ.items() if key != "NO_COLOR"} | {"TERM": "xterm"} | environment
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=theirs, env=env) as process:
        os.close(theirs)
        printed = b""
        try:
            while piece := os.read(ours, 4096):
                printed += piece
        except OSError:
            pass  # the terminal is gone with the program
        assert process.wait() == 0, printed
    os.close(ours)
    return printed.decode()


def test_colours_are_for_terminals_and_no_color_is_respected(name: Path) -> None:
    assert "\x1b[32m" in on_a_terminal("status", str(name))
    assert "\x1b[" not in on_a_terminal("status", str(name), NO_COLOR="1")
    assert "\x1b" not in text("status", name)


def test_doctor_looks_at_the_upkeep(name: Path) -> None:
    def findings() -> dict[str, JSON]:
        report = json.loads(run("doctor", name, "--json").stdout)
        return {finding["check"]: finding for finding in report["findings"]}

    fresh = findings()
    assert {fresh[check]["state"] for check in ("garbage collection", "checkpoint", "history")} == {"good"}
    # History that takes more than it may, although all of it is younger than 15 min.
    answer("policy", name, "--history-bytes", "1KiB")
    full = findings()
    assert full["history"]["state"] == "problem"
    assert "--history-bytes" in full["history"]["remedy"]
    sick = answer("status", name, code=1)
    assert "the policy allows 1.0 KiB" in sick["problems"][0]
    answer("policy", name, "--history-bytes", "none")
    # Nothing was collected since long before the newest commit: the note of the last collection is made old.
    answer("gc", name)
    note = Path(f"{name}-seawall") / "collected"
    note.write_text("seawall1 collected state=at-work last=1000000000000:0:0 sum=96be53596672f440\n")
    late = findings()["garbage collection"]
    assert late["state"] == "note" and "seawall gc" in late["text"]
    assert answer("status", name)["collection_is_late"]
    assert "seawall gc" in answer("status", name)["next"]
