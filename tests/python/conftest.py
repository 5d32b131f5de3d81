"""The fixtures of all tests: a path for a database, and connections that are closed after the test."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import seawall

Connect = Callable[..., sqlite3.Connection]


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """The path of a database that does not exist yet."""
    return tmp_path / "db.sqlite3"


@pytest.fixture
def connect(db: Path) -> Iterator[Connect]:
    """Open the test's database through Seawall, in autocommit mode by default."""
    opened: list[sqlite3.Connection] = []

    def connect(path: Path = db, **kwargs: Any) -> sqlite3.Connection:
        connection = seawall.connect(path, **{"isolation_level": None, "timeout": 5.0, **kwargs})
        opened.append(connection)
        return connection

    yield connect
    for connection in opened:
        connection.close()


def rows(connection: sqlite3.Connection, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
    """All rows of a query."""
    return connection.execute(sql, parameters).fetchall()


def one(connection: sqlite3.Connection, sql: str, *parameters: object) -> Any:
    """The only value of a query."""
    ((value,),) = rows(connection, sql, *parameters)
    return value


def version(connection: sqlite3.Connection) -> int:
    """The version that the connection reads."""
    return int(one(connection, "PRAGMA seawall_version"))


def intact(connection: sqlite3.Connection) -> bool:
    """Whether SQLite's integrity check finds nothing wrong."""
    return rows(connection, "PRAGMA integrity_check") == [("ok",)]
