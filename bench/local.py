"""On a local disk: what Seawall costs, or spares, where there is no network."""

from __future__ import annotations

import contextlib
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

from figures import Row, number, rounds
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
    for key in KEYS:
        connection.execute("SELECT name FROM item WHERE id = ?", key).fetchone()
    return len(KEYS)


def point_selects_in_one(connection: sqlite3.Connection) -> int:
    """Look up rows inside of one transaction."""
    connection.execute("BEGIN")
    count = point_selects(connection)
    connection.execute("COMMIT")
    return count


def scans(connection: sqlite3.Connection) -> int:
    """Read the whole table ten times."""
    for _ in range(10):
        connection.execute("SELECT sum(length(name)) FROM item").fetchone()
    return 10 * ROWS


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
    rows = [Row(title, unit, goal) for title, unit, goal, _ in WORKLOADS]
    for row, (*_, work) in zip(rows, WORKLOADS, strict=True):
        yield rounds(row, PEERS, ROUNDS, partial(speed, folder, work))
    rows[0].cost = cost_of_a_transaction(each=rows[0], in_one=rows[1])
    loaded, commits = Row("bulk load of 1,000,000 rows", "rows per second", 1), Row("its COMMIT", "s")
    rounds(loaded, PEERS, FEW_ROUNDS, partial(bulk, folder, commits))
    loaded.notes = {peer.name: f"COMMIT {number(commits.median(peer))} s" for peer in PEERS}
    loaded.cost = "compressing, checksumming and appending all pages, which its COMMIT does"
    yield loaded
    for title, unit, what, times in (
        ("cold open: connect and the first SELECT, in a new process", "ms", "open", ROUNDS),
        ("peak memory: 50,000 point SELECTs", "MiB", "select", FEW_ROUNDS),
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


def cost_of_a_transaction(each: Row, in_one: Row) -> str:
    """What a point SELECT spends on its transaction, and what on itself."""

    def microseconds(peer: Peer) -> str:
        whole, alone = 1e6 / each.median(peer), 1e6 / in_one.median(peer)
        return f"{whole:.1f} µs, of which {alone:.1f} for the SELECT itself"

    return (
        f"a SELECT takes Seawall {microseconds(SEAWALL)} (the work of Python and SQLite, as those in one transaction"
        f" show); stock SQLite {microseconds(STOCK)}, and {microseconds(STOCK_WITH_CACHE)} with the larger cache. What"
        " remains is the transaction: asking whether there is a newer version, and SQLite's calls around it"
    )


def bulk(folder: Path, commits: Row, peer: Peer) -> float:
    """Rows per second of one large transaction into an empty table, the commit included."""
    connection = peer.connect(fresh(folder, peer))
    rows = list(items(BULK_ROWS))
    began = time.perf_counter()
    commits.add(peer, load(connection, rows))
    taken = time.perf_counter() - began
    connection.close()
    return BULK_ROWS / taken


def load(connection: sqlite3.Connection, rows: Iterable[tuple[str, int]]) -> float:
    """One large transaction; says how long its COMMIT took."""
    connection.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, number INTEGER)")
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("INSERT INTO item (name, number) VALUES (?, ?)", rows)
    began = time.perf_counter()
    connection.execute("COMMIT")
    return time.perf_counter() - began


def alone(folder: Path, what: str, peer: Peer) -> float:
    """A figure from a process of its own."""
    path = fresh(folder, peer) if what == "bulk" else table(folder, peer)
    if what != "bulk":
        # The first use adopts it: that is not what is measured.
        with contextlib.closing(peer.connect(path)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    command = [sys.executable, str(Path(__file__).with_name("alone.py")), what, peer.name, str(path)]
    seconds: float = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return seconds


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
