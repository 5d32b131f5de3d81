"""`seawall move` and `seawall.move`: a database goes to a table, and comes back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import seawall


def run(*arguments: object) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, "-m", "seawall", *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, json.loads(done.stdout)


@pytest.fixture
def url(table: str, dynamodb: str) -> str:
    return f"dynamodb://{table}?region=us-east-1&endpoint={dynamodb}"


@pytest.fixture
def name(tmp_path: Path) -> Path:
    name = tmp_path / "db.sqlite3"
    connection = seawall.connect(name, isolation_level=None)
    connection.execute("CREATE TABLE votes (choice TEXT)")
    connection.execute("INSERT INTO votes VALUES ('a')")
    connection.close()
    return name


def test_the_command_moves_a_database_to_a_table_and_back(name: Path, table: str, url: str) -> None:
    canonical = f"dynamodb://{table}?region=us-east-1"
    code, would = run("move", name, "--to", url)
    assert (code, would["dry_run"], would["version"], would["to"]) == (0, True, None, canonical)
    assert would["next"].endswith("--yes") and seawall.status(name).coordinator == "fs:"
    code, done = run("move", name, "--to", url, "--yes")
    assert (code, done["from"], done["version"]) == (0, "fs:", would["newest"] + 2)
    code, status = run("status", name, "--coordinator", url)
    assert (code, status["coordinator"], status["version"]) == (0, canonical, done["version"])
    code, done = run("move", name, "--coordinator", url, "--to", "fs:", "--yes")
    assert (code, done["from"], done["to"]) == (0, canonical, "fs:")
    assert run("status", name)[1]["version"] == done["version"]


def test_open_connections_say_where_the_database_is_and_new_ones_work_there(name: Path, table: str, url: str) -> None:
    old = seawall.connect(name, isolation_level=None)
    assert old.execute("SELECT choice FROM votes").fetchall() == [("a",)]
    moved = seawall.move(name, to=url)
    assert (moved.source, moved.version) == ("fs:", moved.newest + 2)
    with pytest.raises(seawall.CannotOpen, match=f"moved: its coordinator is dynamodb://{table}"):
        old.execute("INSERT INTO votes VALUES ('lost')")
    with pytest.raises(seawall.CannotOpen, match=r"Ask for coordinator=dynamodb://.*OPTIONS"):
        seawall.connect(name).execute("SELECT * FROM votes")
    new = seawall.connect(name, coordinator=url, isolation_level=None)
    new.execute("INSERT INTO votes VALUES ('b')")
    assert new.execute("SELECT choice FROM votes").fetchall() == [("a",), ("b",)]
    again = seawall.move(name, to=url, coordinator=url)
    assert (again.source, again.version) == (again.to, again.newest)
    back = seawall.move(name, to="fs:", coordinator=url)
    assert back.source.startswith("dynamodb:") and back.to == "fs:"
    with pytest.raises(seawall.CannotOpen, match="its coordinator is fs: now"):
        new.execute("SELECT * FROM votes").fetchall()
    new.close()
    old.close()
    with seawall.connect(name) as connection:
        assert connection.execute("SELECT choice FROM votes").fetchall() == [("a",), ("b",)]
    connection.close()
