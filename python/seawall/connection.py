"""Connections: Python's own `sqlite3.Connection`, on a Seawall database, with Seawall's explanations in its errors."""

from __future__ import annotations

import functools
import os
import sqlite3
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, quote, urlencode

from . import errors
from .cursor import RETURNS_NOTHING, cursor_class, explained, may_return
from .registration import register

Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]

_METHODS = ("__init__", "__exit__", "commit", "rollback", "backup", "blobopen", "executemany", "executescript")
"""The methods that use the database, except `execute`, which is a cursor's."""


@functools.cache
def connection_class(module: ModuleType = sqlite3) -> type[sqlite3.Connection]:
    """The connection class for a module like `sqlite3`, for use as its `connect()`'s factory."""
    default, own_cursor = cursor_class(module.Cursor), module.Connection.cursor
    own_execute = module.Cursor.execute

    def cursor(self: Any, factory: Any = default) -> Any:
        """Make a cursor of a class like `factory`, with Seawall's explanations in its errors."""
        if not (isinstance(factory, type) and issubclass(factory, module.Cursor)):
            return own_cursor(self, factory)
        made = own_cursor(self, cursor_class(factory))
        # CPython finds what an instance has itself in no time, and what its class has only by a search.
        made._watched = None
        return made

    # The module's own makes a cursor of the module's own class. This one is as short as it can be, because every
    # statement passes here: it is `cursor(self).execute(sql, parameters)`.
    @functools.wraps(module.Connection.execute)
    def execute(self: Any, sql: str, parameters: Any = (), /) -> Any:
        made: Any = own_cursor(self, default)
        made._watched = None
        try:
            own_execute(made, sql, parameters)
            if sql not in RETURNS_NOTHING and may_return(sql):
                made._keep_returned()
        except Exception as error:
            errors.explain(error)
            raise
        return made

    members = {
        "cursor": cursor,
        "execute": execute,
        "_sqlite_module": module,
        "__module__": __name__,
        "__doc__": module.Connection.__doc__,
    }
    cls = type("Connection", (module.Connection,), members)
    for name in _METHODS:
        if method := getattr(cls, name, None):
            setattr(cls, name, explained(method))
    return cls


if TYPE_CHECKING:

    class Cursor(sqlite3.Cursor):
        """A cursor with Seawall's explanations in its errors."""

    class Connection(sqlite3.Connection):
        """A connection with Seawall's explanations in its errors."""
else:
    Connection = connection_class(sqlite3)
    Cursor = cursor_class(sqlite3.Cursor)


def uri(
    database: Path,
    *,
    coordinator: str | None = None,
    freshness: str | float | None = None,
    lease: float | None = None,
    lease_ahead: bool | None = None,
    legacy_names: Sequence[Path] = (),
    page_cache: int | None = None,
    request_age: float | None = None,
    timeout: float | None = None,
    upkeep: bool | None = None,
    mode: str | None = None,
) -> str:
    """Build the URI that opens `database` through Seawall.

    A parameter that is left out keeps its default. `database` may be such a URI already (`file:…`). Then the URI's own
    parameters take precedence over those given here.
    """
    given = {
        "vfs": "seawall",
        "coordinator": coordinator,
        "freshness": freshness,
        "lease": lease,
        "lease_ahead": None if lease_ahead is None else int(lease_ahead),
        "legacy_names": b"\n".join(map(os.fsencode, legacy_names)) or None,
        "page_cache": page_cache,
        "request_age": request_age,
        "timeout": timeout,
        "upkeep": None if upkeep is None else int(upkeep),
        "mode": mode,
    }
    return _uri(os.fsencode(database), tuple((key, value) for key, value in given.items() if value is not None))


@functools.lru_cache(maxsize=64)
def _uri(name: bytes, given: tuple[tuple[str, Any], ...]) -> str:
    """The URI for a path or a URI. A program that connects for each request asks for the same one every time."""
    path, own = quote(name), {}
    if name.startswith(b"file:"):
        path, _, query = os.fsdecode(name).removeprefix("file:").partition("?")
        own = dict(parse_qsl(query.partition("#")[0], keep_blank_values=True))
    elif path.startswith("//"):
        # Two slashes would begin a host name.
        path = "/" + path.lstrip("/")
    parameters = dict(given) | own
    return f"file:{path}?{urlencode(parameters, quote_via=quote)}"


def connect(
    database: Path,
    *,
    coordinator: str = "fs:",
    timeout: float = 5.0,
    freshness: str | float = "transaction",
    lease: float | None = None,
    lease_ahead: bool = True,
    legacy_names: Sequence[Path] = (),
    page_cache: int | None = None,
    request_age: float | None = None,
    upkeep: bool = True,
    factory: type[sqlite3.Connection] | None = None,
    **kwargs: Any,
) -> Connection:
    """Open a database that many machines share, as a `sqlite3.Connection`.

    The first use adopts a plain SQLite file where it is, and creates a file that does not exist. SQLite itself handles
    `:memory:` and `""`.

    - `coordinator` orders the commits: `fs:` is the file system itself, `dynamodb://TABLE?region=REGION` an item in an
      Amazon DynamoDB table.
    - `timeout`: for how many seconds a writer waits for others.
    - `freshness`: with `"transaction"` every transaction sees all commits from before it began. With `"request"` it
      sees all commits from before the request began (`begin_request`), and, in a long request, all that are older than
      `request_age`. With a number it may miss commits of at most that many last seconds.
    - `request_age`: in a request, an answer of the coordinator serves for this many seconds (default 1).
    - `lease`: after how many seconds of silence a writer counts as dead, from 0.1 to 3600.
    - `lease_ahead`: whether a commit makes later requests of the same route (`begin_request`) ask for the lease when
      they begin, if its transaction began within 30 ms of its own request.
    - `legacy_names`: other paths by which clients of django-sqlite-efs know the database. Once the database is adopted,
      their writes are refused.
    - `page_cache`: how many bytes of the database's pages this process keeps in memory.
    - `upkeep`: whether this process makes checkpoints and collects garbage in the background, as the database's policy
      says. On AWS Lambda it never does. The first connection of a process to a database decides.
    - `factory`: another connection class; `connection_class(module)` makes one for a module like `sqlite3`.

    Other arguments are as in `sqlite3.connect`.
    """
    factory = Connection if factory is None else factory
    if _is_for_sqlite(database):
        return cast(Connection, factory(database, timeout=timeout, **kwargs))
    register(getattr(factory, "_sqlite_module", sqlite3))
    opened = uri(
        database,
        coordinator=coordinator,
        freshness=freshness,
        lease=lease,
        lease_ahead=None if lease_ahead else False,
        legacy_names=legacy_names,
        page_cache=page_cache,
        request_age=request_age,
        timeout=timeout,
        upkeep=None if upkeep else False,
    )
    return cast(Connection, factory(opened, timeout=timeout, **kwargs | {"uri": True}))


def _is_for_sqlite(database: Path) -> bool:
    """Whether this is a database in memory, or a temporary one."""
    name = os.fsdecode(database)
    path, _, query = name.partition("?")
    return name in ("", ":memory:") or path == "file::memory:" or (path[:5] == "file:" and "mode=memory" in query)
