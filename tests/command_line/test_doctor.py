"""`seawall doctor` and `init`: the tests cause each problem for real. The report names it and its remedy."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import seawall
from dynamodb import faults
from dynamodb.fixtures import client, make_table
from dynamodb.proxy import Proxy

SEAWALL = Path(sys.executable).with_name("seawall")
Findings = dict[str, Any]
Doctor = Callable[..., Findings]


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the program, as the package installs it."""
    command = [str(SEAWALL), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)


@pytest.fixture
def name(tmp_path: Path) -> Path:
    return tmp_path / "db.sqlite3"


@pytest.fixture
def doctor(name: Path) -> Doctor:
    """What it finds, by check; its exit code must fit, and each problem have a remedy."""

    def doctor(*arguments: str, path: Path = name, **environment: str) -> Findings:
        done = run("doctor", path, "--json", *arguments, **environment)
        report = json.loads(done.stdout)
        wrong = [finding for finding in report["findings"] if finding["state"] == "problem"]
        assert report["problems"] == len(wrong)
        assert done.returncode == (1 if wrong else 0), done.stderr
        assert all(finding["remedy"] for finding in wrong)
        assert all(finding.keys() <= {"check", "state", "text", "remedy"} for finding in report["findings"])
        return {finding["check"]: finding for finding in report["findings"]}

    return doctor


def problems(found: Findings) -> set[str]:
    return {check for check, finding in found.items() if finding["state"] == "problem"}


def test_all_is_well_on_a_local_disk(doctor: Doctor, name: Path) -> None:
    found = doctor()
    assert problems(found) == set()
    assert {"put-if-absent", "symlinks", "locks", "durable writes", "inode numbers", "space"} <= found.keys()
    assert found["coordinator"]["text"].startswith("fs:")
    assert list(name.parent.iterdir()) == [], "it leaves nothing behind"


def test_what_lies_at_name(doctor: Doctor, name: Path, tmp_path: Path) -> None:
    assert "nothing is there yet" in doctor()["NAME"]["text"]
    plain = sqlite3.connect(name)
    plain.execute("CREATE TABLE t (x)")
    plain.close()
    assert "adopts it" in doctor()["NAME"]["text"]
    seawall.connect(name).execute("SELECT * FROM t").fetchall()
    assert "Seawall's database" in doctor()["NAME"]["text"]
    copied = tmp_path / "copied.sqlite3"
    copied.write_bytes(name.read_bytes())
    assert "its folder NAME-seawall is not there" in doctor(path=copied)["NAME"]["text"]
    name.write_bytes(b"overwritten" * 100)
    assert problems(doctor()) == {"NAME"}


def test_a_file_that_a_detaching_has_put_at_name(doctor: Doctor, name: Path) -> None:
    program = "import sys, seawall\nseawall.connect(sys.argv[1], isolation_level=None).execute('CREATE TABLE t (x)')"
    subprocess.run([sys.executable, "-c", program, name], check=True)
    folder = Path(f"{name}-seawall")
    # The detaching is cut short before it renames `id`: a folder with a file in it is in the way.
    (folder / "id.detached" / "x").mkdir(parents=True)
    assert run("detach", name, "--yes").returncode != 0
    with sqlite3.connect(name) as plain:
        plain.execute("INSERT INTO t VALUES (1)")
    plain.close()
    found = doctor()
    assert problems(found) == {"NAME"}, found
    assert "being detached" in found["NAME"]["text"] and "seawall detach NAME --yes" in found["NAME"]["text"]


def test_what_cannot_be_opened_is_no_good(doctor: Doctor, name: Path) -> None:
    folder = Path(f"{name}-seawall")
    # In a process of its own, which notes nothing in the folder later.
    program = "import sys, seawall\nseawall.connect(sys.argv[1], isolation_level=None).execute('CREATE TABLE t (x)')"
    subprocess.run([sys.executable, "-c", program, name], check=True)
    assert "version 1" in doctor()["opening"]["text"]
    whole = name.parent / "whole"
    shutil.copytree(folder, whole, symlinks=True)
    (segment,) = (folder / "segments").iterdir()
    segment.rename(name.parent / "segment")
    found = doctor()
    assert problems(found) == {"opening"} and "cannot be read" in found["opening"]["text"]
    (name.parent / "segment").rename(segment)
    for version in (folder / "commits").iterdir():
        version.unlink()
    found = doctor()
    assert problems(found) == {"opening"} and "the head is lost" in found["opening"]["text"]
    (folder / "id").rename(name.parent / "id")
    found = doctor()
    assert problems(found) == {"NAME"} and "id is gone" in found["NAME"]["text"]
    (name.parent / "id").rename(folder / "id.removed")
    found = doctor()
    assert problems(found) == {"NAME"} and "cut short" in found["NAME"]["text"]
    # It stays somewhere, so that the copy below gets other inode numbers.
    folder.rename(name.parent / "gone")
    folder.mkdir()
    found = doctor()
    assert problems(found) == {"NAME"} and "is empty" in found["NAME"]["text"]
    folder.rmdir()
    shutil.copytree(whole, folder, symlinks=True)
    found = doctor()
    assert problems(found) == {"opening"} and "this folder is a copy" in found["opening"]["text"]


@pytest.mark.skipif(os.geteuid() != 0, reason="SKIPPED: needs root")
def test_a_part_of_the_folder_that_is_another_mount(doctor: Doctor, name: Path) -> None:
    seawall.connect(name, isolation_level=None).execute("CREATE TABLE t (x)")
    bases = f"{name}-seawall/bases"
    if subprocess.run(["mount", "--bind", bases, bases], check=False).returncode:
        pytest.skip("SKIPPED: needs the right to mount")
    try:
        found = doctor()
    finally:
        subprocess.run(["umount", bases], check=True)
    # Opening it is refused as well.
    assert problems(found) == {"files", "opening"} and "another mount" in found["files"]["text"]
    assert "mount the folder" in found["files"]["remedy"] and "chown" not in found["files"]["remedy"]


def test_folders_that_cannot_be_used(doctor: Doctor, tmp_path: Path) -> None:
    assert "make the folder" in doctor(path=tmp_path / "no" / "such" / "db.sqlite3")["folder"]["remedy"]
    (tmp_path / "file").touch()
    assert "folder" in problems(doctor(path=tmp_path / "file" / "db.sqlite3"))
    assert problems(doctor(path=tmp_path)) == {"NAME", "files"}, "a folder is no database"
    assert "folder" in problems(doctor(path=Path("/proc/db.sqlite3")))


def test_usage(name: Path) -> None:
    assert run("doctor").returncode == 2
    assert run("doctr", name).returncode == 2
    assert run("--help").returncode == 0
    wrong = run("doctor", name, "--coordinator", "redis://x")
    assert wrong.returncode == 1
    assert "names no coordinator" in wrong.stdout


@pytest.mark.parametrize("setting", ["SEAWALL_COORDINATOR", "SQLITE_LOCK_DYNAMODB_TABLE"])
def test_the_environment_names_the_coordinator(doctor: Doctor, dynamodb: str, setting: str) -> None:
    table = make_table(dynamodb)
    value = table if setting.startswith("SQLITE") else f"dynamodb://{table}"
    found = doctor(**{setting: value, "AWS_ENDPOINT_URL_DYNAMODB": dynamodb})
    assert problems(found) == set()
    assert found["coordinator"]["text"] == f"dynamodb://{table}?region=us-east-1"


@pytest.fixture
def proxy(dynamodb: str) -> Proxy:
    return Proxy(dynamodb)


@pytest.fixture
def look(doctor: Doctor, dynamodb: str, proxy: Proxy) -> Doctor:
    """Look at a table, by way of the proxy."""
    table = make_table(dynamodb)

    def look(table: str = table) -> Findings:
        return doctor("--coordinator", f"dynamodb://{table}?endpoint={proxy.endpoint}")

    return look


def test_all_is_well_on_dynamodb(look: Doctor, proxy: Proxy) -> None:
    with proxy:
        found = look()
    assert problems(found) == set()
    expected = {"table", "key", "time to live", "permissions", "latency", "clock", "point-in-time recovery"}
    assert expected <= found.keys()


def test_the_table_is_missing(look: Doctor, proxy: Proxy) -> None:
    with proxy:
        found = look("no-such-table")
    assert problems(found) == {"table"}
    assert "region" in found["table"]["remedy"] and "--create-table" in found["table"]["remedy"]


def test_the_key_is_another(look: Doctor, proxy: Proxy, dynamodb: str) -> None:
    client(dynamodb).create_table(
        TableName="another-key",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "N"}],
        BillingMode="PAY_PER_REQUEST",
    )
    with proxy:
        found = look("another-key")
    assert "key" in problems(found)
    assert "HASH id (N)" in found["key"]["text"]


@pytest.mark.parametrize(("attribute", "is_wrong"), [("lease_until", True), ("expires_at", False)])
def test_a_ttl(look: Doctor, proxy: Proxy, dynamodb: str, attribute: str, is_wrong: bool) -> None:
    table = make_table(dynamodb)
    client(dynamodb).update_time_to_live(
        TableName=table, TimeToLiveSpecification={"Enabled": True, "AttributeName": attribute}
    )
    with proxy:
        found = look(table)
    assert ("time to live" in problems(found)) == is_wrong
    assert attribute in found["time to live"]["text"]


@pytest.mark.parametrize("action", ["GetItem", "PutItem", "UpdateItem", "DeleteItem"])
def test_a_permission_is_missing(look: Doctor, proxy: Proxy, action: str) -> None:
    with proxy, proxy.fault(faults.access_denied, action, times=None):
        found = look()
    assert problems(found) == {"permissions"}
    assert f"dynamodb:{action}" in found["permissions"]["remedy"]


def test_what_it_may_not_look_at_is_no_problem(look: Doctor, proxy: Proxy) -> None:
    with (
        proxy,
        proxy.fault(faults.access_denied, "DescribeTable", times=None),
        proxy.fault(faults.access_denied, "DescribeTimeToLive", times=None),
    ):
        found = look()
    assert problems(found) == set()
    assert {found["table"]["state"], found["time to live"]["state"]} == {"unknown"}
    assert found["permissions"]["state"] == "good"


@pytest.mark.parametrize(("seconds", "state"), [(600, "problem"), (-600, "problem"), (30, "note")])
def test_the_clock_is_off(look: Doctor, proxy: Proxy, seconds: float, state: str) -> None:
    with proxy, proxy.fault(faults.clock_off(seconds), times=None):
        found = look()
    assert found["clock"]["state"] == state
    assert ("ahead" if seconds > 0 else "behind") in found["clock"]["text"]


def test_it_is_far_away(look: Doctor, proxy: Proxy) -> None:
    with proxy:
        proxy.latency = 0.05
        found = look()
    assert problems(found) == {"latency"}
    assert "region" in found["latency"]["remedy"]


def test_no_server_answers(look: Doctor, proxy: Proxy) -> None:
    with proxy:
        pass
    found = look()
    assert problems(found) == {"endpoint"}
    assert "gateway endpoint" in found["endpoint"]["remedy"]
    assert "clock" not in found, "nothing is said that was not seen"


def test_no_region_is_known(doctor: Doctor) -> None:
    nothing = {"AWS_REGION": "", "AWS_DEFAULT_REGION": "", "AWS_CONFIG_FILE": "/dev/null"}
    found = doctor("--coordinator", "dynamodb://locks", AWS_EC2_METADATA_DISABLED="true", **nothing)
    assert problems(found) == {"region"}


def test_the_credentials_ran_out(look: Doctor, proxy: Proxy) -> None:
    with proxy, proxy.fault(faults.token_expired, times=None):
        found = look()
    assert problems(found) == {"credentials"}


def test_the_head(look: Doctor, doctor: Doctor, proxy: Proxy, name: Path, dynamodb: str) -> None:
    table = make_table(dynamodb)
    with proxy:
        connection = seawall.connect(name, coordinator=f"dynamodb://{table}?endpoint={dynamodb}", isolation_level=None)
        connection.execute("CREATE TABLE t (x)")
        connection.execute("BEGIN IMMEDIATE")
        found = look(table)
        assert problems(found) == set()
        assert "version 1" in found["head"]["text"] and "is writing" in found["head"]["text"]
        connection.execute("ROLLBACK")
        connection.close()
        # Another region is another table, and another history.
        elsewhere = f"dynamodb://{table}?region=eu-west-1&endpoint={dynamodb}"
        assert "coordinator" in problems(doctor("--coordinator", elsewhere))
        for item in client(dynamodb).scan(TableName=table)["Items"]:
            client(dynamodb).delete_item(TableName=table, Key={"pk": item["pk"]})
        assert problems(look(table)) == {"head"}


def test_init_makes_the_table_once(dynamodb: str, doctor: Doctor) -> None:
    url = f"dynamodb://made-by-init?endpoint={dynamodb}"
    made = run("init", "--coordinator", url, "--create-table", "--json", "--account", "123456789012")
    assert made.returncode == 0, made.stderr
    (statement,) = json.loads(made.stdout)["policy"]["Statement"]
    assert statement["Resource"] == "arn:aws:dynamodb:us-east-1:123456789012:table/made-by-init"
    allowed = {action.removeprefix("dynamodb:") for action in statement["Action"]}
    assert allowed == {"GetItem", "PutItem", "UpdateItem", "DeleteItem"}
    assert statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"] == ["seawall#*", "database#*"]
    described = client(dynamodb).describe_table(TableName="made-by-init")["Table"]
    assert described["KeySchema"] == [{"AttributeName": "pk", "KeyType": "HASH"}]
    assert described["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    again = run("init", "--coordinator", url, "--create-table")
    assert again.returncode == 0 and "was not touched" in again.stderr
    assert problems(doctor("--coordinator", url)) == set()


def test_init_that_may_not(dynamodb: str) -> None:
    with Proxy(dynamodb) as proxy, proxy.fault(faults.access_denied, "CreateTable", times=None):
        url = f"dynamodb://not-allowed?endpoint={proxy.endpoint}"
        refused = run("init", "--coordinator", url, "--create-table")
    assert refused.returncode == 1
    assert "dynamodb:CreateTable" in refused.stderr and "Nothing was made" in refused.stderr


def test_manage_py_looks_at_a_configured_database(name: Path, tmp_path: Path) -> None:
    (tmp_path / "site_settings.py").write_text(
        f"DATABASES = {{'default': {{'ENGINE': 'seawall.django', 'NAME': {str(name)!r}}}}}\n"
        "INSTALLED_APPS = ['seawall.django']\nSECRET_KEY = 'x'\n"
    )
    command = [sys.executable, "-m", "django", "seawall", "doctor", "--json"]
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "site_settings", "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["name"] == str(name)
