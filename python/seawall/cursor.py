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


@functools.cache
def cursor_class(base: type[sqlite3.Cursor]) -> type[sqlite3.Cursor]:
    """A cursor class like `base`, with Seawall's explanations in its errors."""
    if hasattr(base, "_returned"):
        return base
    same = {"__module__": base.__module__, "__doc__": base.__doc__}
    cls = type(base.__name__, (base,), {**same, "_returned": None, "_executions": 0, "_is_watched": False})
    for name, method in _methods(base).items():
        setattr(cls, name, method)
    return cls


def _methods(base: Any) -> dict[str, Callable[..., Any]]:
    """The methods that use the database.

    SQLite commits `INSERT … RETURNING` outside of a transaction when it resets the statement, after the last row.
    Python's sqlite3 reports the error of that reset only to a program that reads all rows. A program that reads the
    first row only, or none, would not notice that the commit failed. Therefore `execute()` reads these rows, which
    SQLite itself collects before it returns the first one, and keeps them in `_returned` for the fetch methods. A class
    that fetches in its own way is left to do so.
    """
    executes, own_fetchmany = base.execute, explained(base.fetchmany)
    fetches_itself = {name for name in FETCHING if isinstance(getattr(base, name), types.FunctionType)}

    @functools.wraps(executes)
    def execute(self: Any, sql: str, *parameters: Any) -> Any:
        # Every statement passes here, therefore the rest is done only for a cursor that needs it.
        if self._is_watched:
            self._watch()
        try:
            result = executes(self, sql, *parameters)
            if (
                _may_return(sql)
                and self.description is not None
                and not fetches_itself
                and not self.connection.in_transaction
            ):
                self._returned = iter(base.fetchall(self))
                self._is_watched = True
        except Exception as error:
            errors.explain(error)
            raise
        return result

    def watch(self: Any) -> None:
        """Another statement is executed: forget the rows of the one before."""
        self._returned = None
        self._executions += 1
        self._is_watched = True

    @functools.wraps(base.close)
    def close(self: Any) -> None:
        self._returned = None
        base.close(self)

    def forgetting(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def executes(self: Any, *arguments: Any) -> Any:
            self._watch()
            return method(self, *arguments)

        return explained(executes)

    def rows(self: Any) -> Iterator[Any]:
        """Iterate without a Python call for each row. After another statement, go on with the rows of that one."""
        execution = None
        self._is_watched = True
        try:
            while execution != self._executions:
                execution = self._executions
                # StopIteration from a step ends it. The second argument is a value that no row equals.
                rows = self._returned or iter(functools.partial(base.__next__, self), _methods)
                for row in rows:
                    yield row
                    if execution != self._executions:
                        break
        except Exception as error:
            errors.explain(error)
            raise

    @functools.wraps(base.fetchmany)
    def fetchmany(self: Any, *size: Any, **named: Any) -> Any:
        if self._returned is None:
            return own_fetchmany(self, *size, **named)
        (many,) = size or named.values() or (self.arraysize,)
        return list(self._returned if many < 0 else itertools.islice(self._returned, many))

    methods: dict[str, Callable[..., Any]] = {
        "_watch": watch,
        "execute": execute,
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


@functools.lru_cache(maxsize=1024)
def _may_return(sql: str) -> bool:
    return RETURNING.search(sql) is not None


def _fetching(method: Callable[[Any], Any], kept: Callable[[Iterator[Any]], Any]) -> Callable[[Any], Any]:
    """`method`, with explained errors; or `kept`, if `execute()` has read the rows already."""

    @functools.wraps(method)
    def fetch(self: Any) -> Any:
        if self._returned is not None:
            return kept(self._returned)
        try:
            return method(self)
        except Exception as error:
            errors.explain(error)
            raise

    return fetch
