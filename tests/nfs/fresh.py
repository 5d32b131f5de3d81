"""A commit is visible on another client as soon as it is acknowledged: a writer, and a reader that checks that.

    python3 -m nfs.fresh CHECKS RESULTS           in the guest, beside the server
    python3 -m nfs.fresh write NAME SHARED        on a client: commits in bursts, until the reader is done
    python3 -m nfs.fresh read NAME SHARED CHECKS  on another

The clients share one kernel, and with it a file in memory: the writer puts a number there once its commit was
acknowledged; the reader takes that number, and only then begins its transaction, which must see it.
"""

from __future__ import annotations

import json
import mmap
import random
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import seawall

from nfs import guest
from nfs.lab import ONE_WAY_MS

WRITER, READER = 1, 2
BURSTS = (1, 1, 2, 3, 8)
PAUSE = 0.01
TURN = 0.15
"""A pause after which the writer has no lease left, so that its next commit acquires one."""
AT_ONCE_AT_LEAST = 0.1
"""The share of commits in the same tick of the server's clock as the one before: times do not distinguish them."""


class Shared:
    """What both processes have in memory: the last acknowledged commit's number, and whether the reader is done."""

    def __init__(self, path: str) -> None:
        with Path(path).open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 16)

    @property
    def acknowledged(self) -> int:
        (number,) = struct.unpack_from("<q", self._memory)
        return int(number)

    @acknowledged.setter
    def acknowledged(self, number: int) -> None:
        struct.pack_into("<q", self._memory, 0, number)

    @property
    def done(self) -> bool:
        return self._memory[8] == 1

    def end(self) -> None:
        self._memory[8] = 1


def connect(name: str) -> seawall.Connection:
    return seawall.connect(name, freshness="transaction", timeout=60, isolation_level=None)


def write(name: str, path: str) -> None:
    shared, connection, chance = Shared(path), connect(name), random.Random(name)
    number = 0
    while not shared.done:
        for _ in range(chance.choice(BURSTS)):
            number += 1
            connection.execute("UPDATE counter SET value = ?", (number,))
            shared.acknowledged = number
        time.sleep(chance.choice((0, 0, chance.uniform(0, PAUSE), TURN if chance.random() < 0.05 else 0)))


def read(name: str, path: str, checks: str) -> None:
    shared, connection, chance = Shared(path), connect(name), random.Random(name)
    reads = due = misses = seen = 0
    while due < int(checks):
        # Every other time it comes as soon as there is something to see; else whenever it comes.
        waits = chance.random() < 0.5
        while waits and shared.acknowledged <= seen:
            time.sleep(0.0001)
        expected = shared.acknowledged
        (value,) = connection.execute("SELECT value FROM counter").fetchone()
        reads += 1
        due += expected > seen
        misses += value < expected
        assert value >= seen, "a connection never goes back"
        seen = value
    shared.end()
    print(json.dumps({"reads": reads, "checks": due, "misses": misses}))


@contextmanager
def fast(*clients: int) -> Iterator[None]:
    """Without delay: as many commits as can be in one tick of the server's clock."""
    for client in clients:
        guest.net(client, "delay", 0)
    try:
        yield
    finally:
        for client in clients:
            guest.net(client, "delay", ONE_WAY_MS)


def main(checks: str, results: str) -> None:
    name = guest.folder("fresh") / "db.sqlite3"
    shared = Path(tempfile.mkstemp(prefix="acknowledged")[1])
    shared.write_bytes(bytes(16))

    def start(client: int, *arguments: object) -> subprocess.Popen[str]:
        return subprocess.Popen(guest.command(client, "fresh", *arguments), stdout=subprocess.PIPE, text=True)

    assert start(WRITER, "make", name).wait() == 0
    first = guest.newest(name)
    with fast(WRITER, READER):
        reader, writer = start(READER, "read", name, shared, checks), start(WRITER, "write", name, shared)
        answer, _ = reader.communicate()
        assert (writer.wait(), reader.returncode) == (0, 0)
    facts: dict[str, Any] = json.loads(answer)
    # On the server: which commits it made within one tick of its clock.
    versions = range(first + 1, guest.newest(name) + 1)
    times = [(guest.commits(name) / str(version)).lstat().st_ctime_ns for version in versions]
    facts["commits"] = len(times)
    facts["in_one_tick"] = sum(before == after for before, after in pairwise(times))
    print(f"  {facts}")
    assert facts["misses"] == 0
    assert facts["in_one_tick"] >= AT_ONCE_AT_LEAST * len(times), "bursts are faster than the server's clock"
    Path(results).write_text(json.dumps(facts))


def make(name: str) -> None:
    connection = connect(name)
    connection.executescript("BEGIN; CREATE TABLE counter (value INTEGER); INSERT INTO counter VALUES (0); COMMIT")


if __name__ == "__main__":
    roles: dict[str, Callable[..., None]] = {"write": write, "read": read, "make": make}
    if sys.argv[1] in roles:
        roles[sys.argv[1]](*sys.argv[2:])
    else:
        main(*sys.argv[1:])
