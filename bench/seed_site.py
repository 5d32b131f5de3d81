"""The site that each ENGINE serves: a page of 20 SELECTs, and a vote. Requests go all the way through Django's handler.

It runs in the processes that seed.py starts, where Django is set up already.
"""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from typing import Any
from wsgiref.util import setup_testing_defaults

from django.core.signals import got_request_exception
from django.core.wsgi import get_wsgi_application
from django.db import transaction
from django.db.models import F
from django.http import HttpRequest, HttpResponse
from django.urls import path
from polls.models import Choice, Question

QUESTIONS, CHOICES = 200, 800
FAILED = 500

failures: Counter[str] = Counter()
"""What was raised in views, by the name of its class."""


def fill() -> None:
    """Make what the site shows."""
    at = "2026-01-01T00:00Z"
    questions = [Question(id=n + 1, question_text="x" * 100, pub_date=at) for n in range(QUESTIONS)]
    Question.objects.bulk_create(questions)
    choices = [Choice(id=n + 1, question_id=n % QUESTIONS + 1, choice_text="y" * 80) for n in range(CHOICES)]
    Choice.objects.bulk_create(choices)


def page(_: HttpRequest, which: int) -> HttpResponse:
    """Twenty SELECTs, each on its own."""
    shown = [Choice.objects.filter(question_id=(which * 20 + n) % QUESTIONS + 1) for n in range(20)]
    return HttpResponse(str([[choice.votes for choice in choices] for choices in shown]))


def vote(_: HttpRequest, which: int) -> HttpResponse:
    """Read a choice and count one more vote for it, in one transaction."""
    with transaction.atomic():
        choice = Choice.objects.get(pk=which % CHOICES + 1)
        Choice.objects.filter(pk=choice.pk).update(votes=F("votes") + 1)
    return HttpResponse(choice.choice_text)


def ballot(request: HttpRequest, which: int) -> HttpResponse:
    """The same, after a SELECT, as a view has it that asks who its user is."""
    Question.objects.get(pk=which % QUESTIONS + 1)
    return vote(request, which)


urlpatterns = [path("page/<int:which>/", page), path("vote/<int:which>/", vote), path("ballot/<int:which>/", ballot)]


def serve(address: str, method: str) -> bool:
    """Serve a request, from its first byte to its last; whether it was answered well."""
    environ: dict[str, Any] = {"PATH_INFO": address, "REQUEST_METHOD": method}
    setup_testing_defaults(environ)
    status = FAILED
    try:
        response = application(environ, lambda *_: lambda _: None)
        status = response.status_code
        response.close()
    except Exception:  # django-sqlite-efs may find itself locked out before a view, and after its answer.
        _note()
    return status < FAILED


def served(address: str, method: str = "GET") -> float:
    """Serve a request that succeeds; milliseconds."""
    began = time.perf_counter()
    if not serve(address, method):
        raise RuntimeError(f"{address}: {dict(failures)}")
    return (time.perf_counter() - began) * 1e3


def visits(address: str, seconds: float) -> dict[str, Any]:
    """Serve one request after the other: how long each that succeeded took, and how long it ever was until the next."""
    failures.clear()
    times, waits = [], []
    last = began = time.perf_counter()
    while (now := time.perf_counter()) < began + seconds:
        if serve(address, "GET"):
            done = time.perf_counter()
            times.append((done - now) * 1e3)
            waits.append(done - last)
            last = done
    waits.append(time.perf_counter() - last)
    return {"times": times, "longest_wait": max(waits), "failures": dict(failures)}


def _note(**_: Any) -> None:
    failures[type(sys.exception()).__name__] += 1


logging.disable()
got_request_exception.connect(_note)
application = get_wsgi_application()
