"""System checks: settings that are wrong, unknown, or in the wrong place.

They read only the settings, so that every `manage.py` command can run them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as Doubt

from .options import OWN, SETTINGS, STOCK, TRANSACTION_MODES, find

_KNOWN = sorted(OWN | STOCK)


def check_settings(settings_dict: Mapping[str, Any]) -> Iterator[CheckMessage]:
    """Everything that is wrong in one entry of `DATABASES`."""
    yield from wrong_values(settings_dict)
    yield from unknown_options(settings_dict)
    yield from _misplaced_options(settings_dict)
    yield from _doubtful_settings(settings_dict)


def wrong_values(settings_dict: Mapping[str, Any]) -> Iterator[CheckMessage]:
    """Options of the wrong type, or out of range."""
    for found in find(settings_dict):
        try:
            found.read()
        except ValueError as error:
            yield Error(f"{found.place} {error}.", id="seawall.E001")
    mode = settings_dict["OPTIONS"].get("transaction_mode")
    if mode is not None and str(mode).upper() not in TRANSACTION_MODES:
        text = f"OPTIONS['transaction_mode'] is {mode!r}, which is not one of {TRANSACTION_MODES}."
        yield Error(text, id="seawall.E001")


def unknown_options(settings_dict: Mapping[str, Any]) -> Iterator[CheckMessage]:
    """Keys of OPTIONS that neither Seawall, Django nor sqlite3 knows."""
    for key in settings_dict["OPTIONS"]:
        if key in _KNOWN:
            continue
        if key == "pool":
            hint = "SQLite connections need no pool, because CONN_MAX_AGE keeps them open."
        elif key in SETTINGS:
            hint = f"{key} is a setting or an environment variable of its own."
        elif close := difflib.get_close_matches(str(key).lower(), _KNOWN, n=1):
            hint = f"Did you mean {close[0]!r}?"
        else:
            hint = f"The options are {', '.join(_KNOWN)}."
        yield Error(f"OPTIONS[{key!r}] is not an option.", hint=hint, id="seawall.E002")


def _misplaced_options(settings_dict: Mapping[str, Any]) -> Iterator[CheckMessage]:
    for place, entry in (("", settings_dict), ("TEST", settings_dict["TEST"])):
        for key, value in entry.items():
            # AUTOCOMMIT is Django's, and sqlite3 has an option of the same name.
            if key.lower() in _KNOWN and key != "AUTOCOMMIT":
                where = f"{place}[{key!r}]" if place else repr(key)
                yield Error(
                    f"{where} has no effect where it is, because it is an option.",
                    hint=f"Move it into OPTIONS: {{{key.lower()!r}: {value!r}}}.",
                    id="seawall.E003",
                )


def _doubtful_settings(settings_dict: Mapping[str, Any]) -> Iterator[CheckMessage]:
    mode = settings_dict["OPTIONS"].get("transaction_mode", "IMMEDIATE")
    if settings_dict["ATOMIC_REQUESTS"] and mode is not None and mode.upper() != "DEFERRED":
        yield Doubt(
            "ATOMIC_REQUESTS makes every request a write transaction. Therefore requests that only read wait for each "
            "other, too.",
            hint="Use atomic() where a view writes, or transaction_mode 'DEFERRED'.",
            id="seawall.W001",
        )
