"""One database's options, from `DATABASES`, the settings and the environment.

OPTIONS take precedence over the settings, and the settings over the environment. The dictionaries
of `DATABASES` are read and never written.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from seawall import _native

_BOUNDS = {option: (least, most, expected) for option, least, most, expected in _native.bounds()}
"""The bounds of each number: the engine's own table."""

_COORDINATORS = _native.coordinators()
"""The coordinators: the form of each one's URL, with capitals for what the user fills in, and the settings of other
programs that stand for it, each with what comes before its value in the URL."""

TRANSACTION_MODES = ("DEFERRED", "IMMEDIATE", "EXCLUSIVE")
"""How SQLite can begin a transaction."""

DEFAULT_LEASE = 3.0
"""For how many seconds a lease lasts without a renewal (the engine's default)."""


@dataclass(frozen=True)
class Options:
    """The options of one database that are Seawall's own, read and checked."""

    coordinator: str = "fs:"
    timeout: float = 5.0
    freshness: str | float = "request"
    lease: float | None = None
    lease_ahead: bool = True
    legacy_names: tuple[str, ...] = ()
    page_cache: int | None = None
    request_age: float | None = None
    upkeep: bool = True
    exclusive_mode: str = "EXCLUSIVE"

    @classmethod
    def of(cls, settings_dict: Mapping[str, Any]) -> Options:
        """Read the options. Raise ImproperlyConfigured for the first that is wrong."""
        given: dict[str, Any] = {}
        for found in find(settings_dict):
            try:
                given[found.option] = found.read()
            except ValueError as error:
                raise ImproperlyConfigured(f"{found.place} {error}") from None
        return cls(**given)


Sources = tuple[dict[str, Any], list[Any]]


def sources(settings_dict: Mapping[str, Any]) -> Sources:
    """Everything that options are read from: OPTIONS, and the settings and variables that stand for one."""
    named = [getattr(settings, name, None) for name in _NAMES]
    return settings_dict["OPTIONS"], named + [os.environ.get(name) for name in _NAMES]


@dataclass(frozen=True)
class Found:
    """An option that is given, its place, and how to read it."""

    option: str
    place: str
    value: Any
    reader: Callable[[Any], Any]

    def read(self) -> Any:
        """Return the value to use. A ValueError says what is wrong with the given one."""
        return self.reader(self.value)


def find(settings_dict: Mapping[str, Any]) -> Iterator[Found]:
    """For each of Seawall's options that is given, the place that takes precedence."""
    for option in _READERS:
        found = next(_places(option, settings_dict), None)
        if found is not None:
            yield found


def _places(option: str, settings_dict: Mapping[str, Any]) -> Iterator[Found]:
    value = settings_dict.get("OPTIONS", {}).get(option)
    if value is not None:
        yield Found(option, f"OPTIONS[{option!r}]", value, _READERS[option])
    for name, reader in _SETTINGS.get(option, {}).items():
        value = getattr(settings, name, None)
        if value not in (None, ""):
            yield Found(option, f"settings.{name}", value, reader)
    for name, reader in _SETTINGS.get(option, {}).items():
        value = os.environ.get(name)
        if value:
            yield Found(option, f"the environment variable {name}", value, reader)


def _bounded(option: str) -> Callable[[Any], float]:
    """Read a number within the bounds that the engine has for `option`."""
    least, most, expected = _BOUNDS[option]

    def read(value: Any) -> float:
        number = _number(value)
        if number is None or not least <= number <= most:
            raise ValueError(f"is {value!r}, which is not {expected}")
        return number

    return read


def _expiration(value: Any) -> float:
    """Read how long django-sqlite-efs's lock lasts. A lease can be shorter, because it is renewed."""
    number = _number(value)
    return _bounded("lease")(value if number is None else min(number, DEFAULT_LEASE))


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, list | tuple) and all(isinstance(name, str | bytes | os.PathLike) for name in value):
        return tuple(map(os.fsdecode, value))
    raise ValueError(f"is {value!r}, which is not a list of paths")


def _freshness(value: Any) -> str | float:
    if value in ("request", "transaction"):
        return str(value)
    try:
        return _bounded("freshness")(value)
    except ValueError as error:
        raise ValueError(f"{error}, and not 'request' or 'transaction'") from None


def _bytes(value: Any) -> int:
    number = _bounded("page_cache")(value)
    if number != int(number):
        raise ValueError(f"is {value!r}, which is not a whole number of bytes")
    return int(number)


def _switch(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError(f"is {value!r}, which is not True or False")


def _mode(value: Any) -> str:
    if isinstance(value, str) and value.upper() in TRANSACTION_MODES:
        return value.upper()
    raise ValueError(f"is {value!r}, which is not one of {TRANSACTION_MODES}")


def _number(value: Any) -> float | None:
    """Read a finite number, which may be text, as in environment variables."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _coordinator(value: Any) -> str:
    forms = [form for form, _ in _COORDINATORS]
    if isinstance(value, str) and any(_has_form(value, form) for form in forms):
        return value
    # The text after the scheme may contain a password.
    shown = f"{value.partition(':')[0]}:…" if isinstance(value, str) and ":" in value else value
    raise ValueError(f"is {shown!r}, which names no coordinator: use {' or '.join(map(repr, forms))}")


def _has_form(url: str, form: str) -> bool:
    """Whether a coordinator's URL is what `form` says. What capitals stand for is not empty."""
    fixed = form.rstrip(ascii_uppercase)
    return url == fixed if fixed == form else re.match(f"{re.escape(fixed)}[^/?#]", url) is not None


def _after(prefix: str) -> Callable[[Any], str]:
    """Read a coordinator from what follows `prefix` in its URL."""
    return lambda value: _coordinator(f"{prefix}{value}")


# Each of Seawall's options, and how it is read.
_READERS: dict[str, Callable[[Any], Any]] = {
    "coordinator": _coordinator,
    "timeout": _bounded("timeout"),
    "freshness": _freshness,
    "lease": _bounded("lease"),
    "lease_ahead": _switch,
    "legacy_names": _names,
    "page_cache": _bytes,
    "request_age": _bounded("request_age"),
    "upkeep": _switch,
    "exclusive_mode": _mode,
}

# The settings, and environment variables, that stand for an option. Seawall's own take precedence
# over django-sqlite-efs's. (Its SQLITE_LOCK_MAX_ATTEMPTS is ignored, because the timeout decides.)
_SETTINGS: dict[str, dict[str, Callable[[Any], Any]]] = {
    "coordinator": {
        "SEAWALL_COORDINATOR": _coordinator,
        **{name: _after(prefix) for _, names in _COORDINATORS for name, prefix in names},
    },
    "lease": {"SQLITE_LOCK_EXPIRATION": _expiration},
}

_NAMES = [name for names in _SETTINGS.values() for name in names]

OWN = frozenset(_READERS)

# What Django's stock backend reads from OPTIONS, and what it hands on to sqlite3.connect().
STOCK = frozenset(
    {
        "autocommit",
        "cached_statements",
        "check_same_thread",
        "detect_types",
        "factory",
        "init_command",
        "isolation_level",
        "timeout",
        "transaction_mode",
        "uri",
    }
)

# Settings that may also be environment variables.
SETTINGS = frozenset({"SQLITE_LOCK_MAX_ATTEMPTS"}.union(*_SETTINGS.values()))
