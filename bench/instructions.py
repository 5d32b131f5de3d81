"""Instructions for each row of a bulk load and each point SELECT, of the thread that makes them, beside stock SQLite.

instructions.py [WORK …]

Times vary with whatever else a machine does, and instructions do not. Each load runs in two sizes under valgrind's
callgrind, and the difference is what one more row or SELECT takes. (Waiting, system calls and the price of an atomic
operation are not in it.) Functions have names in a build whose symbols are kept:
cargo rustc --profile quick -p seawall-python -- -C strip=none
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from sqlite3 import Connection

import local
import seawall
from peers import SEAWALL, STOCK, Peer

PEERS = [STOCK, SEAWALL]
SELECTED_ROWS = 20_000
SMALL, LARGE = 1_000, 4_000


def load_rows(connection: Connection, rows: int) -> None:
    """Insert `rows` rows in one transaction."""
    local.load(connection, local.items(rows))


def select_each(connection: Connection, selects: int) -> None:
    """Look up rows, each in a transaction of its own."""
    local.load(connection, local.items(SELECTED_ROWS))
    local.scans(connection)
    select(connection, selects)


def select_in_one(connection: Connection, selects: int) -> None:
    """Look up rows inside of one transaction."""
    local.load(connection, local.items(SELECTED_ROWS))
    local.scans(connection)
    connection.execute("BEGIN")
    select(connection, selects)
    connection.execute("COMMIT")


def select(connection: Connection, selects: int) -> None:
    """Look up rows by their keys."""
    chance = random.Random(7)
    for key in [(chance.randint(1, SELECTED_ROWS),) for _ in range(LARGE)][:selects]:
        connection.execute("SELECT name FROM item WHERE id = ?", key).fetchone()


WORKS: dict[str, tuple[Callable[[Connection, int], None], int, int]] = {
    "row": (load_rows, 5 * SMALL, 5 * LARGE),
    "select": (select_each, SMALL, LARGE),
    "select-in-one": (select_in_one, SMALL, LARGE),
}
"""Each with a small and a large size."""


def counted(work: str, peer: Peer, size: int, folder: Path) -> int:
    """The instructions of the main thread."""
    out = folder / "callgrind"
    command = ["valgrind", "--tool=callgrind", "--separate-threads=yes", f"--callgrind-out-file={out}", sys.executable]
    arguments = [__file__, "--run", work, peer.name, str(size), str(folder / "db.sqlite3")]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    subprocess.run([*command, *arguments], check=True, capture_output=True, env=environment)
    totals = re.search(r"^totals: (\d+)$", Path(f"{out}-01").read_text(errors="replace"), re.MULTILINE)
    assert totals, "callgrind writes its totals"
    return int(totals[1])


def for_each(work: str, peer: Peer) -> float:
    """The instructions of one row, or SELECT."""
    _, *sizes = WORKS[work]
    counts = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            counts.append(counted(work, peer, size, Path(folder)))
    return (counts[1] - counts[0]) / (sizes[1] - sizes[0])


def run(work: str, peer_name: str, size: str, path: str) -> None:
    """Do the work, in a process that callgrind watches."""
    seawall.register()
    peer = next(peer for peer in PEERS if peer.name == peer_name)
    connection = peer.connect(Path(path))
    WORKS[work][0](connection, int(size))
    connection.close()


def main(works: list[str]) -> None:
    """Print a line for each work."""
    for work in works or WORKS:
        figures = [f"{peer.name} {for_each(work, peer):,.0f}" for peer in PEERS]
        print(f"{work}: {', '.join(figures)}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        run(*sys.argv[2:])
    else:
        main(sys.argv[1:])
