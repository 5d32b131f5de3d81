"""Who is measured: stock SQLite, and Seawall, through the same module of Python."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import seawall


@dataclass(frozen=True)
class Peer:
    """One way to open a database."""

    name: str
    connect: Callable[[Path], sqlite3.Connection]
    begins: str = "BEGIN IMMEDIATE"
    """How its write transactions begin."""


def stock(path: Path) -> sqlite3.Connection:
    """Stock SQLite with a rollback journal, every commit synced: what acknowledged means to Seawall, too."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=20)
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def stock_with_cache(path: Path) -> sqlite3.Connection:
    """The same, with a page cache as large as the one that Seawall's connections have."""
    connection = stock(path)
    connection.execute("PRAGMA cache_size = -16384")
    return connection


def plain_stock(path: Path) -> sqlite3.Connection:
    """Stock SQLite as an application opens it for one request: its defaults are that journal and those syncs."""
    return sqlite3.connect(path, isolation_level=None, timeout=20)


def ours(path: Path) -> sqlite3.Connection:
    """Seawall, strict: every transaction sees all that was committed when it began."""
    return seawall.connect(path, isolation_level=None, timeout=20)


def ours_in_requests(path: Path) -> sqlite3.Connection:
    """Seawall as its Django backend opens it: one question for each request."""
    return seawall.connect(path, isolation_level=None, timeout=20, freshness="request")


STOCK = Peer("stock SQLite", stock)
STOCK_WITH_CACHE = Peer("stock SQLite, 16 MiB cache", stock_with_cache)
SEAWALL = Peer("Seawall", ours)
