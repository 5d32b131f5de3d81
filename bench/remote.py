"""On the design's costs for EFS: web requests, each with a new connection, in a process that goes on."""

from __future__ import annotations

import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import seawall
from figures import Row, number, rounds
from peers import Peer, ours_in_requests, plain_stock
from slowfs import SlowFolder, machines

STOCK = Peer("stock SQLite", plain_stock, begins="BEGIN")
STOCK_IMMEDIATE = Peer("stock SQLite, BEGIN IMMEDIATE", plain_stock)
SEAWALL = Peer("Seawall", ours_in_requests)
PEERS = [STOCK, STOCK_IMMEDIATE, SEAWALL]

QUESTIONS, CHOICES = 200, 800
ROUNDS, REQUESTS = 5, 8
PAUSE = 0.03
"""Between two requests: what a request leaves to the background is done and counted before the next."""

Handler = Callable[[sqlite3.Connection, Peer, int], None]


def read(connection: sqlite3.Connection, _: Peer, request: int) -> None:
    """Twenty SELECTs, as a page of Django's admin makes them: each on its own."""
    for n in range(20):
        question = (request * 20 + n) % QUESTIONS + 1
        connection.execute("SELECT id, text, votes FROM choice WHERE question = ?", (question,)).fetchall()


def vote(connection: sqlite3.Connection, peer: Peer, request: int) -> None:
    """Read a choice and count one more vote for it, in one transaction."""
    choice = request * 37 % CHOICES + 1
    connection.execute(peer.begins)
    connection.execute("SELECT id, text, votes FROM choice WHERE id = ?", (choice,)).fetchone()
    connection.execute("UPDATE choice SET votes = votes + 1 WHERE id = ?", (choice,))
    connection.execute("COMMIT")


@dataclass
class Bench:
    """The same database on two machines, once for each peer."""

    here: SlowFolder
    there: SlowFolder

    def name(self, peer: Peer, machine: SlowFolder) -> Path:
        """Where the peer's database is on that machine."""
        return machine.path / f"{PEERS.index(peer)}.sqlite3"

    def make(self, peer: Peer) -> None:
        """Make it, and use it once on both machines."""
        connection = peer.connect(self.name(peer, self.here))
        connection.execute("CREATE TABLE question (id INTEGER PRIMARY KEY, text TEXT)")
        connection.execute("CREATE TABLE choice (id INTEGER PRIMARY KEY, question INTEGER, text TEXT, votes INTEGER)")
        connection.execute("CREATE INDEX choice_question ON choice (question)")
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO question (text) VALUES (?)", [("x" * 100,)] * QUESTIONS)
        choices = [(n % QUESTIONS + 1, "y" * 80) for n in range(CHOICES)]
        connection.executemany("INSERT INTO choice (question, text, votes) VALUES (?, ?, 0)", choices)
        connection.execute("COMMIT")
        connection.close()
        for machine in (self.here, self.there):
            self.request(machine, read, peer, 0)

    def request(self, machine: SlowFolder, handler: Handler, peer: Peer, which: int, route: str | None = None) -> None:
        """One request, on a connection of its own."""
        seawall.begin_request(route)
        connection = peer.connect(self.name(peer, machine))
        handler(connection, peer, which)
        connection.close()
        seawall.end_request()

    def serve(
        self, handler: Handler, others_vote: bool, route: str | None, operations: dict[str, list[float]], peer: Peer
    ) -> float:
        """Serve some requests; milliseconds for one, by the median."""
        times, counts = [], []
        for which in range(REQUESTS):
            if others_vote:
                self.request(self.there, vote, peer, which)
            time.sleep(PAUSE)
            counted, began = self.here.operations(), time.perf_counter()
            self.request(self.here, handler, peer, which, route)
            times.append((time.perf_counter() - began) * 1e3)
            time.sleep(PAUSE)
            counts.append(self.here.operations() - counted)
        operations.setdefault(peer.name, []).append(statistics.mean(counts))
        return statistics.median(times)


WORKLOADS: list[tuple[str, float | None, Handler, bool, str | None]] = [
    ("a request of 20 SELECTs", 40, read, False, None),
    ("a request of 20 SELECTs, after a vote on another machine", None, read, True, None),
    ("a vote (SELECT and UPDATE in a transaction)", 7, vote, False, None),
    ("a vote in a POST, as Django's backend asks for its lease ahead", 7, vote, False, "POST /vote/"),
    ("a vote, after a vote on another machine", None, vote, True, None),
]
"""What is done, the goal, whether another machine votes before each request, and the request's route."""


def measure(folder: Path) -> Iterator[Row]:
    """All rows of the slow file system."""
    with machines(folder, 2) as (here, there):
        bench = Bench(here, there)
        for peer in PEERS:
            bench.make(peer)
        for title, goal, handler, others_vote, route in WORKLOADS:
            row = Row(title, "ms", goal, less_is_better=True)
            operations: dict[str, list[float]] = {}
            rounds(row, PEERS, ROUNDS, partial(bench.serve, handler, others_vote, route, operations))
            row.notes = {name: f"{number(statistics.mean(counts))} operations" for name, counts in operations.items()}
            yield row
