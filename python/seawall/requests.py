"""Requests, for connections with `freshness="request"`: one question to the coordinator serves a whole request."""

from __future__ import annotations

from . import _native


def begin_request() -> None:
    """Mark the beginning of a request on this thread.

    Its connections with freshness `"request"` see all that is committed by now, and what they themselves commit. The
    question for it is on its way when this returns.
    """
    _native.begin_request()


def end_request() -> None:
    """Mark the end of this thread's request: outside of requests every transaction asks.

    On AWS Lambda, where the process sleeps afterwards, the writer's lease is given back first, if there is one left.
    """
    _native.end_request()
