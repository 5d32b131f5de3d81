"""The commands that recover, adopt, move, leave, restore and renew NAME, as a person and a script run them."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
import seawall

from .commands import answered, run

GOOD, PROBLEM, USAGE, NO_DATABASE, NEEDS_RECOVERY = 0, 1, 2, 10, 13


@pytest.fixture
def name(tmp_path: Path) -> Path:
    name = tmp_path / "db.sqlite3"
    with seawall.connect(name) as connection:
        connection.execute("CREATE TABLE votes (choice TEXT)")
        connection.execute("INSERT INTO votes VALUES ('a')")
    connection.close()
    return name


def test_recover_says_first_what_it_would_keep_and_then_does_it(name: Path) -> None:
    code, would = answered("recover", name)
    assert (code, would["needed"], would["version"]) == (GOOD, False, None)
    shutil.rmtree(f"{name}-seawall/commits")
    code, out, err = run("status", name)
    assert code == NEEDS_RECOVERY and "seawall recover NAME" in err, out + err
    code, would = answered("recover", name)
    assert (code, would["dry_run"], would["needed"], would["head"], would["version"]) == (
        *(NEEDS_RECOVERY, True, True),
        *(None, None),
    )
    assert set(would) == {
        *("command", "name", "exit", "next", "dry_run", "database", "head", "proven", "candidates", "kept"),
        *("never_learned", "rebuilt", "lost", "lost_left_out", "version", "needed"),
    }
    code, out, _ = run("recover", name)
    assert code == NEEDS_RECOVERY and "would keep" in out and "was changed" in out and f"recover {name} --yes" in out, (
        out
    )
    code, done = answered("recover", name, "--yes")
    assert (code, done["kept"], done["version"]) == (GOOD, would["kept"], would["kept"]["version"] + 1)
    assert run("status", name)[0] == GOOD
    code, _, err = run("recover", name, "--commit", "xyz")
    assert code == USAGE and "32 digits" in err, err


def test_detach_asks_and_gives_the_file_back(name: Path) -> None:
    code, _, err = run("detach", name)
    assert code == USAGE and "add --yes" in err and Path(f"{name}-seawall").exists(), err
    code, done = answered("detach", name, "--yes")
    assert code == GOOD and done["version"] >= 1, done
    with sqlite3.connect(name) as stock:
        assert stock.execute("SELECT choice FROM votes").fetchall() == [("a",)]
    stock.close()
    code, _, err = run("detach", name, "--yes")
    assert code != GOOD and "is not a Seawall database" in err, err


def test_adopt_makes_databases_of_copies(name: Path, tmp_path: Path) -> None:
    code, _, err = run("adopt", name)
    assert code == PROBLEM and "adopt NAME --new-id" in err and "Nothing was changed" in err, err
    assert run("checkpoint", name)[0] == GOOD
    alone = tmp_path / "alone.sqlite3"
    shutil.copyfile(name, alone)
    code, _, err = run("status", alone)
    assert code != GOOD and "seawall adopt NAME" in err, err
    code, done = answered("adopt", alone)
    assert (code, done["moved_to"], done["coordinator"]) == (GOOD, None, "fs:"), done
    assert run("status", alone)[0] == GOOD
    copied = tmp_path / "copied.sqlite3"
    shutil.copy2(name, copied)
    shutil.copytree(f"{name}-seawall", f"{copied}-seawall", symlinks=True)
    code, done = answered("adopt", copied, "--new-id")
    assert code == GOOD and (Path(done["moved_to"]) / "segments").is_dir(), done
    with seawall.connect(copied) as connection:
        assert connection.execute("SELECT choice FROM votes").fetchall() == [("a",)]
    connection.close()
    plain = tmp_path / "plain.sqlite3"
    stock = sqlite3.connect(plain)
    stock.execute("CREATE TABLE t (x)")
    code, out, err = run("adopt", plain, "--new-id")
    assert code == GOOD, out + err
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        stock.execute("INSERT INTO t VALUES (1)")
    stock.close()


def test_move_checks_first_and_says_what_is_wrong(name: Path, tmp_path: Path) -> None:
    code, done = answered("move", name, "--to", "fs:")
    fields = {"command", "name", "exit", "next", "dry_run", "from", "to", "newest", "version"}
    assert (code, set(done), done["from"], done["to"]) == (GOOD, fields, "fs:", "fs:")
    code, out, _ = run("move", name, "--to", "fs:", "--yes")
    assert code == GOOD and "is there" in out, out
    for wrong in ["nonsense", "fs:/x", "dynamodb://"]:
        code, _, err = run("move", name, "--to", wrong, "--yes")
        assert code == PROBLEM and "Nothing was touched" in err, err
    assert run("move", name)[0] == USAGE
    code, _, err = run("move", tmp_path / "none.sqlite3", "--to", "fs:")
    assert code == NO_DATABASE, err
    assert run("status", name)[0] == GOOD


def test_restore_and_snapshot(name: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.sqlite3"
    seawall.copy(name, backup)
    code, done = answered("restore", name, "--from", backup)
    assert (code, done["version"]) == (GOOD, done["before"] + 1)
    code, _, err = run("restore", name, "--from", tmp_path / "nothing")
    assert code != GOOD and "Nothing was changed" in err, err
    name.unlink()
    code, done = answered("snapshot", name, "--refresh")
    assert (code, done["moved_to"]) == (GOOD, None) and name.exists()
    name.write_text("mine")
    code, done = answered("snapshot", name, "--refresh")
    assert code == GOOD and Path(done["moved_to"]).read_text() == "mine"
    assert run("snapshot", name)[0] == USAGE
    for command in ["recover", "detach --yes", "restore --from x", "snapshot --refresh"]:
        word, *rest = command.split()
        code, out, err = run(word, tmp_path / "none.sqlite3", *rest)
        assert code not in (GOOD, USAGE), command + out + err
