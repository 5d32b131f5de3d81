"""The polls as Lambda functions: `web` answers API Gateway, `maintain` runs hourly, `manage` is called by hand."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aws_settings")

import seawall
from apig_wsgi import make_lambda_handler
from django.conf import settings
from django.core.management import call_command
from mysite.wsgi import application

web = make_lambda_handler(application)


def maintain(event: dict[str, Any], context: Any) -> None:
    """Make a checkpoint if one is due, collect garbage, and log both, and how the database is: a line of JSON each."""
    name, coordinator = settings.DATABASES["default"]["NAME"], os.environ["SEAWALL_COORDINATOR"]
    failures = []
    work: dict[str, Callable[[], Any]] = {
        "checkpoint": lambda: seawall.checkpoint(name, if_due=True, coordinator=coordinator),
        "collect": lambda: seawall.collect(name, coordinator=coordinator),
        "status": lambda: seawall.status(name, coordinator=coordinator),
    }
    for what, do in work.items():
        try:
            done = do()
            print(json.dumps({what: done and asdict(done)}))
        except seawall.SeawallError as error:
            # What comes next does not need it, and the next run tries it again.
            failures.append(error)
            print(json.dumps({what: None, "error": f"{type(error).__name__}: {error}"}))
    seawall.end_request()  # the process sleeps from here on, and its lease must not keep others waiting
    if failures:
        raise failures[0]


def manage(event: dict[str, Any], context: Any) -> str:
    """Run a command of `manage.py`, as in `{"command": ["migrate", "--plan"]}`, and return what it prints."""
    output = io.StringIO()
    try:
        call_command(*event["command"], stdout=output, stderr=output, no_color=True)
    finally:
        seawall.end_request()  # the process sleeps from here on, and its lease must not keep others waiting
    return output.getvalue()
