"""Web requests as the unit of freshness: Django's signals say when one begins and ends.

Django sends both in the thread in which the request's queries run, under WSGI and ASGI alike.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django.core.signals import request_finished, request_started

import seawall

WRITING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
"""The methods whose requests probably write."""

_DIGIT = re.compile(r"\d")


def watch() -> None:
    """Mark the beginning and end of every request from now on."""
    request_started.connect(_begin, dispatch_uid="seawall.begin_request")
    request_finished.connect(_end, dispatch_uid="seawall.end_request")


def route(environ: Mapping[str, Any] | None, scope: Mapping[str, Any] | None) -> str | None:
    """Return the route of a request that probably writes: WSGI passes `environ`, and ASGI `scope`.

    It is the method and the path, in which parts with digits count as one: they are keys. The URLconf would know
    better, but asking it runs the application's converters.
    """
    if environ is not None:
        method, path = environ.get("REQUEST_METHOD"), environ.get("PATH_INFO")
    elif scope is not None:
        method, path = scope.get("method"), scope.get("path")
    else:
        return None
    if method not in WRITING:
        return None
    # Anybody can send a path of any length.
    parts = ["#" if _DIGIT.search(part) else part for part in str(path).split("/")]
    return f"{method} {'/'.join(parts)}"


def _begin(environ: Mapping[str, Any] | None = None, scope: Mapping[str, Any] | None = None, **signal: Any) -> None:
    seawall.begin_request(route(environ, scope))


def _end(**signal: Any) -> None:
    seawall.end_request()
