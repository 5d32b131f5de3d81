"""The budget of the design's section 9 on a real NFS client, in the calls that its kernel sends; beside stock SQLite's.

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
"""Seconds, after which whatever the last operation left to the background is done."""
HERE, THERE = 1, 2
QUESTIONS = 200
READ = "SELECT text, votes FROM choice WHERE question = 7"
SCAN = "SELECT count(*), sum(length(content)) FROM page"
WRITE = "INSERT INTO choice (question, text, votes) VALUES (7, 'new', 0)"
VOTE = [
    "BEGIN IMMEDIATE",
    "SELECT votes FROM choice WHERE id = 70",
    "UPDATE choice SET votes = votes + 1 WHERE id = 70",
    "COMMIT",
]
COUNT = "SELECT 1 UNION ALL SELECT n + 1 FROM page WHERE n < 2000"
"""Of rows that have a page each."""
ELSEWHERE = "UPDATE choice SET votes = votes + 1 WHERE id = 71"
COLD_KERNEL = Path("/proc/sys/vm/drop_caches")


@dataclass
class Row:
    """An operation: its budget (`C`, `R`, `W`, `M` as in the design), and how it is done once."""

    title: str
    budget: str
    do: Callable[[Setting], dict[str, Any]]
    stock: bool = True
    engine: str = "seawall"


class Setting:
    """One database, in use on two clients."""

    def __init__(self, engine: str, folder: Path) -> None:
        self.engine = engine
        self.name = folder / f"{engine.replace(' ', '-')}.sqlite3"
        self.here, self.there = guest.Worker(HERE, "teller"), guest.Worker(THERE, "teller")
        rows = ", ".join(f"({n % QUESTIONS}, 'choice {n}', 0)" for n in range(4 * QUESTIONS))
        self.open(self.here, "CREATE TABLE choice (id INTEGER PRIMARY KEY, question INTEGER, text TEXT, votes INTEGER)")
        self.open(self.here, "CREATE INDEX of_question ON choice (question)")
        self.open(self.here, f"INSERT INTO choice (question, text, votes) VALUES {rows}")
        self.open(self.here, "CREATE TABLE page (content BLOB)")
        self.open(
            self.here, f"WITH RECURSIVE page (n) AS ({COUNT}) INSERT INTO main.page SELECT randomblob(3000) FROM page"
        )
        for worker in (self.there, self.here):
            self.open(worker, ELSEWHERE)
            self.open(worker, READ)

    def ask(self, worker: guest.Worker, way: str, *statements: str) -> dict[str, Any]:
        told: dict[str, Any] = worker.do([way, self.engine, str(self.name), statements])
        return told

    def open(self, worker: guest.Worker, *statements: str) -> dict[str, Any]:
        return self.ask(worker, "open", *statements)

    def elsewhere(self, commits: int) -> None:
        """So many commits on the other client, all of which the first has yet to learn of."""
        for _ in range(commits):
            self.open(self.there, ELSEWHERE)

    def cold(self, statement: str) -> dict[str, Any]:
        """In a new process."""
        command = [*guest.within(HERE), sys.executable, "-m", "nfs.teller", self.engine, str(self.name), statement]
        told: dict[str, Any] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
        return told

    def end(self) -> None:
        self.here.end()
        self.there.end()


def read_after(commits: int) -> Callable[[Setting], dict[str, Any]]:
    """A SELECT, with so many commits of the other client to find."""

    def do(setting: Setting) -> dict[str, Any]:
        setting.elsewhere(commits)
        time.sleep(REST)
        return setting.open(setting.here, READ)

    return do


def insert_again(setting: Setting) -> dict[str, Any]:
    """The INSERT after another one of the same process."""
    setting.open(setting.here, WRITE, WRITE)
    return setting.open(setting.here, WRITE)


def insert_after_another(setting: Setting) -> dict[str, Any]:
    setting.elsewhere(1)
    time.sleep(REST)
    return setting.open(setting.here, WRITE)


def insert_in_new_process(setting: Setting) -> dict[str, Any]:
    return setting.cold(WRITE)


def with_cold_kernel(statement: str) -> Callable[[Setting], dict[str, Any]]:
    """In a new process, while the client's kernel has nothing of the file system in memory, either."""

    def do(setting: Setting) -> dict[str, Any]:
        COLD_KERNEL.write_text("3")
        return setting.cold(statement)

    return do


ROWS = [
    Row("SELECT, nothing new", "1 C", lambda s: s.open(s.here, READ)),
    Row("SELECT, one commit elsewhere", "1 C + 1 R + 1 M", read_after(1)),
    Row("SELECT, five commits elsewhere", "1 C + 1 R + 3 M", read_after(5)),
    Row("SELECT, 100 commits elsewhere", "1 C + 1 R + 6 M", read_after(100)),
    Row("SELECT on a new connection", "1 C", lambda s: s.ask(s.here, "new", READ)),
    Row(
        "web request of 20 SELECTs on a new connection",
        "1 C",
        lambda s: s.ask(s.here, "new", *[READ] * 20),
        engine="seawall in requests",
    ),
    Row("INSERT", "3 C + 1 W + 1 M", lambda s: s.open(s.here, WRITE)),
    Row("INSERT, again in the same turn", "1 C + 1 W + 1 M", insert_again),
    Row("INSERT, one commit elsewhere", "3 C + 1 R + 1 W + 2 M", insert_after_another),
    Row("SELECT and UPDATE in a transaction", "3 C + 1 W + 1 M", lambda s: s.open(s.here, *VOTE)),
    Row("new process: open, and a SELECT", "1 C + 5 M + 3 R, then pages", lambda s: s.cold(READ)),
    Row("new process, new kernel: open, and a SELECT", "1 C + 5 M + 3 R, then pages", with_cold_kernel(READ)),
    Row("new process, new kernel: open, and a scan of 8 MiB", "1 C + 5 M + 11 R", with_cold_kernel(SCAN)),
    Row("new process: open, and an INSERT", "", insert_in_new_process),
]


def typical(told: list[dict[str, Any]]) -> dict[str, Any]:
    """The measurement with the median number of calls; and how many there were at least and at most."""
    told.sort(key=lambda one: sum(one["calls"].values()))
    totals = [sum(one["calls"].values()) for one in told]
    middle = told[len(told) // 2]
    ms = statistics.median(one["ms"] for one in told)
    return {"calls": middle["calls"], "counts": middle["counts"], "least": totals[0], "most": totals[-1], "ms": ms}


def measure(row: Row, setting: Setting) -> dict[str, Any]:
    told = []
    for _ in range(TIMES):
        time.sleep(REST)
        told.append(row.do(setting))
    return typical(told)


def main(results: str) -> None:
    folder = guest.folder("calls")
    settings = {engine: Setting(engine, folder) for engine in ("stock", "seawall", "seawall in requests")}
    rows = []
    for row in ROWS:
        ours, stock = (measure(row, settings[engine]) for engine in (row.engine, "stock"))
        rows.append({"title": row.title, "budget": row.budget, "seawall": ours, "stock": stock})
        print(f"  {rows[-1]}", flush=True)
    for setting in settings.values():
        setting.end()
    Path(results).write_text(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main(*sys.argv[1:])
