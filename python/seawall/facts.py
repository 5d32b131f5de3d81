"""A database's facts, and operations on it as a whole, without a connection."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from . import _native, errors
from .connection import Path
from .registration import register


@dataclass(frozen=True)
class Counts:
    """How many remote operations of each kind this process has waited for, as in the design's budget."""

    coordinator: int
    """Coordinator round trips."""
    reads: int
    """File reads."""
    appends: int
    """Durable writes."""
    metadata: int
    """Other metadata calls."""
    background: int
    """The background thread's operations, for which no transaction waited."""

    def __sub__(self, earlier: Counts) -> Counts:
        """The operations since `earlier`."""
        return Counts(*(getattr(self, field.name) - getattr(earlier, field.name) for field in fields(self)))


@dataclass(frozen=True)
class Floor:
    """The oldest version that is still promised."""

    version: int
    """The version. What only older ones need may be garbage-collected."""
    time: int
    """Milliseconds since 1970 of that version; 0 for version 0."""


@dataclass(frozen=True)
class Status:
    """A database's present state."""

    name: str
    """NAME's absolute path."""
    database: str
    """The database's id."""
    coordinator: str
    """The coordinator's URL."""
    file_system: str
    """Its file system."""
    is_copy: bool
    """Whether its folder is a copy of the database's, which can only be read."""
    epoch: int
    """Raised by each recovery, and by each move to another coordinator."""
    version: int
    """The newest version: the number of the last commit."""
    commit: str
    """That commit's id."""
    time: int
    """Milliseconds since 1970 of that commit; 0 for version 0."""
    page_size: int
    """The bytes of a page; 0 while the database is empty."""
    page_count: int
    """The database's size in pages."""
    base_version: int | None
    """The version that the newest base holds."""
    changed_pages: int
    """How many pages changed since that base."""
    log_bytes: int
    """The bytes of the log since that base."""
    base_bytes: int
    """The bytes of that base; 0 if there is none."""
    floor: Floor
    """The oldest version that is still promised."""
    lease: float
    """After how many seconds of silence a writer counts as dead."""
    sweep: int
    """How often garbage was collected."""
    trouble: str | None
    """The last failure in the background."""
    counts: Counts
    """This process's remote operations."""


def status(database: Path, *, coordinator: str | None = None) -> Status:
    """Return the facts about a Seawall database.

    The database knows its coordinator. `coordinator` says how to reach it if that takes more than its name (an
    endpoint).
    """
    facts: dict[str, Any] = ask(_native.status, database, coordinator)
    return Status(**{**facts, "floor": Floor(*facts["floor"]), "counts": Counts(**facts["counts"])})


def counts(database: Path, *, coordinator: str | None = None) -> Counts:
    """Count this process's remote operations for a database. Sends no request.

    `coordinator` is as for `status`.
    """
    return Counts(**ask(_native.counts, database, coordinator))


def remove(database: Path, *, coordinator: str | None = None) -> None:
    """Remove a database with everything that belongs to it, including its head. This cannot be undone.

    It removes the file itself, the files that stock SQLite may have left beside it (`-journal`, `-wal`, `-shm`), and
    Seawall's files in its folder. Other files there stay, and the error names them. A link is refused, not followed. If
    a removal is cut short, another one finishes it.

    The database knows its coordinator. `coordinator` says how to reach it if that takes more than its name (an
    endpoint).
    """
    ask(_native.remove, database, coordinator)


def copy(source: Path, target: Path, *, coordinator: str | None = None) -> None:
    """Write the newest version of `source` as a plain SQLite file at `target`, which must not exist yet.

    Any tool can read this backup, and Seawall adopts it at its first use. `coordinator` is as for `status`.
    """
    ask(_native.copy, source, os.fsdecode(target), coordinator)


def which(at: int | datetime | None) -> tuple[int | None, int | None]:
    """Return a version as the native functions take it: its number, or a time in milliseconds since 1970."""
    if isinstance(at, datetime):
        return None, round(at.timestamp() * 1000)
    return at, None


def ask(question: Any, database: Path, *arguments: Any) -> Any:
    """Ask the native half about a database, with Seawall's exceptions."""
    register()
    try:
        return question(os.fsdecode(database), *arguments)
    except _native.Failed as failed:
        raise errors.raised(failed) from None
