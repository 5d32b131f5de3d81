"""What can go wrong, as exceptions: the design's table "Errors".

Each class is also the class that Python's `sqlite3` raises for the same SQLite code, and has the same
`sqlite_errorcode` and `sqlite_errorname`: code that catches `sqlite3.OperationalError` goes on working. The text begins
with SQLite's own ("database is locked") and goes on with what happened, what was kept and what to do.
"""

from __future__ import annotations

import functools
import sqlite3

from . import _native


class SeawallError(sqlite3.DatabaseError):
    """Any error that Seawall has words for."""


class DatabaseBusy(SeawallError, sqlite3.OperationalError):
    """The lease was not had within the timeout. Nothing was written; try again."""


class StaleSnapshot(DatabaseBusy):
    """The first write of a transaction that has read an older version. Nothing was written; begin anew."""


class Superseded(SeawallError, sqlite3.OperationalError):
    """The lease was lost, and another commit went first. Nothing was written; try again."""


class CoordinatorUnreachable(SeawallError, sqlite3.OperationalError):
    """The coordinator could not be asked. Nothing was written."""


class OutcomeUnknown(SeawallError, sqlite3.OperationalError):
    """A commit was sent, and no answer says whether it took place."""

    commit_id: str | None = None
    """The commit's id: it is in the history, or it is not."""


class SnapshotTooOld(SeawallError, sqlite3.OperationalError):
    """A read transaction outlived the retention. Nothing is lost; begin a new one."""


class DatabaseDamaged(SeawallError):
    """A checksum does not fit, or a file is missing."""


class DiskFull(SeawallError, sqlite3.OperationalError):
    """No space left. Nothing was written."""


class CannotOpen(SeawallError, sqlite3.OperationalError):
    """The database cannot be opened, or not like this; the text has the way out."""


class NotADatabase(SeawallError):
    """What lies there is no SQLite database. It was not touched."""


class PermissionDenied(SeawallError, sqlite3.OperationalError):
    """The file system does not allow it. Nothing was written."""


class DatabaseReadOnly(SeawallError, sqlite3.OperationalError):
    """The database, or its file system, is read-only. Nothing was written."""


class StorageFailed(SeawallError, sqlite3.OperationalError):
    """Any other failure of the file system. Nothing was written."""


_CLASSES: dict[str, type[SeawallError]] = {
    "Busy": DatabaseBusy,
    "StaleSnapshot": StaleSnapshot,
    "Superseded": Superseded,
    "Unreachable": CoordinatorUnreachable,
    "OutcomeUnknown": OutcomeUnknown,
    "SnapshotTooOld": SnapshotTooOld,
    "Corrupt": DatabaseDamaged,
    "Full": DiskFull,
    "CannotOpen": CannotOpen,
    "NotADatabase": NotADatabase,
    "Permission": PermissionDenied,
    "ReadOnly": DatabaseReadOnly,
    "Io": StorageFailed,
}
"""The engine's kinds."""

_PRIMARY_CODE = 0xFF


@functools.cache
def _class_for(kind: str, like: type[Exception]) -> type[Exception]:
    """The class for `kind` that is also a `like`: other modules than `sqlite3` have exceptions of their own."""
    own = _CLASSES[kind]
    if issubclass(own, like):
        return own
    return type(own.__name__, (own, like), {"__module__": own.__module__, "__doc__": own.__doc__})


def explained(error: Exception) -> Exception | None:
    """The exception to raise instead of SQLite's `error`, if Seawall knows more about it."""
    failure = _native.take_failure()
    seen: int | None = getattr(error, "sqlite_errorcode", None)
    if failure is None or seen is None:
        return None
    code, kind, commit, text = failure
    if seen & _PRIMARY_CODE != code & _PRIMARY_CODE:
        # The memory of an earlier failure, which SQLite itself got over.
        return None
    cls = type(error) if kind is None else _class_for(kind, type(error))  # type: ignore[arg-type]  # classes are hashable
    explanation = cls(f"{error}: {text}")
    for name in ("sqlite_errorcode", "sqlite_errorname"):
        setattr(explanation, name, getattr(error, name))
    if isinstance(explanation, OutcomeUnknown):
        explanation.commit_id = commit
    return explanation


def raised(failed: _native.Failed) -> Exception:
    """The exception for a failure outside of any connection."""
    _code, kind, _commit, text = failed.args
    return (SeawallError if kind is None else _CLASSES[kind])(text)
