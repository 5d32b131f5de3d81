"""Requests, for connections with `freshness="request"`: one load of the head serves a whole request."""

from __future__ import annotations

from . import _native
from .registration import say_when_it_ends


def begin_request(route: str | None = None) -> None:
    """Mark the beginning of a request on this thread.

    Its connections with freshness `"request"` see all commits up to now, and their own. When this returns, the load of
    the head is in flight.

    `route` is a name for all requests that do the same work. If the last one of them wrote a database within 30 ms, and
    nobody else writes it now, then the writer's lease is asked for as well, so that the request's transaction need not
    wait for it. A lease that is not used goes back after 25 ms, or when the request ends. `connect(lease_ahead=False)`
    turns this off.
    """
    say_when_it_ends()
    _native.begin_request(route)


def end_request() -> None:
    """Mark the end of this thread's request. Outside of requests every transaction asks the coordinator.

    A writer's lease that it asked for when it began, and has not used, goes back. On AWS Lambda, where the process
    sleeps afterwards, every lease goes back before this returns.
    """
    _native.end_request()
