"""Clients that open one name at once for the first time: an existing SQLite file, or none. One database comes of it.

python3 -m nfs.adoption ROUNDS RESULTS    in the guest, beside the server
python3 -m nfs.adoption open              on a client: opens NAME and writes the given rows
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import seawall

from nfs import guest
from nfs.lab import CLIENTS

SOON = 0.15
"""How many seconds after the request all clients begin. They have one clock."""
APART = (0.0, 0.002, 0.01, 0.03, 0.3)
"""By how much each client begins later than the one before it; the rounds take turns."""
ROWS = 500
"""In an existing file."""
WRITES = 3


def open_and_write(task: dict[str, Any]) -> dict[str, Any]:
    """What a client does; the transactions say whose they are."""
    time.sleep(max(0, task["at"] - time.monotonic()))
    try:
        connection = seawall.connect(task["name"], timeout=30, isolation_level=None)
        connection.execute("CREATE TABLE IF NOT EXISTS entry (id INTEGER PRIMARY KEY, who TEXT)")
        for n in range(WRITES):
            connection.execute("INSERT INTO entry (who) VALUES (?)", (f"{task['who']}.{n}",))
    except sqlite3.Error as error:
        return {"error": f"{type(error).__name__} {getattr(error, 'sqlite_errorname', None)}: {error}"}
    seconds = time.monotonic() - task["at"]
    connection.close()
    return {"seconds": seconds, **look(task)}


def miss(task: dict[str, Any]) -> dict[str, Any]:
    """Looks for the database before it exists, so that the kernel caches for 30 s that its names are missing. An
    existing SQLite file is read as it is."""
    try:
        connection = seawall.connect(f"file:{task['name']}?mode=ro", timeout=30)
        (rows,) = connection.execute("SELECT count(*) FROM entry").fetchone()
    except seawall.CannotOpen as error:
        return {"refused": str(error)}
    connection.close()
    return {"rows": rows}


def look(task: dict[str, Any]) -> dict[str, Any]:
    """The database's rows, on a new connection."""
    connection = seawall.connect(task["name"], timeout=30, isolation_level=None)
    rows = sorted(who for (who,) in connection.execute("SELECT who FROM entry"))
    (sound,) = connection.execute("PRAGMA integrity_check").fetchone()
    connection.close()
    return {"id": seawall.status(task["name"]).database, "rows": rows, "sound": sound}


def answer(question: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    what, task = question
    return {"miss": miss, "open": open_and_write, "look": look}[what](task)


def make_plain(name: Path) -> list[str]:
    """An existing database, which the server makes with stock SQLite."""
    connection = sqlite3.connect(guest.on_server(name))
    connection.execute("CREATE TABLE entry (id INTEGER PRIMARY KEY, who TEXT)")
    rows = [f"before.{n}" for n in range(ROWS)]
    connection.executemany("INSERT INTO entry (who) VALUES (?)", [(row,) for row in rows])
    connection.commit()
    connection.close()
    return rows


def run(name: Path, number: int, workers: list[guest.Worker]) -> dict[str, Any]:
    """One round. Every other round has an existing file."""
    adopts = number % 2 == 0
    expected = make_plain(name) if adopts else []
    if number % 3 == 0:
        for worker in workers:
            missed = worker.do(("miss", {"name": str(name)}))
            assert missed.get("rows") == (ROWS if adopts else None), f"round {number}: {missed}"
    at, apart = time.monotonic() + SOON, APART[number // 2 % len(APART)]
    for place, worker in enumerate(workers):
        worker.ask(("open", {"name": str(name), "at": at + place * apart, "who": f"client{place}"}))
        expected += [f"client{place}.{n}" for n in range(WRITES)]
    opened = [worker.answer() for worker in workers]
    errors = [one["error"] for one in opened if "error" in one]
    assert not errors, f"round {number}, {apart} s apart: {errors}"
    views = [worker.do(("look", {"name": str(name)})) for worker in workers]
    ids = {view["id"] for view in [*opened, *views]}
    assert len(ids) == 1, f"one database: {ids}"
    for view in views:
        assert view["rows"] == sorted(expected), f"all clients' rows: {Counter(expected) - Counter(view['rows'])}"
        assert view["sound"] == "ok"
    assert (guest.commits(name).parent / "id").read_text().split()[3] == ids.pop()
    return {"adopts": adopts, "clients": len(workers), "seconds": max(one["seconds"] for one in opened)}


def main(rounds: str, results: str) -> None:
    folder = guest.folder("adoption")
    workers = [guest.Worker(client, "adoption", "open") for client in range(1, CLIENTS + 1)]
    for worker in workers:
        # Python and the module are loaded.
        worker.do(("open", {"name": str(folder / f"{worker.process.pid}.sqlite3"), "at": 0, "who": "first"}))
    done = []
    for number in range(int(rounds)):
        at_once = workers[: 2 + number // 4 % (CLIENTS - 1)]
        done.append(run(folder / f"{number}.sqlite3", number, at_once))
    for worker in workers:
        worker.end()
    longest = max(one["seconds"] for one in done)
    kinds = Counter((one["adopts"], one["clients"]) for one in done)
    rows = [{"adopts": kind[0], "clients": kind[1], "rounds": times} for kind, times in sorted(kinds.items())]
    facts = {"rows": rows, "longest": longest}
    print(f"  {facts}")
    Path(results).write_text(json.dumps(facts))


if __name__ == "__main__":
    if sys.argv[1] == "open":
        guest.serve(answer)
    else:
        main(*sys.argv[1:])
