"""Ways out, from Python: recovery, detach, restore, a NAME that is written again, adoption of copies."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import seawall


@pytest.fixture
def name(tmp_path: Path) -> Path:
    """A database with three rows."""
    name = tmp_path / "db.sqlite3"
    with seawall.connect(name) as connection:
        connection.execute("CREATE TABLE votes (choice TEXT)")
    for choice in ["a", "b", "c"]:
        with seawall.connect(name) as connection:
            connection.execute("INSERT INTO votes VALUES (?)", (choice,))
        connection.close()
    return name


def votes(connection: sqlite3.Connection) -> list[str]:
    return [choice for (choice,) in connection.execute("SELECT choice FROM votes ORDER BY rowid")]


def read(name: Path) -> list[str]:
    connection = seawall.connect(name)
    try:
        return votes(connection)
    finally:
        connection.close()


def test_a_lost_head_is_recovered_and_nothing_is_changed_before_that_is_asked_for(name: Path) -> None:
    version = seawall.status(name).version
    time.sleep(1.5)  # the newest commits ride in the head, and are copied to a segment within a second
    shutil.rmtree(f"{name}-seawall/commits")
    with pytest.raises(seawall.NeedsRecovery, match="seawall recover NAME"):
        seawall.connect(name).execute("SELECT * FROM votes")
    would = seawall.recover(name)
    assert (would.head, would.kept.version, would.version) == (None, version, None)
    assert not Path(f"{name}-seawall/commits").exists()
    done = seawall.recover(name, dry_run=False)
    assert (done.kept, done.version, done.lost) == (would.kept, version + 1, ())
    assert read(name) == ["a", "b", "c"]
    with pytest.raises(ValueError, match="32 digits"):
        seawall.recover(name, commit="x")


def test_names_of_versions_that_are_files_are_read_by_a_recovery(name: Path) -> None:
    version = seawall.status(name).version
    commits = Path(f"{name}-seawall/commits")
    for link in commits.iterdir():
        text = link.readlink()
        link.unlink()
        link.write_text(f"{text}\n")
    with pytest.raises(seawall.NeedsRecovery, match=f"commits/{version}: it is no symbolic link.*seawall recover NAME"):
        seawall.connect(name).execute("SELECT * FROM votes")
    assert seawall.recover(name, dry_run=False).kept.version == version
    assert read(name) == ["a", "b", "c"]


def test_a_name_without_a_head_is_no_damage_once_a_recovery_has_taken_it_away(name: Path) -> None:
    link = Path(f"{name}-seawall/commits/2")
    text = str(link.readlink())
    link.unlink()
    link.symlink_to(text[: len(text) // 2])
    seawall.recover(name, dry_run=False)
    assert list(Path(f"{name}-seawall").glob("records.*")), "what the others said is kept"
    assert seawall.verify(name, deep=True).findings == ()
    assert read(name) == ["a", "b", "c"]


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o444, 0o660, 0o755])
def test_the_mode_of_name_outlives_a_checkpoint(name: Path, mode: int) -> None:
    before = name.stat().st_ino
    name.chmod(mode)
    assert seawall.checkpoint(name) is not None
    seawall.refresh(name)
    assert name.stat().st_ino != before, "another file is NAME now"
    assert name.stat().st_mode & 0o7777 == mode
    assert read(name) == ["a", "b", "c"]


def test_a_name_that_leaves_no_room_for_its_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(seawall.CannotOpen, match="Choose a shorter name"):
        seawall.connect(tmp_path / ("x" * 255)).execute("SELECT 1 FROM sqlite_master")


def test_a_detached_database_is_stock_sqlites_again(name: Path) -> None:
    version = seawall.status(name).version
    assert seawall.detach(name) == version
    assert not Path(f"{name}-seawall").exists()
    with sqlite3.connect(name) as stock:
        assert votes(stock) == ["a", "b", "c"]
        assert stock.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        stock.execute("INSERT INTO votes VALUES ('d')")
    stock.close()
    assert read(name) == ["a", "b", "c", "d"], "and it is adopted again"


def test_a_backup_becomes_the_newest_version(name: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.sqlite3"
    seawall.copy(name, backup)
    with seawall.connect(name) as connection:
        connection.execute("DROP TABLE votes")
    connection.close()
    reader = seawall.connect(name)
    assert reader.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)
    before = seawall.status(name).version
    assert seawall.restore(name, backup) == before + 1
    assert votes(reader) == ["a", "b", "c"], "an open connection goes on"
    reader.close()
    # What people do: copy the backup over NAME.
    shutil.copyfile(backup, name)
    with pytest.raises(seawall.CannotOpen, match="seawall restore NAME --from FILE"):
        read(name)
    assert seawall.restore(name, name) == before + 2
    assert read(name) == ["a", "b", "c"]
    with pytest.raises(seawall.CannotOpen, match="is not a SQLite database"):
        seawall.restore(name, Path(__file__))
    # NAME is a copy as of a checkpoint, and not a backup.
    with pytest.raises(seawall.CannotOpen, match=r"as of a checkpoint.*seawall\.copy"):
        seawall.restore(name, name)


def test_a_name_that_was_removed_is_written_again(name: Path) -> None:
    name.unlink()
    with pytest.raises(seawall.CannotOpen, match="seawall snapshot NAME --refresh"):
        read(name)
    assert seawall.refresh(name) is None
    assert read(name) == ["a", "b", "c"]
    name.write_text("mine")
    moved = seawall.refresh(name)
    assert moved is not None and Path(moved).read_text() == "mine"
    with sqlite3.connect(f"file:{name}?mode=ro", uri=True) as stock:
        assert votes(stock) == ["a", "b", "c"], "stock SQLite reads the newest version there"
    stock.close()


def test_copies_become_databases_of_their_own(name: Path, tmp_path: Path) -> None:
    seawall.checkpoint(name)
    alone = tmp_path / "alone" / "db.sqlite3"
    alone.parent.mkdir()
    shutil.copyfile(name, alone)
    with pytest.raises(seawall.CannotOpen, match="seawall adopt NAME"):
        read(alone)
    assert seawall.adopt(alone) is None
    assert read(alone) == ["a", "b", "c"]
    copied = tmp_path / "copied"
    copied.mkdir()
    shutil.copy2(name, copied / "db.sqlite3")
    shutil.copytree(f"{name}-seawall", copied / "db.sqlite3-seawall", symlinks=True)
    with pytest.raises(seawall.CannotOpen, match="adopt NAME --new-id"):
        read(copied / "db.sqlite3")
    aside = seawall.adopt(copied / "db.sqlite3", new_id=True)
    assert aside is not None and (Path(aside) / "segments").is_dir()
    with seawall.connect(copied / "db.sqlite3") as connection:
        connection.execute("INSERT INTO votes VALUES ('copy')")
    connection.close()
    assert read(copied / "db.sqlite3") == ["a", "b", "c", "copy"]
    assert read(name) == ["a", "b", "c"]


def test_a_head_that_was_set_back_is_noticed_although_its_last_writer_lived_for_a_moment(db: Path) -> None:
    def writes(rows: int) -> None:
        program = (
            f"import seawall; c = seawall.connect({str(db)!r}, isolation_level=None); "
            "c.execute('CREATE TABLE IF NOT EXISTS t (x)'); "
            f"[c.execute('INSERT INTO t VALUES (?)', (n,)) for n in range({rows})]"
        )
        subprocess.run([sys.executable, "-c", program], check=True)

    folder = Path(f"{db}-seawall")
    writes(5)
    shutil.copytree(folder / "commits", folder.with_name("before"), symlinks=True)
    writes(3)
    shutil.rmtree(folder / "commits")
    folder.with_name("before").rename(folder / "commits")
    with pytest.raises(sqlite3.OperationalError, match="the head is older than the files"):
        seawall.connect(db).execute("SELECT 1 FROM t")
    seawall.recover(db, dry_run=False)
    assert seawall.connect(db).execute("SELECT count(*) FROM t").fetchone() == (8,)


def in_another_process(name: Path, statement: str) -> None:
    """A process that makes one statement, and ends hard."""
    program = f"""
import os, seawall, sys
seawall.connect(sys.argv[1], isolation_level=None, upkeep=False).execute({statement!r})
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", program, str(name)], check=True)


def test_a_connection_that_stays_open_over_a_recovery_does_not_go_on_with_what_that_left_out(tmp_path: Path) -> None:
    name = tmp_path / "db.sqlite3"
    connection = seawall.connect(name, isolation_level=None, upkeep=False)
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
    connection.execute("CREATE INDEX i ON t (v)")
    connection.execute("INSERT INTO t VALUES (1, 'x')")
    time.sleep(1.5)
    in_another_process(name, "INSERT INTO t SELECT value, value % 3 FROM json_each('[2, 3, 4, 5, 6, 7, 8, 9]')")
    assert connection.execute("SELECT count(*) FROM t NOT INDEXED").fetchone() == (9,)
    # Its commit rode in a name that is lost now; the recovery's has its number.
    commits = Path(f"{name}-seawall/commits")
    max(commits.iterdir(), key=lambda path: int(path.name)).unlink()
    seawall.recover(name, dry_run=False)
    other = seawall.connect(name, isolation_level=None, upkeep=False)
    rows = other.execute("SELECT count(*) FROM t").fetchone()
    assert rows == (1,)
    assert connection.execute("SELECT count(*) FROM t NOT INDEXED").fetchone() == rows
    connection.execute("INSERT INTO t VALUES (5000, 'w')")
    assert other.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert other.execute("SELECT count(*) FROM t").fetchone() == (2,)


def test_what_a_connection_commits_after_a_restore_is_in_a_segment_once_it_is_closed(tmp_path: Path) -> None:
    name = tmp_path / "db.sqlite3"
    connection = seawall.connect(name, isolation_level=None)
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    connection.execute("INSERT INTO t VALUES (1)")
    seawall.copy(name, tmp_path / "plain")
    seawall.restore(name, tmp_path / "plain")
    for n in range(2, 6):
        connection.execute(f"INSERT INTO t VALUES ({n})")
    connection.close()
    time.sleep(1.5)
    shutil.rmtree(f"{name}-seawall/commits")
    seawall.recover(name, dry_run=False)
    with seawall.connect(name) as again:
        assert again.execute("SELECT count(*) FROM t").fetchone() == (5,)
    again.close()
