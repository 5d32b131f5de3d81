"""Cursors: Python's own, with Seawall's explanations in their errors. Every failed commit raises."""

from __future__ import annotations

import functools
import itertools
import re
import sqlite3
import types
from collections.abc import Callable, Iterator
from typing import Any

from . import errors

RETURNING = re.compile(r"\bRETURNING\b", re.IGNORECASE)
RETURNS_NOTHING: set[str] = set()
"""Texts of statements without RETURNING, because programs execute the same ones again and again."""
MANY, LONG = 1024, 4096
"""So many texts are remembered, and none with more letters than that."""
FETCHING = ("__iter__", "__next__", "fetchone", "fetchmany", "fetchall")


def explained(method: Callable[..., Any]) -> Callable[..., Any]:
    """`method`, with Seawall's explanations in its errors."""

    @functools.wraps(method)
    def explained(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except Exception as error:
            errors.explain(error)
            raise

    return explained


class Watched:
    """What is known of a cursor that needs more than Python's own does."""

    __slots__ = ("executions", "returned")

    def __init__(self) -> None:
        self.executions = 0
        """How many statements it has executed since it is watched."""
        self.returned: Iterator[Any] | None = None
        """The rows that `execute()` has read already."""


@functools.cache
def cursor_class(base: type[sqlite3.Cursor]) -> type[sqlite3.Cursor]:
    """A cursor class like `base`, with Seawall's explanations in its errors."""
    if hasattr(base, "_watched"):
        return base
    cls = type(base.__name__, (base,), {"__module__": base.__module__, "__doc__": base.__doc__, "_watched": None})
    for name, method in _methods(base).items():
        setattr(cls, name, method)
    return cls


def _methods(base: Any) -> dict[str, Callable[..., Any]]:
    """The methods that use the database.

    SQLite commits `INSERT … RETURNING` outside of a transaction when it resets the statement, after the last row.
    Python's sqlite3 reports the error of that reset only to a program that reads all rows. A program that reads the
    first row only, or none, would not notice that the commit failed. Therefore `execute()` reads these rows, which
    SQLite itself collects before it returns the first one, and keeps them for the fetch methods. A class that fetches
    in its own way is left to do so.
    """
    executes, own_fetchmany = base.execute, explained(base.fetchmany)
    fetches_itself = {name for name in FETCHING if _is_in_python(getattr(base, name))}

    # Every statement passes here, therefore the rest is done only for a cursor that needs it.
    def execute(self: Any, sql: str, parameters: Any = (), /) -> Any:
        if self._watched is not None:
            self._execute_again()
        try:
            result = executes(self, sql, parameters)
            if sql not in RETURNS_NOTHING and may_return(sql):
                self._keep_returned()
        except Exception as error:
            errors.explain(error)
            raise
        return result

    def execute_its_way(self: Any, sql: str, *parameters: Any) -> Any:
        """For a class that executes in its own way, no parameters may not be the same as empty ones."""
        if self._watched is not None:
            self._execute_again()
        try:
            result = executes(self, sql, *parameters)
            if sql not in RETURNS_NOTHING and may_return(sql):
                self._keep_returned()
        except Exception as error:
            errors.explain(error)
            raise
        return result

    def watch(self: Any) -> Watched:
        if self._watched is None:
            self._watched = Watched()
        watched: Watched = self._watched
        return watched

    def keep_returned(self: Any) -> None:
        """Read and keep the rows, if the statement has returned any and has committed them."""
        if self.description is not None and not fetches_itself and not self.connection.in_transaction:
            watch(self).returned = iter(base.fetchall(self))

    def execute_again(self: Any) -> None:
        """Another statement is executed: forget the rows of the one before."""
        self._watched.returned = None
        self._watched.executions += 1

    @functools.wraps(base.close)
    def close(self: Any) -> None:
        self._watched = None
        base.close(self)

    def forgetting(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def executes(self: Any, *arguments: Any) -> Any:
            if self._watched is not None:
                self._execute_again()
            return method(self, *arguments)

        return explained(executes)

    def rows(self: Any) -> Iterator[Any]:
        """Iterate without a Python call for each row. After another statement, go on with the rows of that one."""
        execution = None
        watched = watch(self)
        try:
            while execution != watched.executions:
                execution = watched.executions
                # StopIteration from a step ends it. The second argument is a value that no row equals.
                rows = watched.returned or iter(functools.partial(base.__next__, self), _methods)
                for row in rows:
                    yield row
                    if execution != watched.executions:
                        break
        except Exception as error:
            errors.explain(error)
            raise

    @functools.wraps(base.fetchmany)
    def fetchmany(self: Any, *size: Any, **named: Any) -> Any:
        if self._watched is None or self._watched.returned is None:
            return own_fetchmany(self, *size, **named)
        (many,) = size or named.values() or (self.arraysize,)
        returned = self._watched.returned
        return list(returned if many < 0 else itertools.islice(returned, many))

    methods: dict[str, Callable[..., Any]] = {
        "_execute_again": execute_again,
        "_keep_returned": keep_returned,
        "execute": functools.wraps(executes)(execute_its_way if _is_in_python(executes) else execute),
        "executemany": forgetting(base.executemany),
        "executescript": forgetting(base.executescript),
        "close": close,
        "__iter__": rows,
        "__next__": _fetching(base.__next__, next),
        "fetchone": _fetching(base.fetchone, lambda returned: next(returned, None)),
        "fetchmany": fetchmany,
        "fetchall": _fetching(base.fetchall, list),
    }
    return {name: method for name, method in methods.items() if name not in fetches_itself}


def _is_in_python(method: object) -> bool:
    return isinstance(method, types.FunctionType)


def may_return(sql: str) -> bool:
    """Whether a statement may return rows that it has changed; `sql` is not in `RETURNS_NOTHING`."""
    if RETURNING.search(sql):
        return True
    if len(sql) <= LONG:
        if len(RETURNS_NOTHING) >= MANY:
            RETURNS_NOTHING.clear()
        RETURNS_NOTHING.add(sql)
    return False


def _fetching(method: Callable[[Any], Any], kept: Callable[[Iterator[Any]], Any]) -> Callable[[Any], Any]:
    """`method`, with explained errors; or `kept`, if `execute()` has read the rows already."""

    @functools.wraps(method)
    def fetch(self: Any) -> Any:
        if self._watched is not None and self._watched.returned is not None:
            return kept(self._watched.returned)
        try:
            return method(self)
        except Exception as error:
            errors.explain(error)
            raise

    return fetch
