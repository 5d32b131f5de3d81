"""Each error is one line, contains no terminal sequences and no password, and is not longer than it must be."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import seawall

HOLDER = """
import sys, seawall
connection = seawall.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""

ASK: list[Callable[[Path, str], Any]] = [
    lambda name, coordinator: seawall.connect(name, coordinator=coordinator),
    lambda name, coordinator: seawall.status(name, coordinator=coordinator),
    lambda name, coordinator: seawall.copy(name, name.with_name("copy"), coordinator=coordinator),
]


def is_safe(text: str) -> bool:
    return text.isprintable() and len(text) < 2500


@pytest.mark.parametrize("ask", ASK, ids=["connect", "status", "copy"])
@pytest.mark.parametrize(
    "coordinator",
    [
        "dynamodb://user:sesame@locks?region=eu-west-1",
        "dynamodb://:sesame@locks",
        "dynamodb://locks?endpoint=http://user:sesame@192.0.2.1",
        "dynamodb://locks?endpoint=http%3A%2F%2Fuser%3Asesame%40192.0.2.1",
        "dynamodb://locks?region=eu-west-1&password=sesame",
        "dynamodb://locks?region=eu-west-1&pass=sesame",
        "redis://user:sesame@host/0",
        "user:sesame@locks",
    ],
)
def test_no_password_is_shown(ask: Callable[[Path, str], Any], coordinator: str, tmp_path: Path) -> None:
    seawall.connect(tmp_path / "db.sqlite3").execute("PRAGMA seawall_version")
    with pytest.raises(seawall.CannotOpen) as raised:
        ask(tmp_path / "db.sqlite3", coordinator)
    assert "sesame" not in str(raised.value)
    assert is_safe(str(raised.value))


@pytest.mark.parametrize("name", ["\x1b]0;title\x07/db", "line\nbreak/db", "\u202egpj.exe/db", "x\x9b2J/db"])
def test_a_name_commands_no_terminal(name: str, tmp_path: Path) -> None:
    with pytest.raises(seawall.SeawallError) as raised:
        seawall.connect(tmp_path / name)
    assert is_safe(str(raised.value))
    with pytest.raises(seawall.SeawallError) as raised:
        seawall.copy(tmp_path / name, tmp_path / "copy")
    assert is_safe(str(raised.value))


def test_a_parameter_of_the_uri_commands_no_terminal(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError) as raised:
        seawall.connect(f"file:{tmp_path}/db?%1b[31m%0a={'x' * 5000}")
    assert is_safe(str(raised.value))


def test_the_status_of_a_strange_name_forges_no_line(tmp_path: Path) -> None:
    name = tmp_path / "db\ntrouble in the background: no \x1b[31m"
    connection = seawall.connect(name)
    (status,) = connection.execute("PRAGMA seawall_status").fetchone()
    assert [line for line in status.splitlines() if line.startswith("trouble")] == []
    assert is_safe(status.replace("\n", ""))
    # As data it stays as it is.
    assert seawall.status(name).name == os.fspath(name)


def test_a_user_who_writes_into_lease_forges_no_line(tmp_path: Path) -> None:
    name = tmp_path / "db.sqlite3"
    seawall.connect(name).execute("PRAGMA seawall_version")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdin is not None and holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
        lease = tmp_path / "db.sqlite3-seawall" / "lease"
        with lease.open("r+b") as file:
            file.write(b"root \x1b[2J\x9b\r\xe2\x80\xae" + b"x" * 100 + b"\n")
        connection = seawall.connect(name, timeout=0.05, isolation_level=None)
        with pytest.raises(seawall.DatabaseBusy) as raised:
            connection.execute("BEGIN IMMEDIATE")
        assert r"root \u{1b}[2J" in str(raised.value)
        assert is_safe(str(raised.value))
    finally:
        holder.stdin.close()
        holder.wait(10)
