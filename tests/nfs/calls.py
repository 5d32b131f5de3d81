"""The design's budget on a real NFS client, in the calls that its kernel sends; beside stock SQLite's.

python3 -m nfs.calls RESULTS      in the guest, beside the server
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nfs import guest

TIMES = 5
REST = 1.3
"""Seconds after which the background has finished what the last operation left to it."""
HERE, THERE = 1, 2
QUESTIONS = 200
READ = "SELECT text, votes FROM choice WHERE question = 7"
WRITE = "INSERT INTO choice (question, text, votes) VALUES (7, 'new', 0)"
VOTE = [
    "BEGIN IMMEDIATE",
    "SELECT votes FROM choice WHERE id = 70",
    "UPDATE choice SET votes = votes + 1 WHERE id = 70",
    "COMMIT",
]
PAGES = 2000
"""8 MiB: each row has a page of its own."""
FILL = f"""
    WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {PAGES})
    INSERT INTO %s SELECT randomblob(3000) FROM n
"""
ELSEWHERE = "UPDATE choice SET votes = votes + 1 WHERE id = 71"
COLD_KERNEL = Path("/proc/sys/vm/drop_caches")


@dataclass
class Row:
    """An operation: its budget (`C`, `R`, `W`, `M` as in the design), and how it is done once."""

    title: str
    budget: str
    limit: int
    """Calls, at most: what the budget comes to on this kernel, as the note says."""
    do: Callable[[Setting], dict[str, Any]]
    note: str = ""
    """Why the kernel sends more, or less, than the budget has."""
    engine: str = "seawall"


class Setting:
    """One database, in use on two clients. It was a plain file with the table `old`; the table `new` came later."""

    def __init__(self, engine: str, folder: Path) -> None:
        self.engine = engine
        self.name = folder / f"{engine.replace(' ', '-')}.sqlite3"
        self.here, self.there = guest.Worker(HERE, "teller"), guest.Worker(THERE, "teller")
        rows = ", ".join(f"({n % QUESTIONS}, 'choice {n}', 0)" for n in range(4 * QUESTIONS))
        plain = [
            "CREATE TABLE choice (id INTEGER PRIMARY KEY, question INTEGER, text TEXT, votes INTEGER)",
            "CREATE INDEX of_question ON choice (question)",
            f"INSERT INTO choice (question, text, votes) VALUES {rows}",
            "CREATE TABLE old (content BLOB)",
            FILL % "old",
        ]
        self.there.do(["new", "stock", str(self.name), plain])
        self.open(self.here, "CREATE TABLE new (content BLOB)", FILL % "new")
        for worker in (self.there, self.here):
            self.open(worker, ELSEWHERE)
            self.open(worker, READ)

    def rest(self) -> None:
        """Stock SQLite leaves nothing to do."""
        time.sleep(0 if self.engine == "stock" else REST)

    def ask(self, worker: guest.Worker, way: str, *statements: str) -> dict[str, Any]:
        costs: dict[str, Any] = worker.do([way, self.engine, str(self.name), statements])
        return costs

    def open(self, worker: guest.Worker, *statements: str) -> dict[str, Any]:
        return self.ask(worker, "open", *statements)

    def elsewhere(self, commits: int) -> None:
        """Make this many commits on the other client, which the first does not know of yet."""
        for _ in range(commits):
            self.open(self.there, ELSEWHERE)

    def cold(self, statement: str) -> dict[str, Any]:
        """In a new process."""
        command = guest.command(HERE, "teller", self.engine, self.name, statement)
        costs: dict[str, Any] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
        return costs

    def end(self) -> None:
        self.here.end()
        self.there.end()


def read_after(commits: int) -> Callable[[Setting], dict[str, Any]]:
    """A SELECT, with so many commits of the other client to find."""

    def do(setting: Setting) -> dict[str, Any]:
        setting.elsewhere(commits)
        setting.rest()
        return setting.open(setting.here, READ)

    return do


def insert_again(setting: Setting) -> dict[str, Any]:
    """The INSERT after another one of the same process."""
    return setting.ask(setting.here, "again", WRITE)


def insert_after_another(setting: Setting) -> dict[str, Any]:
    setting.elsewhere(1)
    setting.rest()
    return setting.open(setting.here, WRITE)


def with_cold_kernel(statement: str) -> Callable[[Setting], dict[str, Any]]:
    """In a new process, while the client's kernel has nothing of the file system in memory, either."""

    def do(setting: Setting) -> dict[str, Any]:
        COLD_KERNEL.write_text("3")
        return setting.cold(statement)

    return do


CHANGED = (
    "the folder has changed, so the kernel asks again whether it may be entered (ACCESS) and whether the known"
    " version is still there (LOOKUP); each record is a symlink: LOOKUP and READLINK"
)
OPENED = (
    "what is opened at once is waited for once; here each OPEN counts (`id`, NAME, `high`, the segment, the base and"
    " its sums), with the CLOSE of those that do not stay open, and STATFS. The statement asks for the head again"
)
ROWS = [
    Row("SELECT, nothing new", "1 C", 1, lambda s: s.open(s.here, READ)),
    Row("SELECT, one commit elsewhere", "1 C + 1 M", 7, read_after(1), CHANGED),
    Row(
        "SELECT, five commits elsewhere",
        "1 C + 3 M",
        16,
        read_after(5),
        "the same; and four names are looked up at once and waited for once, but here each counts; a second"
        " GETATTR makes sure that nothing was garbage-collected meanwhile",
    ),
    Row(
        "SELECT, 100 commits elsewhere",
        "1 C + 1 R + 6 M",
        55,
        read_after(100),
        "the same, up to eight names at once; and a fold is read",
    ),
    Row(
        "SELECT on a new connection",
        "1 C + 2 M",
        1,
        lambda s: s.ask(s.here, "new", READ),
        "whether `id` and NAME are still there is answered from the kernel's cache, for some seconds",
    ),
    Row(
        "web request of 20 SELECTs on a new connection",
        "1 C",
        1,
        lambda s: s.ask(s.here, "new", *[READ] * 20),
        engine="seawall in requests",
    ),
    Row("INSERT", "3 C + 1 M", 5, lambda s: s.open(s.here, WRITE)),
    Row(
        "INSERT, again in the same turn",
        "1 C + 1 M",
        3,
        insert_again,
        "whether the version before is still there is answered from the kernel's cache, which the answer to SYMLINK"
        " keeps valid if no other client changed the folder. In the same tick of the server's clock as the last commit"
        " (here 10 ms) the folder's time is set back (SETATTR). Where there are more, the turn was over",
    ),
    Row("INSERT, one commit elsewhere", "3 C + 2 M", 9, insert_after_another, CHANGED),
    Row("SELECT and UPDATE in a transaction", "3 C + 1 M", 4, lambda s: s.open(s.here, *VOTE)),
    Row("new process: open, and a SELECT", "2 C + 5 M + 3 R, then pages", 20, lambda s: s.cold(READ), OPENED),
    Row(
        "new process, cold kernel: open, and a SELECT",
        "2 C + 5 M + 3 R, then pages",
        40,
        with_cold_kernel(READ),
        "the same; and the kernel looks up each folder and asks whether it may be entered",
    ),
    Row(
        "new process, cold kernel: open, and a scan of 8 MiB of the base",
        "2 C + 5 M + 3 R, then 8 R",
        60,
        with_cold_kernel("SELECT count(*), sum(length(content)) FROM old"),
        "the same; and each READ at once counts",
    ),
    Row(
        "new process, cold kernel: open, and a scan of 8 MiB that came since",
        "2 C + 5 M + 3 R, then 8 R",
        180,
        with_cold_kernel("SELECT count(*), sum(length(content)) FROM new"),
        "the same; what came since the base is read ahead as well, in runs of 1 MiB of the segment",
    ),
    Row(
        "new process: open, and an INSERT",
        "4 C + 7 M + 3 R, then pages",
        35,
        lambda s: s.cold(WRITE),
        "the same; and the lease's file is opened, and a segment made",
    ),
]


def typical(measured: list[dict[str, Any]]) -> dict[str, Any]:
    """The measurement with the median number of calls, with the least and the largest number."""
    measured.sort(key=lambda one: sum(one["calls"].values()))
    totals = [sum(one["calls"].values()) for one in measured]
    middle = measured[len(measured) // 2]
    ms = statistics.median(one["ms"] for one in measured)
    return {"calls": middle["calls"], "counts": middle["counts"], "least": totals[0], "most": totals[-1], "ms": ms}


def measure(row: Row, setting: Setting) -> dict[str, Any]:
    measured = []
    for _ in range(TIMES):
        setting.rest()
        measured.append(row.do(setting))
    return typical(measured)


def main(results: str) -> None:
    folder = guest.folder("calls")
    settings = {engine: Setting(engine, folder) for engine in ("stock", "seawall", "seawall in requests")}
    rows = []
    for row in ROWS:
        ours, stock = (measure(row, settings[engine]) for engine in (row.engine, "stock"))
        rows.append({"title": row.title, "budget": row.budget, "note": row.note, "seawall": ours, "stock": stock})
        print(f"  {row.title}: {ours} / {stock}", flush=True)
        assert ours["least"] <= row.limit, f"{row.title}: at most {row.limit} calls"
    for setting in settings.values():
        setting.end()
    Path(results).write_text(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main(*sys.argv[1:])
