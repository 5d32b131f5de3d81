"""Ways out: a head is made again, NAME is written again, a file becomes the newest version, a database moves or leaves.

Stop all programs that use the database first. A process that calls one of these must have closed its own connections to
it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from . import _native
from .connection import Path
from .facts import ask


@dataclass(frozen=True)
class FoundVersion:
    """A version that a recovery found."""

    version: int
    """Its number."""
    commit: str
    """Its commit's id."""
    time: int
    """Milliseconds since 1970 of that version; 0 for version 0."""
    pages: int
    """How many pages it changed."""


@dataclass(frozen=True)
class Recovered:
    """What a recovery found, and did or would do."""

    database: str
    """The database's id."""
    head: int | None
    """The version that the head named; None if the head was lost."""
    proven: int
    """The newest version that some writer knew to be in the history."""
    candidates: tuple[FoundVersion, ...]
    """The versions on it whose outcome was never learned."""
    kept: FoundVersion
    """The version that is kept, with all before it."""
    never_learned: bool
    """Whether the outcome of the kept one was never learned: its writer may not have reported it as saved."""
    rebuilt: bool
    """Whether it stands on an older base, because the newest was damaged."""
    lost: tuple[str, ...]
    """Versions that cannot be kept, each with the reason."""
    version: int | None
    """The version that the recovery itself is; None in a dry run."""


def recover(
    database: Path,
    *,
    dry_run: bool = True,
    commit: str | None = None,
    take_over_home: bool = False,
    coordinator: str | None = None,
) -> Recovered:
    """Make a lost, damaged or set-back head again, from what the files prove.

    With `dry_run`, the default, nothing is changed. `commit` chooses where several commits stand on the newest proven
    version. `take_over_home`: this folder is a copy, and the one that it was copied from is gone for good.
    `coordinator` is needed where the folder has lost its `id`, or where the table is reached by an endpoint.
    """
    facts: dict[str, Any] = ask(_native.recover, database, coordinator, commit, take_over_home, dry_run)
    candidates = tuple(FoundVersion(*found) for found in facts["candidates"])
    more = {"candidates": candidates, "kept": FoundVersion(*facts["kept"]), "lost": tuple(facts["lost"])}
    return Recovered(**{**facts, **more})


def detach(database: Path, *, coordinator: str | None = None) -> int | None:
    """Leave Seawall: write the newest version as NAME, a plain SQLite file, and remove the folder with its history.

    Returns the version that NAME has; None if an earlier call, which was cut short, had done all but removing the
    folder. Programs that still have the database open get an error that says what happened.
    """
    version: int | None = ask(_native.detach, database, coordinator)
    return version


@dataclass(frozen=True)
class Moved:
    """What a move found, and did or would do."""

    source: str
    """The coordinator that the database had; the new one, if it was there already."""
    to: str
    """The coordinator that it has now."""
    newest: int
    """The newest version that was found."""
    version: int | None
    """The version that is the newest now; None in a dry run."""


def move(database: Path, *, to: str, dry_run: bool = False, coordinator: str | None = None) -> Moved:
    """Give the database another coordinator: `to` is `fs:` or `dynamodb://TABLE?region=REGION`.

    A move that was cut short is finished by calling this again; `recover` undoes it. Programs that still have the
    database open get an error that says where it is. With `dry_run` it is only checked that it can be done.
    """
    return Moved(*ask(_native.move_to, database, coordinator, to, dry_run))


def restore(database: Path, source: Path, *, coordinator: str | None = None) -> int:
    """Make `source`, a plain SQLite file, the newest version, in one commit. Returns the version.

    `source` may be what was put at NAME itself; it is moved aside then, and NAME is written again. A file that is
    marked as Seawall's, as NAME itself is, is refused: it is as old as the last checkpoint.
    """
    return int(ask(_native.restore, database, os.fsdecode(source), coordinator))


def refresh(database: Path, *, coordinator: str | None = None) -> str | None:
    """Write NAME again: the copy of the newest version that stock SQLite can read.

    Returns where what lay there was moved to; None if nothing lay there but an earlier copy.
    """
    moved = ask(_native.refresh, database, coordinator)
    return None if moved is None else os.fsdecode(moved)


def adopt(database: Path, *, new_id: bool = False, coordinator: str | None = None) -> str | None:
    """Make a database of what opening alone does not adopt: of a NAME whose folder is lost.

    With `new_id`: of a folder that was copied or restored together with NAME. It begins a history of its own. Returns
    where the copied folder was moved to.
    """
    moved = ask(_native.adopt, database, coordinator, new_id)
    return None if moved is None else os.fsdecode(moved)
