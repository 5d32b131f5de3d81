"""Whether a database is whole, and if not, what is damaged."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from . import _native
from .connection import Path, connect
from .facts import ask, status, which


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong."""

    damage: str
    """What is damaged: `opening`, `file`, `commit`, `chain`, `pages`, `index`, `map`, `base` or `sqlite`."""
    file: str
    """In which file."""
    at: int | None
    """Where in that file, in bytes."""
    why: str
    """What is wrong."""
    versions: tuple[int, int] | None
    """The first and the last version that may read what is damaged."""
    pages: tuple[tuple[int, int], ...]
    """The pages that are touched, as ranges: first and last."""
    tables: tuple[str, ...]
    """The tables and indexes that these pages belong to, as far as that can be told."""
    remedy: str
    """What to do about it."""


@dataclass(frozen=True)
class Verified:
    """What a verification looked at, and what it found."""

    version: int
    """The version that was verified."""
    time: int
    """Milliseconds since 1970 of that version; 0 for version 0."""
    oldest: int
    """The oldest version whose commit was read."""
    base: str | None
    """The base that the version stands on."""
    commits: int
    """How many commits were right."""
    pages: int
    """How many images of pages were right."""
    bytes: int
    """How many bytes were read."""
    findings: tuple[Finding, ...]
    """What is wrong."""
    left_out: int
    """How many findings more there were than are listed."""

    @property
    def is_whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


def verify(
    database: Path,
    *,
    at: int | datetime | None = None,
    deep: bool = False,
    part: tuple[int, int] = (1, 1),
    progress: Callable[[int, int], object] | None = None,
    coordinator: str | None = None,
) -> Verified:
    """Check that a version can be read, whole, and that all records of the database agree with one another.

    It is the newest version, or the one that `at` names: a version's number, or the newest one at a time. With `deep`
    all of history is checked as well, and SQLite's own `integrity_check` runs on the newest version if nothing else is
    wrong. `part` divides long work: (3, 7) is the third of seven parts. `progress` is called with the bytes that were
    read, and about how many there are; if it raises, the verification ends.

    Damage is in the answer. An exception means that nothing could be verified. `coordinator` is as for `status`.
    """
    facts: dict[str, Any] = ask(_native.verify, database, coordinator, *which(at), deep, part, progress)
    findings = [
        Finding(**{**found, "pages": tuple(found["pages"]), "tables": tuple(found["tables"])})
        for found in facts.pop("findings")
    ]
    if deep and at is None and part[0] == part[1] and not findings:
        findings += _by_sqlite(database, coordinator)
    return Verified(**facts, findings=tuple(findings))


def _by_sqlite(database: Path, coordinator: str | None) -> list[Finding]:
    """What SQLite's own check finds in the newest version."""
    connection = connect(database, coordinator=coordinator or status(database).coordinator)
    try:
        answers = [str(row[0]) for row in connection.execute("PRAGMA integrity_check")]
    except sqlite3.DatabaseError as error:
        answers = [str(error)]
    finally:
        connection.close()
    remedy = "REINDEX mends an index; what else SQLite calls damaged was committed so: take it from an older version"
    return [
        Finding("sqlite", "the newest version", None, answer, None, (), (), remedy)
        for answer in answers
        if answer != "ok"
    ]
