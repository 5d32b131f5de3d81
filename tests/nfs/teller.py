"""Runs statements on one client, and counts its kernel's calls to the server meanwhile.

python3 -m nfs.teller                    answers lines
python3 -m nfs.teller ENGINE NAME SQL    opens NAME in this new process, runs SQL once, and prints the costs
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import seawall

from nfs import guest

COUNTING = 2
"""Metadata calls, because asking for the counts looks at NAME and `id`."""
OPEN: dict[str, sqlite3.Connection] = {}
"""A connection for each engine that stays open."""


def stock(name: str) -> sqlite3.Connection:
    return sqlite3.connect(name, timeout=60, isolation_level=None)


def ours(name: str) -> sqlite3.Connection:
    return seawall.connect(name, timeout=60, isolation_level=None)


def ours_in_requests(name: str) -> sqlite3.Connection:
    return seawall.connect(name, timeout=60, isolation_level=None, freshness="request")


ENGINES = {"stock": stock, "seawall": ours, "seawall in requests": ours_in_requests}


def is_ours(engine: str) -> bool:
    return engine != "stock"


def execute(connection: sqlite3.Connection, statements: Sequence[str]) -> None:
    for statement in statements:
        connection.execute(statement).fetchall()


def on_open(engine: str, name: str, statements: Sequence[str]) -> None:
    """On the connection that stays open."""
    if engine not in OPEN:
        OPEN[engine] = ENGINES[engine](name)
    execute(OPEN[engine], statements)


def on_new(engine: str, name: str, statements: Sequence[str]) -> None:
    """On a new connection, which is closed again, as in a web request."""
    if is_ours(engine):
        seawall.begin_request()
    connection = ENGINES[engine](name)
    execute(connection, statements)
    connection.close()
    if is_ours(engine):
        seawall.end_request()


WAYS: dict[str, Callable[[str, str, Sequence[str]], None]] = {"open": on_open, "again": on_open, "new": on_new}


def counts(engine: str, name: str) -> dict[str, int]:
    if not is_ours(engine) or not Path(f"{name}-seawall", "id").exists():
        return {}
    counts = asdict(seawall.counts(name))
    return {what: counts[what] for what in ("coordinator", "reads", "appends", "metadata")}


def measure(engine: str, name: str, act: Callable[[], None], before: dict[str, int]) -> dict[str, Any]:
    """What it costs: the client's calls, and what Seawall counts, which were `before`."""
    calls, began = guest.calls(), time.perf_counter()
    act()
    seconds = time.perf_counter() - began
    calls = guest.calls() - calls
    counted = {what: number - before.get(what, 0) for what, number in counts(engine, name).items()}
    if counted:
        counted["metadata"] -= COUNTING
    return {"calls": dict(calls), "counts": counted, "ms": seconds * 1000}


def answer(question: tuple[str, str, str, list[str]]) -> dict[str, Any]:
    way, engine, name, statements = question
    if way == "again":
        # In this process, because a line to another one and back takes longer than a turn.
        on_open(engine, name, statements * 2)
    return measure(engine, name, lambda: WAYS[way](engine, name, statements), counts(engine, name))


def cold(engine: str, name: str, statement: str) -> dict[str, Any]:
    return measure(engine, name, lambda: on_open(engine, name, [statement]), {})


if __name__ == "__main__":
    if sys.argv[1:]:
        print(json.dumps(cold(*sys.argv[1:])))
    else:
        guest.serve(answer)
