"""What the command line must bear: hostile names and files, readers that go away, interrupts, refusals."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import seawall
from dynamodb import faults
from dynamodb.fixtures import client
from dynamodb.local import CREDENTIALS
from dynamodb.proxy import Exchange, Message, Proxy
from tree import below

SEAWALL = str(Path(sys.executable).with_name("seawall"))
REGION = CREDENTIALS["AWS_REGION"]
Findings = dict[str, Any]


def run(*arguments: str | bytes | Path, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run the program; one that waits for anything fails."""
    environment = {**os.environ, **more.pop("env", {})}
    more = {"capture_output": True, "text": True, "check": False, "timeout": 20, "env": environment, **more}
    return subprocess.run([SEAWALL, *arguments], **more)


def look(name: str | bytes | Path, *arguments: str, **more: Any) -> Findings:
    """What `doctor` finds, by check."""
    done = run("doctor", "--json", *arguments, "--", name, **more)
    assert done.stderr == ""
    return {finding["check"]: finding for finding in json.loads(done.stdout)["findings"]}


def problems(found: Findings) -> set[str]:
    return {check for check, finding in found.items() if finding["state"] == "problem"}


def contents(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """All files below a folder, with their times."""
    files = [path for path in below(folder) if not path.is_symlink() and path.is_file()]
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


@pytest.fixture
def name(tmp_path: Path) -> Path:
    """A Seawall database."""
    path = tmp_path / "db.sqlite3"
    connection = seawall.connect(path, isolation_level=None)
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    return path


# Names and files.


def test_a_pipe_is_not_waited_for(name: Path) -> None:
    pipe = name.with_name("pipe")
    os.mkfifo(pipe)
    assert problems(look(pipe)) == {"NAME", "files"}
    id_ = name.with_name("db.sqlite3-seawall") / "id"
    id_.unlink()
    os.mkfifo(id_)
    assert problems(look(name)) == {"NAME", "files"}


@pytest.mark.parametrize("name", [b"caf\xe9", "line\nbreak", "\x1b[31mred", "-rf", "--json", "a b'\"$(touch x)"])
def test_any_bytes_may_be_a_name(name: str | bytes, tmp_path: Path) -> None:
    assert problems(look(name, cwd=tmp_path)) == set()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "check"), [("x" * 250, "NAME"), ("x" * 300, "NAME"), ("/dev/zero", "NAME")])
def test_names_that_can_be_none(name: str, check: str, tmp_path: Path) -> None:
    assert check in problems(look(name, cwd=tmp_path))


@pytest.mark.parametrize("name", [".", "..", "/"])
def test_folders(name: str, tmp_path: Path) -> None:
    assert "NAME" in problems(look(name, cwd=tmp_path))


@pytest.mark.parametrize("name", ["file:db.sqlite3?vfs=seawall", ":memory:"])
def test_a_uri_is_no_path(name: str, tmp_path: Path) -> None:
    found = look(name, cwd=tmp_path)
    assert problems(found) == {"NAME"}
    assert "by its path" in found["NAME"]["remedy"]


def test_a_terminal_is_not_commanded(tmp_path: Path) -> None:
    done = run("doctor", tmp_path / "\x1b[31mno" / "line\nbreak")
    assert done.returncode == 1
    assert all(letter.isprintable() for letter in done.stdout.replace("\n", ""))
    assert r"\u{1b}[31mno" in done.stdout


def test_a_link_leads_to_the_database(name: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    link = elsewhere / "link.sqlite3"
    link.symlink_to(name)
    found = look(link)
    assert problems(found) == set()
    assert seawall.status(link).database in found["NAME"]["text"]


def test_nothing_is_changed_by_looking(name: Path, tmp_path: Path) -> None:
    plain = sqlite3.connect(tmp_path / "plain.sqlite3")
    plain.execute("CREATE TABLE t (x)")
    plain.close()
    # This process notes its newest commit a second after it.
    end = time.monotonic() + 20
    while not Path(f"{name}-seawall/high").exists() and time.monotonic() < end:
        time.sleep(0.05)
    before = contents(tmp_path)
    for path in (name, tmp_path / "plain.sqlite3", tmp_path / "none.sqlite3"):
        assert problems(look(path)) == set()
    for command in (["status"], ["gc", "--dry-run"], ["policy"], ["pins"], ["checkpoint", "--if-due"]):
        assert run(command[0], name, *command[1:]).returncode == 0
    assert contents(tmp_path) == before


def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    command = [SEAWALL, "doctor", str(tmp_path / "db.sqlite3")]
    if os.geteuid() == 0:
        # Root may write everywhere, until that is taken away.
        if shutil.which("setpriv") is None:
            pytest.skip("SKIPPED: root may write everywhere, and there is no setpriv (util-linux) to take that away")
        command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"{tmp_path} cannot be written" in done.stdout
    assert "the right to write" in done.stdout


# Readers that go away, and interrupts.


@pytest.mark.parametrize("arguments", [["doctor", "db.sqlite3"], ["doctor", "db.sqlite3", "--json"], ["--help"]])
def test_a_reader_that_went_away(arguments: list[str], tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = run(*arguments, cwd=tmp_path, capture_output=False, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_ctrl_c_ends_it(proxy: Proxy, url: str, tmp_path: Path) -> None:
    with proxy.fault(faults.lost, times=None) as lost:
        command = [SEAWALL, "doctor", str(tmp_path / "db.sqlite3"), "--coordinator", url]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while not lost.hits:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=1) == -signal.SIGINT


# Tables and their servers.


@pytest.fixture
def proxy(dynamodb: str) -> Iterator[Proxy]:
    with Proxy(dynamodb) as proxy:
        yield proxy


@pytest.fixture
def url(table: str, proxy: Proxy) -> str:
    return f"dynamodb://{table}?region={REGION}&endpoint={proxy.endpoint}"


def test_only_what_cannot_change_anything_is_asked(proxy: Proxy, url: str, table: str, tmp_path: Path) -> None:
    look(tmp_path / "db.sqlite3", "--coordinator", url)
    asked = [exchange for exchange in proxy.log() if exchange.operation in ("PutItem", "UpdateItem", "DeleteItem")]
    assert {exchange.operation for exchange in asked} == {"PutItem", "UpdateItem", "DeleteItem"}
    assert all(exchange.json["ConditionExpression"] and exchange.status == 400 for exchange in asked)
    assert client(proxy.endpoint).scan(TableName=table)["Items"] == []


def test_the_environment_says_how_the_database_s_table_is_reached(url: str, tmp_path: Path) -> None:
    name = tmp_path / "db.sqlite3"
    seawall.connect(name, coordinator=url).execute("PRAGMA seawall_version")
    found = look(name, env={"SEAWALL_COORDINATOR": url})
    assert problems(found) == set()
    assert found["head"]["state"] == "good"


def test_signatures_that_a_wrong_clock_made(proxy: Proxy, url: str, tmp_path: Path) -> None:
    async def refused(exchange: Exchange) -> None:
        text = "Signature expired: 20260101T000000Z is now earlier than 20260101T001000Z"
        answer = faults.refusal(f"{faults.CORAL}#InvalidSignatureException", text)
        lines = [line for line in answer.head.split(b"\r\n") if not line.startswith(b"Date:")]
        lines.insert(1, b"Date: Tue, 01 Jan 2030 00:00:00 GMT")
        await exchange.answer(Message(b"\r\n".join(lines), answer.body))

    with proxy.fault(refused, times=None):
        found = look(tmp_path / "db.sqlite3", "--coordinator", url)
    assert problems(found) == {"credentials", "clock"}
    assert "set this machine's clock" in found["clock"]["remedy"]


def test_no_credentials(proxy: Proxy, url: str, tmp_path: Path) -> None:
    nothing = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "HOME": str(tmp_path)}
    found = look(tmp_path / "db.sqlite3", "--coordinator", url, env=nothing)
    assert problems(found) == {"credentials"}
    assert "AWS_ACCESS_KEY_ID" in found["credentials"]["remedy"]
    assert "\n" not in found["credentials"]["text"]
    assert not proxy.requests()


def test_no_server_answers(proxy: Proxy, url: str, tmp_path: Path) -> None:
    with proxy.fault(faults.lost, times=None):
        found = look(tmp_path / "db.sqlite3", "--coordinator", url)
    assert problems(found) == {"endpoint"}


def test_a_table_whose_recovery_is_not_switched_on_is_reported(proxy: Proxy, dynamodb: str) -> None:
    table = f"seawall-{time.time_ns()}"
    url = f"dynamodb://{table}?region={REGION}&endpoint={proxy.endpoint}"
    with proxy.fault(faults.access_denied, "UpdateContinuousBackups", times=None):
        done = run("init", "--create-table", "--coordinator", url)
    assert done.returncode == 1
    assert "was made" in done.stderr
    assert "dynamodb:UpdateContinuousBackups" in done.stderr
    assert client(dynamodb).describe_table(TableName=table)["Table"]["TableStatus"] == "ACTIVE"


def test_recovery_that_is_not_to_be_had_yet_is_asked_for_again(proxy: Proxy) -> None:
    async def not_yet(exchange: Exchange) -> None:
        text = "Backups are being enabled for the table. Please retry later"
        await exchange.answer(faults.refusal(f"{faults.DYNAMODB}#ContinuousBackupsUnavailableException", text))

    async def done_now(exchange: Exchange) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: 2\r\n\r\n"
        await exchange.answer(Message(head, b"{}"))

    url = f"dynamodb://seawall-{time.time_ns()}?region={REGION}&endpoint={proxy.endpoint}"
    update = "UpdateContinuousBackups"
    with proxy.fault(not_yet, update, times=2), proxy.fault(done_now, update):
        done = run("init", "--create-table", "--coordinator", url)
    assert done.returncode == 0, done.stderr
    assert "any second of the last 35 days" in done.stderr
    assert proxy.requests()[update] == 3


def test_a_table_that_is_there_is_only_looked_at(proxy: Proxy, url: str) -> None:
    assert run("init", "--create-table", "--coordinator", url).returncode == 0
    assert set(proxy.requests()) == {"DescribeTable"}


def test_what_a_server_says_is_one_short_line(proxy: Proxy, url: str, tmp_path: Path) -> None:
    async def rude(exchange: Exchange) -> None:
        await exchange.answer(
            faults.refusal(f"{faults.DYNAMODB}#ValidationException", "\x1b[31m\nok  \u202e" + "x" * 100_000)
        )

    with proxy.fault(rude, times=None):
        done = run("doctor", tmp_path / "db.sqlite3", "--coordinator", url)
        with pytest.raises(seawall.SeawallError) as raised:
            seawall.connect(tmp_path / "db.sqlite3", coordinator=url).execute("SELECT * FROM sqlite_schema")
    assert done.returncode == 1
    for text in (*done.stdout.splitlines(), str(raised.value)):
        assert text.isprintable() and len(text) < 1500, text
    assert r"\u{1b}[31m\nok" in done.stdout


def test_a_lease_that_another_program_wrote(url: str, dynamodb: str, table: str, tmp_path: Path) -> None:
    name = tmp_path / "db.sqlite3"
    seawall.connect(name, coordinator=url).execute("PRAGMA seawall_version")
    key = {"pk": {"S": f"seawall#{seawall.status(name, coordinator=url).database}"}}
    client(dynamodb).update_item(
        TableName=table,
        Key=key,
        UpdateExpression="SET #lease = :token, lease_label = :label",
        ExpressionAttributeNames={"#lease": "lease"},
        ExpressionAttributeValues={":token": {"S": "x"}, ":label": {"S": "\x1b]0;root\x07\nok" + "x" * 390_000}},
    )
    head = look(name, env={"SEAWALL_COORDINATOR": url})["head"]
    assert head["state"] == "note"
    assert "does not say when it ends" in head["text"] and r"\u{1b}]0;root\u{7}\nokxxx" in head["text"]
    assert len(head["text"]) < 1000
    # A writer that has watched it for a whole lease takes it over.
    connection = seawall.connect(name, coordinator=url, lease=0.5, timeout=10, isolation_level=None)
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    assert look(name, env={"SEAWALL_COORDINATOR": url})["head"]["state"] == "good"


@pytest.mark.parametrize(
    "url",
    ["dynamodb://user:sesame@locks", "dynamodb://locks?endpoint=http://user:sesame@x", "redis://user:sesame@host"],
)
@pytest.mark.parametrize("command", [["doctor", "db.sqlite3"], ["doctor", "--json", "db.sqlite3"], ["init"]])
def test_no_password_is_shown(command: list[str], url: str, tmp_path: Path) -> None:
    done = run(*command, "--coordinator", url, cwd=tmp_path)
    assert done.returncode == 1
    assert "sesame" not in done.stdout + done.stderr


def test_an_endpoint_that_is_not_encrypted_is_noted(tmp_path: Path) -> None:
    environment = {
        **CREDENTIALS,
        "SEAWALL_COORDINATOR": "dynamodb://locks?region=eu-west-1&endpoint=http://192.0.2.1:9",
    }
    found = look(tmp_path / "db.sqlite3", env=environment)
    assert found["encryption"]["state"] == "note"
    assert "192.0.2.1" in found["encryption"]["text"] and "session token" in found["encryption"]["text"]


# manage.py


@pytest.mark.parametrize(
    ("alias", "why"), [("stock", "not Seawall's"), ("memory", "in memory"), ("wrong", "lease"), ("none", "none")]
)
def test_manage_py_says_what_is_not_for_it(alias: str, why: str, tmp_path: Path) -> None:
    databases = {
        "default": {"ENGINE": "seawall.django", "NAME": "db.sqlite3"},
        "stock": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
        "memory": {"ENGINE": "seawall.django", "NAME": ":memory:"},
        "wrong": {"ENGINE": "seawall.django", "NAME": "db.sqlite3", "OPTIONS": {"lease": "long"}},
    }
    (tmp_path / "hostile_settings.py").write_text(f"DATABASES = {databases}\nINSTALLED_APPS = ['seawall.django']\n")
    command = [sys.executable, "-m", "django", "seawall", "doctor", "--database", alias]
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "hostile_settings", "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=tmp_path)
    assert done.returncode != 0
    assert why in done.stderr
    assert "Traceback" not in done.stderr
