"""What a database needs to live for years: checkpoints, garbage collection, its policy, and pins.

Processes that live long and commit do this by themselves, in the background (`upkeep=` in `connect`). These functions
are for the others: short programs, AWS Lambda, a schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from . import _native
from .connection import Path
from .facts import Floor, ask, which

_WEEK = timedelta(days=7)


@dataclass(frozen=True)
class Files:
    """A number of files, and their bytes."""

    files: int
    """How many."""
    bytes: int
    """Their bytes together."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint did."""

    version: int
    """The version that the new base holds."""
    pages: int
    """Its pages."""
    bytes: int
    """Its bytes."""
    name_not_renewed: str | None
    """Why NAME was not renewed, if it was not. The base is there all the same."""


@dataclass(frozen=True)
class Collected:
    """What a garbage collection did, or would do."""

    floor: Floor
    """The oldest version that is still promised."""
    deleted: Files
    """What was deleted; in a dry run, what would be."""
    names: int
    """Names of old versions that were taken out of `commits/`."""
    kept: Mapping[str, Files]
    """What was kept, by the reason: `newest`, `history`, `pin`, `evidence`, `young`."""
    unknown: tuple[str, ...]
    """Files in the folder that are not Seawall's. They stay."""
    not_deleted: tuple[str, ...]
    """Files that could not be deleted, each with the reason. The next collection tries again."""
    postponed: Files
    """What was not deleted because there was no time left. The next collection goes on."""
    history_bytes: int
    """What history takes: the bytes of the log and of superseded bases that stay."""
    is_cut: bool
    """Whether history is shorter than the policy's time, because it took more than the policy's bytes."""


@dataclass(frozen=True)
class Policy:
    """How long a database's history is kept, and when a checkpoint is due. It counts for all machines."""

    history: timedelta = timedelta(hours=24)
    """How long history is kept; at least 15 minutes."""
    history_bytes: int | None = None
    """The oldest history goes first where all of it takes more bytes than this, but for the last 15 minutes."""
    checkpoint_at: int = 64 << 20
    """A checkpoint is due once the log has more bytes than this, and than the base; at least 1 MiB."""


@dataclass(frozen=True)
class Pin:
    """A version that is kept although it becomes older than history."""

    name: str
    """The pin's name."""
    version: int
    """The version that it keeps."""
    time: int
    """Milliseconds since 1970 of that version; 0 for version 0."""
    by: str
    """Who keeps it: `person`, or `checkpoint` or `verification` for one that is at work."""
    until: int
    """When it ends, in milliseconds since 1970, by the file server's clock."""


def checkpoint(
    database: Path,
    *,
    if_due: bool = False,
    progress: Callable[[int, int], object] | None = None,
    coordinator: str | None = None,
) -> Checkpoint | None:
    """Make the newest version a base, so that the log before it can be deleted once history is over.

    Readers and writers go on meanwhile. The answer is None if there was nothing to do; with `if_due` also if the log is
    not longer than the base and than the policy's `checkpoint_at`. `progress` is called with the bytes that were
    copied, and how many there are; if it raises, the checkpoint ends and leaves nothing.

    `coordinator` is as for `status`.
    """
    made = ask(_native.checkpoint, database, coordinator, if_due, progress)
    return None if made is None else Checkpoint(*made)


def collect(
    database: Path,
    *,
    dry_run: bool = False,
    max_duration: timedelta | None = None,
    coordinator: str | None = None,
) -> Collected:
    """Delete what neither the newest version needs, nor any inside history, nor a pin.

    With `dry_run` nothing is changed; the answer says what would be deleted. Nothing more is deleted after
    `max_duration`; the next collection goes on. `coordinator` is as for `status`.
    """
    seconds = None if max_duration is None else max_duration.total_seconds()
    if seconds is not None and seconds < 0:
        raise ValueError(f"a longest duration of {max_duration} is negative")
    facts: dict[str, Any] = ask(_native.collect, database, coordinator, dry_run, seconds)
    kept = {why: Files(*files) for why, files in facts["kept"].items()}
    unknown, not_deleted = tuple(facts["unknown"]), tuple(facts["not_deleted"])
    floor, deleted = Floor(*facts["floor"]), Files(*facts["deleted"])
    more = {"floor": floor, "deleted": deleted, "kept": kept, "unknown": unknown, "not_deleted": not_deleted}
    return Collected(**{**facts, **more, "postponed": Files(*facts["postponed"])})


def policy(database: Path, *, coordinator: str | None = None) -> Policy:
    """Return how long a database's history is kept, and when a checkpoint is due. `coordinator` is as for `status`."""
    seconds, history_bytes, checkpoint_at = ask(_native.policy, database, coordinator)
    return Policy(timedelta(seconds=seconds), history_bytes, checkpoint_at)


def set_policy(database: Path, policy: Policy, *, coordinator: str | None = None) -> None:
    """Set how long a database's history is kept, and when a checkpoint is due, for all machines.

    `set_policy(name, dataclasses.replace(policy(name), history=timedelta(days=7)))` changes one of them.
    """
    seconds = int(policy.history.total_seconds())
    if seconds < 0:
        raise ValueError(f"a history of {policy.history} is negative")
    ask(_native.set_policy, database, coordinator, seconds, policy.history_bytes, policy.checkpoint_at)


def pin(
    database: Path,
    name: str,
    *,
    at: int | datetime | None = None,
    length: timedelta = _WEEK,
    coordinator: str | None = None,
) -> Pin:
    """Keep a version for `length`, although it becomes older than history. A pin of that name is replaced.

    It is the newest version, or the one that `at` names: a version's number, or the newest one at a time. `name` is at
    most 40 lower-case letters, digits, `.`, `_` and `-`. `coordinator` is as for `status`.
    """
    seconds = int(length.total_seconds())
    if seconds < 1:
        raise ValueError(f"a length of {length} is shorter than a second, so nothing would be kept")
    return Pin(*ask(_native.pin, database, coordinator, name, *which(at), seconds))


def unpin(database: Path, name: str, *, coordinator: str | None = None) -> bool:
    """Give a pin up. Return whether there was one. `coordinator` is as for `status`."""
    return bool(ask(_native.unpin, database, coordinator, name))


def pins(database: Path, *, coordinator: str | None = None) -> tuple[Pin, ...]:
    """Return all pins, by name. `coordinator` is as for `status`."""
    return tuple(Pin(*facts) for facts in ask(_native.pins, database, coordinator))
