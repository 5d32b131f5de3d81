"""A process of turns.py: it votes on request, and says how long each vote took."""

from __future__ import annotations

import json
import sqlite3
import sys
import threading
import time
from typing import Any

import seawall


def connect(settings: dict[str, Any]) -> sqlite3.Connection:
    """As Django's backend does it in a request."""
    return seawall.connect(
        settings["path"],
        coordinator=settings["coordinator"],
        isolation_level=None,
        timeout=20,
        freshness="request",
        check_same_thread=False,
    )


def vote(connection: sqlite3.Connection) -> None:
    """Read a choice, and count one more vote for it."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("SELECT votes FROM choice WHERE id = 1").fetchone()
    connection.execute("UPDATE choice SET votes = votes + 1 WHERE id = 1")
    connection.execute("COMMIT")


def votes(settings: dict[str, Any], connection: sqlite3.Connection, result: dict[str, Any]) -> None:
    """Vote as fast as possible. Note how long each took, and how long it ever was from one vote to the next."""
    times: list[float] = []
    errors, longest = 0, 0.0
    last = began = time.perf_counter()
    while (now := time.perf_counter()) < began + settings["seconds"]:
        seawall.begin_request()
        try:
            if settings["new"]:
                connection.close()
                connection = connect(settings)
            vote(connection)
        except sqlite3.Error as error:
            errors += 1
            print(error, file=sys.stderr)
            continue
        finally:
            seawall.end_request()
        done = time.perf_counter()
        times.append((done - now) * 1e3)
        longest, last = max(longest, done - last), done
    longest = max(longest, time.perf_counter() - last)
    result.update(times=times, errors=errors, longest=longest)


def main(settings: dict[str, Any]) -> None:
    """Wait for each order, and carry it out."""
    connection = connect(settings)
    connection.execute("CREATE TABLE IF NOT EXISTS choice (id INTEGER PRIMARY KEY, text TEXT, votes INTEGER)")
    connection.execute("INSERT OR IGNORE INTO choice VALUES (1, 'y', 0)")
    print(json.dumps(None), flush=True)
    for order in sys.stdin:
        if order == "votes\n":
            print(json.dumps(connection.execute("SELECT votes FROM choice WHERE id = 1").fetchone()[0]), flush=True)
        elif order == "vote\n":
            results: list[dict[str, Any]] = [{} for _ in range(settings["threads"])]
            work = [threading.Thread(target=votes, args=(settings, connect(settings), result)) for result in results]
            for thread in work:
                thread.start()
            for thread in work:
                thread.join()
            print(json.dumps(results), flush=True)
        else:
            return


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
