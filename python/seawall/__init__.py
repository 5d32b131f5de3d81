"""Seawall: one SQLite database on a shared file system, safe and fast for many machines at once.

`seawall.connect("db.sqlite3")` gives a `sqlite3.Connection`. After `seawall.register()`, any code that uses
`sqlite3` can open `file:db.sqlite3?vfs=seawall`.
"""

from .connection import Connection, Cursor, connect, connection_class, uri
from .errors import (
    CannotOpen,
    CoordinatorUnreachable,
    DatabaseBusy,
    DatabaseDamaged,
    DatabaseReadOnly,
    DiskFull,
    NotADatabase,
    OutcomeUnknown,
    PermissionDenied,
    SeawallError,
    SnapshotTooOld,
    StaleSnapshot,
    StorageFailed,
    Superseded,
)
from .facts import Counts, Status, copy, counts, remove, status
from .registration import extension_path, register
from .requests import begin_request, end_request

__all__ = [
    "CannotOpen",
    "Connection",
    "CoordinatorUnreachable",
    "Counts",
    "Cursor",
    "DatabaseBusy",
    "DatabaseDamaged",
    "DatabaseReadOnly",
    "DiskFull",
    "NotADatabase",
    "OutcomeUnknown",
    "PermissionDenied",
    "SeawallError",
    "SnapshotTooOld",
    "StaleSnapshot",
    "Status",
    "StorageFailed",
    "Superseded",
    "begin_request",
    "connect",
    "connection_class",
    "copy",
    "counts",
    "end_request",
    "extension_path",
    "register",
    "remove",
    "status",
    "uri",
]
