"""`seawall.verify` and `seawall verify`: a whole database, a damaged one, and whose pages are damaged."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import seawall

PAGE = 4096


def make(name: Path) -> None:
    """A table, its index, and a row that takes pages of its own; made by a process that is gone."""
    program = """
import sys, seawall
connection = seawall.connect(sys.argv[1], isolation_level=None, upkeep=False)
connection.execute("PRAGMA page_size=4096")
connection.execute("CREATE TABLE visit (id INTEGER PRIMARY KEY, note TEXT)")
connection.execute("CREATE INDEX by_note ON visit (note)")
connection.execute("CREATE TABLE large (content BLOB)")
connection.execute("BEGIN")
for n in range(2000):
    connection.execute("INSERT INTO visit VALUES (?, ?)", (n, f"note {n} " + "x" * 60))
connection.execute("INSERT INTO large VALUES (zeroblob(60000))")
connection.execute("COMMIT")
connection.close()
seawall.checkpoint(sys.argv[1])
"""
    subprocess.run([sys.executable, "-c", program, name], check=True)


def damage(name: Path, page: int) -> None:
    base = next((name.parent / f"{name.name}-seawall" / "bases").glob("*.sqlite3"))
    with base.open("r+b") as file:
        file.seek((page - 1) * PAGE + 100)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 16]))


def command(*arguments: str | Path) -> tuple[int, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "seawall", "verify", *arguments, "--json"], capture_output=True, text=True, check=False
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_a_whole_database(tmp_path: Path) -> None:
    name = tmp_path / "db.sqlite3"
    make(name)
    seen: list[tuple[int, int]] = []
    found = seawall.verify(name, progress=lambda done, of: seen.append((done, of)))
    assert found.is_whole and found.findings == () and found.version == 5 and seen
    deep = seawall.verify(name, deep=True)
    # Some commits rode in the head, and a later commit frame has taken them over.
    assert deep.is_whole and deep.oldest == 1 and 1 < deep.commits <= 5
    assert seawall.verify(name, at=2).version == 2
    assert seawall.verify(name, at=datetime.now().astimezone() + timedelta(hours=1)).version == 5
    parts = [seawall.verify(name, deep=True, part=(n, 3)) for n in (1, 2, 3)]
    assert sum(part.commits for part in parts) == deep.commits
    with pytest.raises(ValueError, match="a part is"):
        seawall.verify(name, part=(4, 3))
    code, answer = command(name, "--deep")
    assert (code, answer["whole"], answer["findings"], answer["commits"]) == (0, True, [], deep.commits)
    code, answer = command(name, "--at", "2")
    assert (code, answer["version"]) == (0, 2)
    code, answer = command(name, "--at", "99")
    assert code == 1 and "does not exist yet" in answer["error"]["text"]
    assert command(tmp_path / "none.sqlite3")[0] == 10


def test_damage_names_the_table(tmp_path: Path) -> None:
    name = tmp_path / "db.sqlite3"
    make(name)
    copy = tmp_path / "copy.sqlite3"
    seawall.copy(name, copy)
    # Whose page is which, by SQLite's dbstat where it has that; else by what the schema says of roots.
    connection = seawall.connect(name)
    roots = dict(connection.execute("SELECT name, rootpage FROM sqlite_schema"))
    has_dbstat = connection.execute("SELECT sqlite_compileoption_used('ENABLE_DBSTAT_VTAB')").fetchone()[0]
    named = "SELECT name, pageno FROM dbstat" if has_dbstat else "SELECT name, rootpage FROM sqlite_schema"
    owners = {page: owner for owner, page in connection.execute(named)}
    connection.close()
    for page in sorted(set(owners) - {1}):
        damage(name, page)
        found = seawall.verify(name)
        assert len(found.findings) == 1
        finding = found.findings[0]
        assert (finding.damage, finding.pages, finding.at) == ("base", ((page, page),), (page - 1) * PAGE)
        # What lies below a damaged root cannot be read: but the root itself is named by the schema.
        assert finding.tables == (owners[page],), (page, finding)
        damage(name, page)
    assert seawall.verify(name, deep=True).is_whole
    damage(name, roots["by_note"])
    code, answer = command(name)
    assert code == 1 and answer["whole"] is False
    assert answer["findings"][0]["tables"] == ["by_note"]
    assert answer["next"].startswith("seawall doctor ")
