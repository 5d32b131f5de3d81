"""Two processes, step by step: a frozen writer and its lease; readers and writers that do not wait for each other."""

import os
import sqlite3
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import seawall

from fire.processes import Hand

LEASE = 1.0


@pytest.fixture
def name(tmp_path: Path, coordinator: str) -> Path:
    path = tmp_path / "db.sqlite3"
    with seawall.connect(path, coordinator=coordinator, lease=LEASE) as connection:
        connection.execute("CREATE TABLE entry (id INTEGER PRIMARY KEY, text TEXT)")
        connection.executemany("INSERT INTO entry (text) VALUES (?)", [("x" * 100,)] * 5000)
    connection.close()
    return path


@pytest.fixture
def hand(name: Path) -> Iterator[Hand]:
    hand = Hand(name, LEASE)
    yield hand
    hand.end()


def connect(name: Path) -> seawall.Connection:
    return seawall.connect(
        name, coordinator=os.environ["SEAWALL_COORDINATOR"], lease=LEASE, timeout=20, isolation_level=None
    )


def test_a_writer_frozen_while_others_commit_reports_that_nothing_was_written(name: Path, hand: Hand) -> None:
    assert hand.do("BEGIN IMMEDIATE") == []
    assert hand.do("UPDATE entry SET text = 'frozen' WHERE id = 1") == []
    hand.freeze()
    other = connect(name)
    began = time.monotonic()
    other.execute("UPDATE entry SET text = 'other' WHERE id = 1")
    assert time.monotonic() - began >= LEASE, "the lease was respected while it lasted"
    hand.thaw()
    answer = hand.do("COMMIT")
    assert (answer["error"], answer["code"]) == ("Superseded", "SQLITE_BUSY_SNAPSHOT")
    assert "Nothing was written" in answer["text"]
    assert other.execute("SELECT text FROM entry WHERE id = 1").fetchone() == ("other",)
    # It knows the truth at once, and its next attempt goes through.
    assert hand.do("SELECT text FROM entry WHERE id = 1") == [["other"]]
    assert hand.do("UPDATE entry SET text = 'again' WHERE id = 1") == []
    assert other.execute("SELECT text FROM entry WHERE id = 1").fetchone() == ("again",)


def test_a_writer_frozen_while_no_other_commits_still_commits(name: Path, hand: Hand) -> None:
    assert hand.do("BEGIN IMMEDIATE") == []
    assert hand.do("UPDATE entry SET text = 'patient' WHERE id = 1") == []
    hand.freeze()
    time.sleep(2 * LEASE)
    hand.thaw()
    assert hand.do("COMMIT") == []
    assert connect(name).execute("SELECT text FROM entry WHERE id = 1").fetchone() == ("patient",)


def count(name: Path) -> seawall.Counts:
    return seawall.counts(name, coordinator=os.environ["SEAWALL_COORDINATOR"])


COMMITS = 100
READING = 5.0
COUNTING = 2
"""Metadata calls, because asking for the counts looks at NAME and `id`."""


def look(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """What a reader sees: two sums over the whole table, and the version that it read."""
    rows, total = connection.execute("SELECT count(*), sum(id * length(text)) FROM entry").fetchone()
    (version,) = connection.execute("PRAGMA seawall_version").fetchone()
    return int(version), rows, total


def look_for(connection: sqlite3.Connection, seconds: float) -> tuple[set[tuple[int, int, int]], list[float]]:
    """All that a reader sees in so many seconds, and how long each look took."""
    views, times = set(), []
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        began = time.monotonic()
        views.add(look(connection))
        times.append(time.monotonic() - began)
        time.sleep(0.02)
    return views, times


def write(hand: Hand, word: str) -> tuple[dict[str, int], list[float]]:
    """A hundred commits of another process: what they cost, and how long each took."""
    before, times = hand.do("counts"), []
    for number in range(COMMITS):
        began = time.monotonic()
        assert hand.do(f"UPDATE entry SET text = '{word} {number}' WHERE id = {number * 37 + 1}") == []
        times.append(time.monotonic() - began)
    after = hand.do("counts")
    return {what: after[what] - before[what] for what in ("coordinator", "reads", "appends", "metadata")}, times


# The first fold of a process makes its segment, with NAME's rights.
SEGMENT = 2


def within_budget(cost: dict[str, int], coordinator: str) -> bool:
    """A commit is one append, at most a lock, a look and a publication, and the check after it (the design's budget).

    On `fs:` it is one append only if it is a fold, which about every fiftieth is here.

    On DynamoDB it is less, but for the few times that a kept lease, just gone back, is asked for twice.
    """
    most = {"coordinator": 3 * COMMITS, "reads": 0, "appends": COMMITS, "metadata": COMMITS + COUNTING + SEGMENT}
    least = COMMITS if coordinator != "fs:" else 1
    return cost["appends"] >= least and all(cost[what] <= most[what] for what in most)


def test_readers_and_writers_do_not_wait_for_each_other(
    name: Path, coordinator: str, hand: Hand, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hand.do("UPDATE entry SET text = 'first' WHERE id = 1") == []
    writing_alone, writing_times_alone = write(hand, "alone")
    reader = connect(name)
    reader.execute("BEGIN")
    look(reader)
    start = count(name)
    _, reading_times_alone = look_for(reader, READING / 5)
    reading_alone = count(name) - start
    reader.execute("COMMIT")

    reader.execute("BEGIN")
    view = look(reader)
    start = count(name)
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(write, hand, "beside")
        views, reading_times = look_for(reader, READING)
        writing, writing_times = written.result()
    views.add(look(reader))
    reading = count(name) - start
    reader.execute("COMMIT")
    later = look(reader)

    with capsys.disabled():
        for what, alone, beside in (
            ("a commit", writing_times_alone, writing_times),
            ("a look", reading_times_alone, reading_times),
        ):
            print(
                f"\n{what}: median {statistics.median(alone) * 1e3:.2f} ms alone,"
                f" {statistics.median(beside) * 1e3:.2f} ms side by side",
                end="",
            )
    assert views == {view}, "the reader's view does not move"
    assert later[0] == view[0] + COMMITS and later[2] != view[2], "and the next one has all hundred"
    # A process that waits asks again and again. Neither makes one operation more than it does alone.
    assert within_budget(writing_alone, coordinator) and within_budget(writing, coordinator), (writing_alone, writing)
    nothing = (0, 0, COUNTING)
    assert (reading_alone.coordinator, reading_alone.reads, reading_alone.metadata) == nothing, reading_alone
    assert (reading.coordinator, reading.reads, reading.metadata) == nothing, reading
