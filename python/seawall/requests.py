"""Requests, for connections with `freshness="request"`: one load of the head serves a whole request."""

from __future__ import annotations

from . import _native
from .registration import say_when_it_ends


def begin_request() -> None:
    """Mark the beginning of a request on this thread.

    Its connections with freshness `"request"` see all commits up to now, and their own. When this returns, the load of
    the head is in flight.
    """
    say_when_it_ends()
    _native.begin_request()


def end_request() -> None:
    """Mark the end of this thread's request. Outside of requests every transaction asks the coordinator.

    On AWS Lambda, where the process sleeps afterwards, this first gives back the writer's lease, if it still has one.
    """
    _native.end_request()
