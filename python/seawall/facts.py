"""What can be told of a database, and done to it as a whole, without a connection."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import Any

from . import _native, errors
from .connection import Path
from .registration import register


@dataclass(frozen=True)
class Counts:
    """How many remote operations of each kind this process has waited for, by the letters of the design's budget."""

    coordinator: int
    """Coordinator round trips."""
    reads: int
    """File reads."""
    appends: int
    """Durable writes."""
    metadata: int
    """Other metadata calls."""
    background: int
    """All that the background thread did; nobody waited for these."""

    def __sub__(self, earlier: Counts) -> Counts:
        """What has come since `earlier`."""
        return Counts(*(getattr(self, field.name) - getattr(earlier, field.name) for field in fields(self)))


@dataclass(frozen=True)
class Status:
    """A database, as of now."""

    name: str
    """NAME's absolute path."""
    database: str
    """The database's id."""
    coordinator: str
    """The coordinator's URL."""
    file_system: str
    """The file system that it lies on."""
    is_copy: bool
    """Whether its folder is a copy of the database's, which can only be read."""
    epoch: int
    """Raised by each recovery."""
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
    lease: float
    """After how many seconds of silence a writer is taken for dead."""
    sweep: int
    """How often garbage was collected."""
    trouble: str | None
    """What went wrong in the background last."""
    counts: Counts
    """This process's remote operations."""


def status(database: Path, *, coordinator: str = "fs:") -> Status:
    """Tell the facts about a Seawall database."""
    told: dict[str, Any] = _ask(_native.status, database, coordinator)
    return Status(**{**told, "counts": Counts(**told["counts"])})


def counts(database: Path, *, coordinator: str = "fs:") -> Counts:
    """Count this process's remote operations for a database; asks nobody."""
    return Counts(**_ask(_native.counts, database, coordinator))


def remove(database: Path, *, coordinator: str | None = None) -> None:
    """Remove a database and all that belongs to it, its head included. There is no way back.

    That is the file itself, what stock SQLite may have left beside it (`-journal`, `-wal`, `-shm`), and in its folder
    what Seawall made; other files there are left, and the error names them. Links are refused, not followed. A removal
    that was cut short is finished by another one.

    The coordinator is the one that the database is bound to; `coordinator` says how to reach it, where that takes more
    than its name (an endpoint).
    """
    _ask(_native.remove, database, coordinator)


def copy(source: Path, target: Path, *, coordinator: str = "fs:") -> None:
    """Write the newest version of `source` as a plain SQLite file at `target`, where nothing may lie yet.

    It is a backup that any tool can read, and a database that Seawall adopts when it is opened.
    """
    _ask(_native.copy, source, os.fsdecode(target), coordinator)


def _ask(question: Any, database: Path, *arguments: str | None) -> Any:
    register()
    try:
        return question(os.fsdecode(database), *arguments)
    except _native.Failed as failed:
        raise errors.raised(failed) from None
