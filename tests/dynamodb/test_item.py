"""The operator's view: what docs/dynamodb.md says of the item is what boto3 reads, attribute by attribute."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import seawall

from dynamodb.conftest import Shared
from dynamodb.fixtures import client

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "dynamodb.md"
ROW = re.compile(r"^\| `(\w+)` \| (S|N|B) \| (always|while [^|]*?) \|", re.MULTILINE)
DOCUMENTED = {name: (kind, when) for name, kind, when in ROW.findall(DOCUMENT.read_text())}
ALWAYS = {name for name, (_, when) in DOCUMENTED.items() if when == "always"}


def kinds(item: dict[str, Any]) -> dict[str, str]:
    """Each attribute's type."""
    return {name: next(iter(value)) for name, value in item.items()}


def documented(item: dict[str, Any]) -> bool:
    """Whether all that the item has is documented, with its type, and all that is always there is there."""
    return kinds(item).keys() >= ALWAYS and all(DOCUMENTED[name][0] == kind for name, kind in kinds(item).items())


def home_of(folder: Path) -> int:
    """What docs/format.md says of a database's home."""
    inode = folder.stat().st_ino
    turned = (inode << 32 | inode >> 32) & (2**64 - 1)
    return (folder / "id").stat().st_ino ^ turned


def test_the_item_tells_what_status_tells(shared: Shared) -> None:
    connection = shared.connect()
    connection.execute("CREATE TABLE t (x)")
    time.sleep(0.1)
    item, status = shared.head(), seawall.status(shared.name, coordinator=shared.url)
    assert kinds(item).keys() == ALWAYS
    assert documented(item)
    assert item["pk"]["S"] == f"seawall#{status.database}"
    assert item["table"]["S"] == shared.table
    assert item["format"]["N"] == "1"
    assert int(item["epoch"]["N"]) == status.epoch
    assert int(item["version"]["N"]) == status.version == 1
    assert item["commit"]["S"] == status.commit
    assert re.fullmatch(r"[0-9a-f]{64}", item["digest"]["S"])
    assert int(item["home"]["N"]) == home_of(shared.name.with_name("db.sqlite3-seawall"))
    assert int(item["sweep"]["N"]) == status.sweep
    segment, at, length, lead = item["place"]["S"].split(":")
    file = shared.name.with_name("db.sqlite3-seawall") / "segments" / f"{segment}.seg"
    assert int(at) * 16 + int(length) <= file.stat().st_size and int(lead) > 0


WITHOUT_COORDINATOR = """
import sqlite3, sys, seawall
name, copy = sys.argv[1:]
print(seawall.status(name).coordinator, seawall.counts(name).coordinator > 0)
seawall.copy(name, copy)
print(sqlite3.connect(copy).execute("SELECT x FROM t").fetchall())
"""


def test_the_folder_says_which_coordinator_a_database_has(shared: Shared, tmp_path: Path) -> None:
    connection = shared.connect()
    connection.execute("CREATE TABLE t (x)")
    connection.execute("INSERT INTO t VALUES (1)")
    # This process reaches the table by way of the proxy already.
    assert seawall.status(shared.name).version == 2
    seawall.copy(shared.name, tmp_path / "copy.sqlite3")
    # Another one reaches it as the environment says.
    command: list[str | Path] = [sys.executable, "-c", WITHOUT_COORDINATOR, shared.name, tmp_path / "other.sqlite3"]
    environment = {**os.environ, "AWS_ENDPOINT_URL_DYNAMODB": shared.endpoint}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(rf"dynamodb://{shared.table}\?region=\S+ True\n\[\(1,\)\]\n", done.stdout)
    with pytest.raises(seawall.CannotOpen, match="this database is ordered by dynamodb://"):
        seawall.status(shared.name, coordinator="fs:")


def test_each_change_moves_what_the_document_says(shared: Shared) -> None:
    connection = shared.connect(lease=20)
    connection.execute("CREATE TABLE t (x)")
    time.sleep(0.1)
    free = shared.head()
    connection.execute("BEGIN IMMEDIATE")
    held = shared.head()
    assert documented(held)
    assert {"lease", "lease_label", "lease_until"} == held.keys() - free.keys()
    assert int(held["gen"]["N"]) == int(free["gen"]["N"]) + 1
    assert 15 < int(held["lease_until"]["N"]) / 1000 - time.time() <= 20
    assert "since" in held["lease_label"]["S"]
    connection.execute("INSERT INTO t VALUES (1)")
    connection.execute("COMMIT")
    committed = shared.head()
    assert committed.keys() == free.keys()
    assert int(committed["gen"]["N"]) == int(held["gen"]["N"]) + 1
    assert int(committed["version"]["N"]) == int(free["version"]["N"]) + 1
    assert committed["commit"] != free["commit"]
    # It rides in the head, so that the fold is the same.
    unmoved = {"pk", "table", "format", "epoch", "home", "sweep", "fold", "digest", "place"}
    assert {name for name in free if free[name] == committed[name]} == unmoved


def test_an_adopted_database_has_a_base_and_a_lock_for_old_clients(shared: Shared) -> None:
    import sqlite3

    plain = sqlite3.connect(shared.name)
    plain.execute("CREATE TABLE t (x)")
    plain.close()
    shared.connect().execute("SELECT * FROM t").fetchall()
    head = shared.head()
    assert documented(head)
    name, page_size, pages, log = head["base"]["S"].split(":")
    assert log == "0", "no commit's bytes are before it"
    assert (shared.name.with_name("db.sqlite3-seawall") / "bases" / f"{name}.sqlite3").stat().st_size == int(
        page_size
    ) * int(pages)
    database = head["pk"]["S"].removeprefix("seawall#")
    (lock,) = (item for item in shared.items() if item["pk"]["S"].startswith("database#"))
    assert lock == {"pk": {"S": f"database#{shared.name}"}, "lock_id": {"S": f"seawall:{database}"}}


def test_a_database_that_is_removed_leaves_nothing(shared: Shared) -> None:
    shared.connect().execute("CREATE TABLE t (x)")
    shared.opened.pop().close()
    seawall.remove(shared.name, coordinator=shared.url)
    assert shared.items() == []
    assert list(shared.name.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("format", {"N": "2"}, "newer Seawall"),
        ("table", {"S": "another"}, "restored or copied"),
        ("version", {"S": "1"}, "version is malformed"),
        ("commit", {"S": "../../etc"}, "commit is malformed"),
        ("place", {"S": "../x:1:2:3"}, "place is malformed"),
        ("home", {"N": "1"}, "this folder is a copy"),
        ("version", {"N": "99999999999999999999"}, "version is malformed"),
    ],
)
def test_an_item_that_was_changed_by_hand_is_refused(
    shared: Shared, name: str, value: dict[str, str], text: str
) -> None:
    connection = shared.connect()
    connection.execute("CREATE TABLE t (x)")
    time.sleep(0.1)
    item = shared.head()
    client(shared.endpoint).put_item(TableName=shared.table, Item={**item, name: value})
    for statement in ("SELECT * FROM t", "INSERT INTO t VALUES (1)"):
        with pytest.raises(seawall.CannotOpen, match=text):
            connection.execute(statement)
    client(shared.endpoint).put_item(TableName=shared.table, Item=item)
    connection.execute("INSERT INTO t VALUES (1)")


def test_an_item_that_is_gone_is_a_lost_head(shared: Shared) -> None:
    connection = shared.connect()
    connection.execute("CREATE TABLE t (x)")
    time.sleep(0.1)
    item = shared.head()
    client(shared.endpoint).delete_item(TableName=shared.table, Key={"pk": item["pk"]})
    for statement in ("SELECT * FROM t", "INSERT INTO t VALUES (1)"):
        with pytest.raises(seawall.CannotOpen, match=r"the head is lost.*seawall recover"):
            connection.execute(statement)
    assert all(not item["pk"]["S"].startswith("seawall#") for item in shared.items()), "no process makes a new one"


def test_an_item_that_was_set_back_is_refused(shared: Shared) -> None:
    connection = shared.connect()
    connection.execute("CREATE TABLE t (x)")
    time.sleep(0.1)
    old = shared.head()
    connection.execute("INSERT INTO t VALUES (1)")
    client(shared.endpoint).put_item(TableName=shared.table, Item=old)
    for statement in ("SELECT * FROM t", "INSERT INTO t VALUES (2)"):
        with pytest.raises(seawall.CannotOpen, match="set back"):
            connection.execute(statement)


@pytest.mark.parametrize("name", ["version", "epoch", "base", "commit", "sweep"])
def test_an_item_that_is_not_what_its_commit_says_is_recovered_and_no_file_is_blamed(shared: Shared, name: str) -> None:
    connection = shared.connect()
    connection.execute("CREATE TABLE t (x)")
    seawall.checkpoint(shared.name, coordinator=shared.url)
    connection.execute("INSERT INTO t VALUES (1)")
    shared.opened.pop().close()
    time.sleep(0.1)
    item = shared.head()
    (kind, old), *_ = item[name].items()
    new = {"N": str(int(old) + 1)} if kind == "N" else {"S": old[:-1] + ("1" if old[-1] == "0" else "0")}
    client(shared.endpoint).put_item(TableName=shared.table, Item={**item, name: new})
    code, err = status(shared)
    says = "the head cannot be read" if name == "commit" else "the head is damaged"
    assert code == 13 and says in err and "seawall recover NAME" in err, err
    assert "restore that file" not in err
    client(shared.endpoint).put_item(TableName=shared.table, Item=item)
    assert status(shared)[0] == 0


@pytest.mark.parametrize(("name", "value"), [("format", {"N": "2"}), ("future", {"S": "x"})])
def test_an_item_of_a_newer_seawall_asks_for_that_and_for_nothing_else(
    shared: Shared, name: str, value: dict[str, str]
) -> None:
    shared.connect().execute("CREATE TABLE t (x)")
    shared.opened.pop().close()
    time.sleep(0.1)
    client(shared.endpoint).put_item(TableName=shared.table, Item={**shared.head(), name: value})
    code, err = status(shared)
    assert code == 1 and "use a newer Seawall" in err and "recover" not in err, err


def status(shared: Shared) -> tuple[int, str]:
    """What a new process says of it."""
    command = [sys.executable, "-m", "seawall", "status", str(shared.name), "--coordinator", shared.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr
