"""What asking for the lease ahead of a request's transaction brings, and what it costs others.

    python bench/ahead.py [fs|dynamodb ...] [--rounds 40]

A request reads, works for a while, and votes in a transaction; with and without asking ahead, in turn. Then requests
ask ahead and never write, and a process on another machine votes meanwhile: how long that takes, beside a vote at which
nobody asks. On the design's costs for EFS (`slowfs`), and on Amazon's DynamoDB Local 4 ms away.
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import time
from collections.abc import Callable

import seawall
from turns import Place, places

ROUTE = "POST /vote/"
PAUSE = 0.06
"""What the background has to do after a request is done by then."""
WORK = [0.0, 0.002, 0.01, 0.02, 0.12]
"""Seconds of a view's work between its first query and its transaction."""


class Machine:
    """One machine's way to the database: a connection for each request, as Django has it by default."""

    def __init__(self, place: Place, which: int) -> None:
        self.path = place.folders[which] / f"{place.url.partition(':')[0]}.sqlite3"
        self.url = place.url

    def connect(self, ahead: bool = True) -> sqlite3.Connection:
        """A new connection."""
        return seawall.connect(
            self.path, coordinator=self.url, freshness="request", lease_ahead=ahead, isolation_level=None, timeout=20
        )

    def vote(self, work: float, *, ahead: bool) -> float:
        """A request that reads, works and votes; the milliseconds of all but the work."""
        began = time.perf_counter()
        seawall.begin_request(ROUTE)
        connection = self.connect(ahead)
        connection.execute("SELECT name FROM session WHERE id = 7").fetchone()
        time.sleep(work)
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE choice SET votes = votes + 1 WHERE id = 1")
        connection.execute("COMMIT")
        connection.close()
        seawall.end_request()
        return (time.perf_counter() - began - work) * 1e3


def shown(times: list[float]) -> str:
    """Median and the longest."""
    return f"{statistics.median(times):6.1f} ms (longest {max(times):.1f})"


def measure(place: Place, rounds: int, say: Callable[[str], None]) -> None:
    """One coordinator."""
    here, there = Machine(place, 0), Machine(place, 1)
    connection = here.connect()
    connection.execute("CREATE TABLE choice (id INTEGER PRIMARY KEY, votes INTEGER)")
    connection.execute("CREATE TABLE session (id INTEGER PRIMARY KEY, name TEXT)")
    connection.execute("INSERT INTO choice VALUES (1, 0)")
    connection.execute("INSERT INTO session VALUES (7, 'seven')")
    connection.close()
    for work in WORK:
        times: dict[bool, list[float]] = {False: [], True: []}
        for ahead in (True, False) * (rounds if work < 0.1 else rounds // 4):
            # The route did the same work the last time, and remembers the lease, or does not.
            here.vote(work, ahead=ahead)
            time.sleep(PAUSE)
            times[ahead].append(here.vote(work, ahead=ahead))
            time.sleep(PAUSE)
        gain = statistics.median(times[False]) / statistics.median(times[True])
        say(f"  a view that works {work * 1e3:3.0f} ms: {shown(times[False])} -> {shown(times[True])}, {gain:.2f} x")
    for after in (0.0, 0.01, 0.02):
        waits: dict[bool, list[float]] = {False: [], True: []}
        for asks in (True, False) * rounds:
            here.vote(0, ahead=asks)
            time.sleep(PAUSE)
            seawall.begin_request(ROUTE)
            time.sleep(after)
            waits[asks].append(there.vote(0, ahead=False))
            time.sleep(PAUSE)
            seawall.end_request()
        say(f"  another machine's vote {after * 1e3:.0f} ms later: {shown(waits[False])} -> {shown(waits[True])}")


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", default=["fs", "dynamodb"])
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    with places(options.kinds) as all_places:
        for kind, place in all_places.items():
            print(f"{kind}: without asking ahead -> with it", flush=True)
            measure(place, options.rounds, lambda line: print(line, flush=True))


if __name__ == "__main__":
    main()
