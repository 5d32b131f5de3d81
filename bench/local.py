"""On a local disk: what Seawall costs, or spares, where there is no network."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from figures import Row, rounds
from peers import SEAWALL, STOCK, STOCK_WITH_CACHE, Peer

PEERS = [STOCK, STOCK_WITH_CACHE, SEAWALL]
ROWS = 100_000
BULK_ROWS = 1_000_000
ROUNDS, FEW_ROUNDS = 7, 3

Work = Callable[[sqlite3.Connection], int]


def make(path: Path) -> None:
    """A table of 100,000 rows of about 110 bytes, as a plain SQLite file."""
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, number INTEGER)")
    connection.executemany("INSERT INTO item (name, number) VALUES (?, ?)", items(ROWS))
    connection.commit()
    connection.close()


def items(count: int) -> Iterator[tuple[str, int]]:
    """Rows that do not compress to nothing."""
    chance = random.Random(1)
    return ((f"{chance.getrandbits(352):088x}", n) for n in range(count))


_chance = random.Random(7)
KEYS = [(_chance.randint(1, ROWS),) for _ in range(50_000)]
NEW = list(items(1000))


def point_selects(connection: sqlite3.Connection) -> int:
    """Look up rows, each in a transaction of its own."""
    for key in KEYS[:20_000]:
        connection.execute("SELECT name FROM item WHERE id = ?", key).fetchone()
    return 20_000


def point_selects_in_one(connection: sqlite3.Connection) -> int:
    """Look up rows inside of one transaction."""
    connection.execute("BEGIN")
    for key in KEYS:
        connection.execute("SELECT name FROM item WHERE id = ?", key).fetchone()
    connection.execute("COMMIT")
    return len(KEYS)


def scans(connection: sqlite3.Connection) -> int:
    """Read the whole table five times."""
    for _ in range(5):
        connection.execute("SELECT sum(length(name)) FROM item").fetchone()
    return 5 * ROWS


def inserts(connection: sqlite3.Connection) -> int:
    """Commit rows one by one."""
    for row in NEW[:200]:
        connection.execute("INSERT INTO item (name, number) VALUES (?, ?)", row)
    return 200


def inserts_by_ten(connection: sqlite3.Connection) -> int:
    """Commit ten rows at a time."""
    for first in range(0, len(NEW), 10):
        connection.execute("BEGIN IMMEDIATE")
        for row in NEW[first : first + 10]:
            connection.execute("INSERT INTO item (name, number) VALUES (?, ?)", row)
        connection.execute("COMMIT")
    return len(NEW) // 10


WORKLOADS: list[tuple[str, str, float, Work]] = [
    ("point SELECTs, each its own transaction", "per second", 3, point_selects),
    ("point SELECTs in one transaction", "per second", 1, point_selects_in_one),
    ("scan of a whole table", "rows per second", 1, scans),
    ("INSERTs, each its own transaction", "per second", 1, inserts),
    ("transactions of 10 INSERTs", "per second", 1, inserts_by_ten),
]


def measure(folder: Path) -> Iterator[Row]:
    """All rows of the local disk."""
    for title, unit, goal, work in WORKLOADS:
        yield rounds(Row(title, unit, goal), PEERS, ROUNDS, partial(speed, folder, work))
    yield rounds(Row("bulk load of 1,000,000 rows", "rows per second", 0.7), PEERS, FEW_ROUNDS, partial(bulk, folder))
    for title, unit, what, times in (
        ("cold open: connect and the first SELECT, in a new process", "ms", "open", ROUNDS),
        ("peak memory: 20,000 point SELECTs", "MiB", "select", FEW_ROUNDS),
        ("peak memory: bulk load of 1,000,000 rows", "MiB", "bulk", FEW_ROUNDS),
    ):
        yield rounds(Row(title, unit, less_is_better=True), PEERS, times, partial(alone, folder, what))


def speed(folder: Path, work: Work, peer: Peer) -> float:
    """How much of `work` is done in a second, on a database that was used before."""
    path = table(folder, peer)
    connection = peer.connect(path)
    scans(connection)
    connection.execute("INSERT INTO item (name, number) VALUES ('first', 0)")
    began = time.perf_counter()
    done = work(connection)
    taken = time.perf_counter() - began
    connection.close()
    return done / taken


def bulk(folder: Path, peer: Peer) -> float:
    """Rows per second of one large transaction into an empty table, the commit included."""
    connection = peer.connect(fresh(folder, peer))
    rows = list(items(BULK_ROWS))
    began = time.perf_counter()
    load(connection, rows)
    taken = time.perf_counter() - began
    connection.close()
    return BULK_ROWS / taken


def load(connection: sqlite3.Connection, rows: Iterable[tuple[str, int]]) -> None:
    """One large transaction."""
    connection.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, number INTEGER)")
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("INSERT INTO item (name, number) VALUES (?, ?)", rows)
    connection.execute("COMMIT")


def alone(folder: Path, what: str, peer: Peer) -> float:
    """A figure from a process of its own."""
    path = fresh(folder, peer) if what == "bulk" else table(folder, peer)
    if what != "bulk":
        peer.connect(path).close()
    command = [sys.executable, str(Path(__file__).with_name("alone.py")), what, peer.name, str(path)]
    told: float = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return told


def table(folder: Path, peer: Peer) -> Path:
    """A path where the table of 100,000 rows lies, as a plain SQLite file."""
    template = folder / "template.sqlite3"
    if not template.exists():
        make(template)
    return Path(shutil.copy(template, fresh(folder, peer)))


def fresh(folder: Path, peer: Peer) -> Path:
    """A path where nothing is; what the peer measured before goes."""
    for old in folder.glob(f"{PEERS.index(peer)}-*"):
        # The background may be noting something there; then it goes the next time.
        shutil.rmtree(old, ignore_errors=True)
    place = folder / f"{PEERS.index(peer)}-{time.monotonic_ns()}"
    place.mkdir()
    return place / "db.sqlite3"
