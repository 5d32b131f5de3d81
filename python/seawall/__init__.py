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
    NeedsRecovery,
    NoDatabase,
    NotADatabase,
    OutcomeUnknown,
    PermissionDenied,
    SeawallError,
    SnapshotTooOld,
    StaleSnapshot,
    StorageFailed,
    Superseded,
)
from .facts import Counts, Floor, Status, copy, counts, remove, status
from .registration import extension_path, register
from .requests import begin_request, end_request
from .upkeep import (
    Checkpoint,
    Collected,
    Files,
    Pin,
    Policy,
    checkpoint,
    collect,
    pin,
    pins,
    policy,
    set_policy,
    unpin,
)
from .verification import Finding, Verified, verify

__all__ = [
    "CannotOpen",
    "Checkpoint",
    "Collected",
    "Connection",
    "CoordinatorUnreachable",
    "Counts",
    "Cursor",
    "DatabaseBusy",
    "DatabaseDamaged",
    "DatabaseReadOnly",
    "DiskFull",
    "Files",
    "Finding",
    "Floor",
    "NeedsRecovery",
    "NoDatabase",
    "NotADatabase",
    "OutcomeUnknown",
    "PermissionDenied",
    "Pin",
    "Policy",
    "SeawallError",
    "SnapshotTooOld",
    "StaleSnapshot",
    "Status",
    "StorageFailed",
    "Superseded",
    "Verified",
    "begin_request",
    "checkpoint",
    "collect",
    "connect",
    "connection_class",
    "copy",
    "counts",
    "end_request",
    "extension_path",
    "pin",
    "pins",
    "policy",
    "register",
    "remove",
    "set_policy",
    "status",
    "unpin",
    "uri",
    "verify",
]
