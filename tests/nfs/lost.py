"""One publication whose request or reply is lost, step by step: the writer's answer must be true.

    python3 -m nfs.lost RESULTS      in the guest, beside the server

A large commit on the `fs` coordinator is a WRITE and then a SYMLINK. With a slow network the moment between the two is
long, so that exactly the SYMLINK's reply, or the SYMLINK itself, can be made to vanish.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import seawall
from fire.processes import Hand

from nfs import guest
from nfs.lab import ONE_WAY_MS

SLOW_MS = 1000
"""One way. A WRITE's reply takes this long, and then the SYMLINK."""
LEASE = 1.0
REST = 4.0
"""Seconds. A commit is noted in its segment after one second. After that the next WRITE is the next commit's."""
SLEPT_THROUGH = 4
"""Commits of the other client."""
WRITER, OTHER = 1, 2
ACKNOWLEDGED: list[Any] = []


@dataclass
class Case:
    """What is lost, and what happens before the network is whole again."""

    name: str
    lost: str
    then: Callable[[], None]
    other_commits: bool
    refused: bool = False


def nothing() -> None:
    pass


def reconnect() -> None:
    guest.net(WRITER, "rst")


def forget() -> None:
    guest.net(WRITER, "rst")
    guest.forget(WRITER)


def mend() -> None:
    guest.net(WRITER, "delay", ONE_WAY_MS)
    guest.net(WRITER, "heal")


CASES = [
    Case("reply lost; the client waits", "cutreply", nothing, False),
    Case("reply lost; the client reconnects", "cutreply", reconnect, False),
    Case("reply lost; another commits; the client reconnects", "cutreply", reconnect, True),
    Case("reply lost; the server forgets the client", "cutreply", forget, False),
    Case("reply lost; another commits; the server forgets the client", "cutreply", forget, True),
    Case("reply lost; the server restarts", "cutreply", guest.restart, False),
    Case("request lost; no other client commits", "cut", nothing, False),
    Case("request lost; another commits", "cut", nothing, True, refused=True),
    Case("request lost; another commits; the server forgets the client", "cut", forget, True, refused=True),
]
COLLECTIONS = [
    ("its number is garbage-collected", False),
    ("its number is garbage-collected, and the one before it comes back", True),
]


def size_of_segments(name: Path) -> int:
    return sum(segment.stat().st_size for segment in (guest.commits(name).parent / "segments").iterdir())


def lose_symlink(name: Path, writer: Hand, lost: str, mine: int) -> None:
    """Let the writer commit version `mine`, up to its SYMLINK; exactly that, or its reply, is lost."""
    guest.net(WRITER, "delay", SLOW_MS)
    size = size_of_segments(name)
    writer.ask("COMMIT")
    guest.wait_for("the WRITE reaches the server", lambda: size_of_segments(name) > size, 10)
    # Once its bytes are durable its reply is on its way, and arrives even if the network is cut now. The SYMLINK is
    # sent only after that.
    time.sleep(SLOW_MS / 1000 / 2)
    guest.drop(WRITER, lost, SLOW_MS)
    if lost == "cutreply":
        guest.wait_for("the SYMLINK reaches the server", lambda: guest.newest(name) == mine, 20)
    else:
        time.sleep(2.5 * SLOW_MS / 1000)
        assert guest.newest(name) < mine, "the SYMLINK was lost"
    guest.net(WRITER, lost)


def run(name: Path, writer: Hand, other: Hand, case: Case) -> dict[str, Any]:
    time.sleep(REST)
    assert writer.do("BEGIN IMMEDIATE") == []
    assert writer.do(f"INSERT INTO entry (text) VALUES ('{case.name}')") == []
    # Too much for the record of the SYMLINK itself.
    assert writer.do("INSERT INTO filler VALUES (randomblob(20000))") == []
    mine = guest.newest(name) + 1
    symlinks = guest.calls(guest.keeper(WRITER))["SYMLINK"]
    lose_symlink(name, writer, case.lost, mine)
    if case.other_commits:
        assert other.do("INSERT INTO entry (text) VALUES ('other')") == ACKNOWLEDGED
    case.then()
    assert not writer.has_answered(), "the writer has no answer yet"
    mend()
    healed = time.monotonic()
    answer = writer.answer()
    seconds = time.monotonic() - healed
    sent = guest.calls(guest.keeper(WRITER))["SYMLINK"] - symlinks
    return conclude(case, answer, seconds, sent, writer, other)


def wake_after_collection(name: Path, writer: Hand, other: Hand, what: str, one_comes_back: bool) -> dict[str, Any]:
    """A writer is frozen while others commit and the number that it is about to name is garbage-collected.

    Therefore it succeeds in making that name, and must find out that this committed nothing, even if the name before
    it is there again.
    """
    case = Case(f"the writer sleeps; others commit; {what}", "nothing", nothing, True, refused=True)
    time.sleep(REST)
    assert writer.do("BEGIN IMMEDIATE") == []
    assert writer.do(f"INSERT INTO entry (text) VALUES ('{case.name}')") == []
    mine = guest.newest(name) + 1
    symlinks = guest.calls(guest.keeper(WRITER))["SYMLINK"]
    writer.freeze()
    for _ in range(SLEPT_THROUGH):
        assert other.do("INSERT INTO entry (text) VALUES ('other')") == ACKNOWLEDGED
    before = guest.commits(name) / str(mine - 1)
    record = before.readlink()
    collect(name)
    if one_comes_back:
        before.symlink_to(record)
    writer.thaw()
    woken = time.monotonic()
    answer = writer.do("COMMIT")
    seconds = time.monotonic() - woken
    assert (guest.commits(name) / str(mine)).is_symlink(), "it named the number that had been garbage-collected"
    sent = guest.calls(guest.keeper(WRITER))["SYMLINK"] - symlinks
    return conclude(case, answer, seconds, sent, writer, other)


def collect(name: Path) -> None:
    """Remove names as garbage collection will: the lowest first, and never the two newest."""
    newest = guest.newest(name)
    for version in sorted(int(path.name) for path in guest.commits(name).iterdir()):
        if version < newest - 1:
            (guest.commits(name) / str(version)).unlink()


def conclude(case: Case, answer: Any, seconds: float, sent: int, writer: Hand, other: Hand) -> dict[str, Any]:
    check(case, answer, writer, other)
    outcome = f"{answer['error']}: nothing was written" if case.refused else "committed"
    return {"case": case.name, "answer": outcome, "after": seconds, "symlinks": sent}


def check(case: Case, answer: Any, writer: Hand, other: Hand) -> None:
    if case.refused:
        assert answer["error"] == seawall.Superseded.__name__, answer
        assert "Nothing was written" in answer["text"]
    else:
        assert answer == ACKNOWLEDGED, answer
    there = [[0 if case.refused else 1]]
    for hand in (writer, other):
        assert hand.do(f"SELECT count(*) FROM entry WHERE text = '{case.name}'") == there
    assert writer.do(f"INSERT INTO entry (text) VALUES ('after {case.name}')") == ACKNOWLEDGED
    assert other.do("SELECT text FROM entry ORDER BY id DESC LIMIT 1") == [[f"after {case.name}"]]


def main(results: str) -> None:
    name = guest.folder("lost") / "db.sqlite3"
    writer, other = (Hand(name, LEASE, guest.within(client)) for client in (WRITER, OTHER))
    assert writer.do("CREATE TABLE entry (id INTEGER PRIMARY KEY, text TEXT)") == ACKNOWLEDGED
    assert writer.do("CREATE TABLE filler (bytes BLOB)") == ACKNOWLEDGED
    assert other.do("SELECT count(*) FROM entry") == [[0]]
    rows = []
    try:
        for case in CASES:
            rows.append(run(name, writer, other, case))
            print(f"  {rows[-1]}", flush=True)
    finally:
        mend()
    for what, one_comes_back in COLLECTIONS:
        rows.append(wake_after_collection(name, writer, other, what, one_comes_back))
        print(f"  {rows[-1]}", flush=True)
    others = sum(case.other_commits for case in CASES) + SLEPT_THROUGH * len(COLLECTIONS)
    written = len(rows) + others + sum(not case.refused for case in CASES)
    assert other.do("SELECT count(*) FROM entry") == [[written]]
    assert other.do("PRAGMA integrity_check") == [["ok"]]
    writer.end()
    other.end()
    Path(results).write_text(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main(*sys.argv[1:])
