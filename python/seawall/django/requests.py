"""Web requests as the unit of freshness: Django's signals say when one begins and ends.

Django sends both in the thread in which the request's queries run, under WSGI and ASGI alike.
"""

from __future__ import annotations

from typing import Any

from django.core.signals import request_finished, request_started

import seawall


def watch() -> None:
    """Mark the beginning and end of every request from now on."""
    request_started.connect(_begin, dispatch_uid="seawall.begin_request")
    request_finished.connect(_end, dispatch_uid="seawall.end_request")


def _begin(**signal: Any) -> None:
    seawall.begin_request()


def _end(**signal: Any) -> None:
    seawall.end_request()
