"""A server shows its folder as changed before it finds a new name: commits must be visible at once all the same.

python3 -m nfs.early SECONDS RESULTS             in the guest, beside the server
python3 -m nfs.early write NAME SHARED           on a client: commits, until the time is over
python3 -m nfs.early read NAME SHARED            on another: each read must see what was acknowledged before
python3 -m nfs.early plain FIRST COMMITS SHARED  on a third: what a forced look and look-ups alone would see
python3 -m nfs.early load FILE SHARED            on the server: keeps its journal busy, so that names take longer
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from nfs import guest
from nfs.fresh import Shared, connect, fast, make

WRITER, READER, PLAIN = 1, 2, 3
AT_ONCE = 6
"""Processes on each of those that read, and on the server."""
PAUSE = 0.02
AT_EMPTY_PATH, AT_STATX_FORCE_SYNC = 0x1000, 0x2000
STATX_BASIC_STATS = 0x7FF
STRUCT_STATX = 256
LIBC = ctypes.CDLL(None, use_errno=True)


def write(name: str, path: str) -> None:
    shared, connection, chance = Shared(path), connect(name), random.Random(name)
    number = 0
    while not shared.done:
        number += 1
        connection.execute("UPDATE counter SET value = ?", (number,))
        shared.acknowledged = number
        time.sleep(chance.uniform(0, PAUSE))


def check(path: str, look: Callable[[], int]) -> None:
    """Look repeatedly. Report how often there was a new commit to see, and how often it was not seen."""
    shared, chance = Shared(path), random.Random(os.getpid())
    counts: Counter[str] = Counter(looks=0, checks=0, misses=0)
    seen = 0
    while not shared.done:
        expected = shared.acknowledged
        value = look()
        counts.update(looks=1, checks=expected > seen, misses=value < expected)
        assert value >= seen, "a reader never goes back"
        seen = value
        time.sleep(chance.uniform(0, 0.002))
    print(json.dumps(counts))


def read(name: str, path: str) -> None:
    connection = connect(name)
    check(path, lambda: int(connection.execute("SELECT value FROM counter").fetchone()[0]))


def plain(first: str, commits: str, path: str) -> None:
    folder, newest = os.open(commits, os.O_RDONLY), int(first)

    def look() -> int:
        nonlocal newest
        force(folder)
        while is_named(folder, newest + 1):
            newest += 1
        return newest - int(first)

    check(path, look)


def force(folder: int) -> None:
    """A forced look, as the engine does it."""
    buffer = ctypes.create_string_buffer(STRUCT_STATX)
    if LIBC.statx(folder, b"", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, buffer) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def is_named(folder: int, version: int) -> bool:
    try:
        return bool(os.readlink(str(version), dir_fd=folder))
    except FileNotFoundError:
        return False


def load(file: str, path: str) -> None:
    shared = Shared(path)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_DSYNC)
    block = 0
    while not shared.done:
        os.pwrite(descriptor, bytes(4096), 4096 * (block % 4096))
        block += 1


def main(seconds: str, results: str) -> None:
    name = guest.folder("early") / "db.sqlite3"
    shared = Path(tempfile.mkstemp(prefix="acknowledged")[1])
    shared.write_bytes(bytes(16))

    def start(client: int, *arguments: object) -> subprocess.Popen[str]:
        return subprocess.Popen(guest.command(client, "early", *arguments), stdout=subprocess.PIPE, text=True)

    def results_of(processes: list[subprocess.Popen[str]]) -> Counter[str]:
        texts = [process.communicate()[0] for process in processes]
        assert not any(process.returncode for process in processes)
        return sum((Counter(json.loads(text)) for text in texts), Counter())

    assert start(WRITER, "make", name).wait() == 0
    first = guest.newest(name)
    folder = name.with_name(name.name + "-seawall") / "commits"
    with fast(WRITER, READER, PLAIN):
        loads = [start(0, "load", guest.on_server(name).with_name(f"load{n}"), shared) for n in range(AT_ONCE)]
        readers = [start(READER, "read", name, shared) for _ in range(AT_ONCE)]
        plains = [start(PLAIN, "plain", first, folder, shared) for _ in range(AT_ONCE)]
        writer = start(WRITER, "write", name, shared)
        before = guest.calls(guest.keeper(READER))
        time.sleep(float(seconds))
        set_back = (guest.calls(guest.keeper(READER)) - before)["SETATTR"]
        Shared(str(shared)).end()
        seawall, alone = results_of(readers), results_of(plains)
        assert not any(process.wait() for process in [writer, *loads])
    commits = guest.newest(name) - first
    facts = {"seawall": seawall, "alone": alone, "commits": commits, "set_back": set_back, "seconds": float(seconds)}
    print(f"  {facts}")
    assert seawall["misses"] == 0
    assert seawall["checks"] > commits / 10, "readers see most commits before they are acknowledged, but not all"
    Path(results).write_text(json.dumps(facts))


if __name__ == "__main__":
    roles: dict[str, Callable[..., None]] = {"write": write, "read": read, "plain": plain, "load": load, "make": make}
    if sys.argv[1] in roles:
        roles[sys.argv[1]](*sys.argv[2:])
    else:
        main(*sys.argv[1:])
