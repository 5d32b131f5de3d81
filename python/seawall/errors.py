"""Seawall's exceptions: the design's table "Errors".

Each class is also the class that Python's `sqlite3` raises for the same SQLite code, and has the same
`sqlite_errorcode` and `sqlite_errorname`. Therefore code that catches `sqlite3.OperationalError` keeps working. The
text begins with SQLite's own ("database is locked"). Then it says what happened, what was kept and what to do.
"""

from __future__ import annotations

import functools
import sqlite3

from . import _native


class SeawallError(sqlite3.DatabaseError):
    """Any error that Seawall explains."""


class DatabaseBusy(SeawallError, sqlite3.OperationalError):
    """The writer did not get the lease within the timeout. Nothing was written; try again."""


class StaleSnapshot(DatabaseBusy):
    """A transaction has read a version that is not the newest. Nothing was written; begin it again."""


class Superseded(SeawallError, sqlite3.OperationalError):
    """A commit was refused: another writer took the lease, or committed first. Nothing was written; try again."""


class CoordinatorUnreachable(SeawallError, sqlite3.OperationalError):
    """The coordinator did not answer, or could not do what it was asked. Nothing was written; try again later."""


class OutcomeUnknown(SeawallError, sqlite3.OperationalError):
    """A commit was sent, and the reply was lost. The commit may have taken place or not."""

    commit_id: str | None = None
    """The commit's id. The commit is in the history exactly if it took place."""


class SnapshotTooOld(SeawallError, sqlite3.OperationalError):
    """A read transaction lasted longer than history. Nothing is lost; begin a new one."""


class DatabaseDamaged(SeawallError):
    """A checksum does not fit, or a file is missing."""


class DiskFull(SeawallError, sqlite3.OperationalError):
    """No space left. Nothing was written."""


class CannotOpen(SeawallError, sqlite3.OperationalError):
    """The database cannot be opened, or not in this way. The text says what to do."""


class NoDatabase(CannotOpen):
    """There is no Seawall database, and none may be made there."""


class NeedsRecovery(CannotOpen):
    """The head or the file `id` is lost, damaged, or older than the files. The data is in the files."""


class NotADatabase(SeawallError):
    """The file is not a SQLite database. It was not touched."""


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
    "NoDatabase": NoDatabase,
    "NeedsRecovery": NeedsRecovery,
    "NotADatabase": NotADatabase,
    "Permission": PermissionDenied,
    "ReadOnly": DatabaseReadOnly,
    "Io": StorageFailed,
}
"""The class for each of the engine's kinds of errors."""

_PRIMARY_CODE = 0xFF


@functools.cache
def _class_for(kind: str, like: type[Exception]) -> type[Exception]:
    """The class for `kind` that is also a `like`, because modules other than `sqlite3` have exceptions of their own."""
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
        # The kept failure is an earlier one, from which SQLite itself recovered.
        return None
    cls = type(error) if kind is None else _class_for(kind, type(error))  # type: ignore[arg-type]  # classes are hashable
    explanation = cls(f"{error}: {text}")
    for name in ("sqlite_errorcode", "sqlite_errorname"):
        setattr(explanation, name, getattr(error, name))
    if isinstance(explanation, OutcomeUnknown):
        explanation.commit_id = commit
    return explanation


def explain(error: Exception) -> None:
    """Raise the exception to raise instead of SQLite's `error`, if Seawall knows more about it."""
    if explanation := explained(error):
        raise explanation from None


def raised(failed: _native.Failed) -> Exception:
    """The exception for a failure outside of any connection."""
    _code, kind, _commit, text = failed.args
    return (SeawallError if kind is None else _CLASSES[kind])(text)
