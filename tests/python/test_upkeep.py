"""`seawall.checkpoint`, `collect`, the policy and pins, from Python; and what runs by itself."""

from __future__ import annotations

import dataclasses
import sqlite3
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import seawall

from .conftest import Connect, one

ROWS = 30


@pytest.fixture
def filled(connect: Connect, db: Path) -> Path:
    connection = connect(upkeep=False)
    connection.execute("CREATE TABLE t (x)")
    for _ in range(ROWS):
        connection.execute("INSERT INTO t VALUES (randomblob(3000))")
    return db


def test_a_checkpoint_tells_how_far_it_has_come_and_what_it_did(filled: Path, connect: Connect) -> None:
    before = seawall.status(filled)
    assert before.log_bytes > ROWS * 3000
    assert (before.base_version, before.base_bytes) == (None, 0)
    assert seawall.checkpoint(filled, if_due=True) is None
    seen: list[tuple[int, int]] = []
    made = seawall.checkpoint(filled, progress=lambda done, all_of_it: seen.append((done, all_of_it)))
    assert made == seawall.Checkpoint(before.version, before.page_count, before.page_count * 4096, None)
    assert seen and seen[-1] == (made.bytes, made.bytes)
    after = seawall.status(filled)
    assert (after.base_version, after.base_bytes) == (before.version, made.bytes)
    assert after.log_bytes < before.log_bytes
    assert seawall.checkpoint(filled) is None
    assert one(connect(), "SELECT count(*) FROM t") == ROWS
    with sqlite3.connect(filled) as plain:
        assert one(plain, "SELECT count(*) FROM t") == ROWS
    plain.close()


def test_an_exception_ends_a_checkpoint_which_then_leaves_nothing(filled: Path) -> None:
    folder = Path(f"{filled}-seawall")

    def interrupt(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        seawall.checkpoint(filled, progress=interrupt)
    assert list((folder / "bases").iterdir()) == []
    assert seawall.pins(filled) == ()
    assert seawall.checkpoint(filled) is not None


def test_garbage_is_collected_and_the_answer_says_what_stays(filled: Path) -> None:
    (Path(f"{filled}-seawall") / "notes.txt").write_text("mine")
    seawall.checkpoint(filled)
    would = seawall.collect(filled, dry_run=True)
    assert not (Path(f"{filled}-seawall") / "collected").exists()
    done = seawall.collect(filled)
    assert (done.deleted, would.deleted) == (seawall.Files(0, 0), seawall.Files(0, 0)), "all of it is inside history"
    assert done.floor == seawall.Floor(0, 0) == seawall.status(filled).floor
    assert done.kept["newest"].files > 0 and done.history_bytes > ROWS * 3000
    assert (done.unknown, done.not_deleted, done.is_cut) == (("notes.txt",), (), False)


def test_the_policy(filled: Path) -> None:
    assert seawall.policy(filled) == seawall.Policy()
    week = dataclasses.replace(seawall.Policy(), history=timedelta(days=7), history_bytes=1 << 30)
    seawall.set_policy(filled, week)
    assert seawall.policy(filled) == week
    for wrong in ({"history": timedelta(minutes=1)}, {"checkpoint_at": 1}):
        with pytest.raises(seawall.CannotOpen, match="The policy was not changed"):
            seawall.set_policy(filled, dataclasses.replace(week, **wrong))
    with pytest.raises(ValueError, match="negative"):
        seawall.set_policy(filled, dataclasses.replace(week, history=timedelta(-1)))
    assert seawall.policy(filled) == week


def test_pins(filled: Path) -> None:
    version = seawall.status(filled).version
    made = seawall.pin(filled, "before-the-release")
    assert (made.name, made.version, made.by) == ("before-the-release", version, "person")
    assert made.until - made.time > 6 * 86_400_000
    assert seawall.pins(filled) == (made,)
    older = seawall.pin(filled, "before-the-release", at=version - 1, length=timedelta(days=1))
    assert (older.version, seawall.pins(filled)) == (version - 1, (older,))
    assert seawall.pin(filled, "now", at=datetime.now()).version == version
    with pytest.raises(sqlite3.OperationalError, match="does not exist yet"):
        seawall.pin(filled, "tomorrow", at=version + 1)
    assert seawall.unpin(filled, "now")
    assert seawall.unpin(filled, "before-the-release") and not seawall.unpin(filled, "before-the-release")
    for name in ("Release", "../x", "", "x" * 41):
        with pytest.raises(ValueError, match="no pin's name"):
            seawall.pin(filled, name)
    with pytest.raises(ValueError, match="shorter than a second"):
        seawall.pin(filled, "x", length=timedelta(0))


def test_errors_keep_their_types(tmp_path: Path, filled: Path) -> None:
    plain = tmp_path / "plain.sqlite3"
    sqlite3.connect(plain).execute("CREATE TABLE t (x)")
    for name in (tmp_path / "none.sqlite3", plain):
        for ask in (seawall.checkpoint, seawall.collect, seawall.policy, seawall.pins):
            with pytest.raises(seawall.NoDatabase) as refused:
                ask(name)
            assert isinstance(refused.value, seawall.CannotOpen)
    assert not Path(f"{plain}-seawall").exists(), "nothing was adopted"
    (Path(f"{filled}-seawall") / "pin.bad").write_text("nonsense")
    with pytest.raises(seawall.DatabaseDamaged, match="Nothing was deleted"):
        seawall.collect(filled)


def test_upkeep_is_an_option_of_each_way_to_open_a_database(db: Path, connect: Connect) -> None:
    assert "upkeep=" not in seawall.uri(db)
    assert seawall.uri(db, upkeep=False).endswith("upkeep=0")
    assert seawall.uri(db, upkeep=True).endswith("upkeep=1")
    connect(upkeep=False).execute("CREATE TABLE t (x)")
    with pytest.raises(sqlite3.OperationalError, match="upkeep=perhaps in the URI: 1 or 0 is expected"):
        connect(Path(f"file:{db}?upkeep=perhaps"))


@pytest.mark.parametrize("upkeep", [True, False])
def test_a_process_that_lives_long_collects_by_itself(db: Path, connect: Connect, upkeep: bool) -> None:
    connection = connect(upkeep=upkeep)
    connection.execute("CREATE TABLE t (x)")
    collected = Path(f"{db}-seawall") / "collected"
    # It looks ten seconds after a commit.
    for _ in range(28):
        if collected.exists():
            break
        connection.execute("INSERT INTO t VALUES (1)")
        time.sleep(0.5)
    assert collected.exists() == upkeep
    assert seawall.status(db).trouble is None
