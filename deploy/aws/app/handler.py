"""The polls as Lambda functions: `web` answers API Gateway, `maintain` runs hourly, `manage` is called by hand."""

from __future__ import annotations

import io
import json
import os
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
    """Log how the database is."""
    name = settings.DATABASES["default"]["NAME"]
    status = seawall.status(name, coordinator=os.environ["SEAWALL_COORDINATOR"])
    print(json.dumps(asdict(status)))


def manage(event: dict[str, Any], context: Any) -> str:
    """Run a command of `manage.py`, as in `{"command": ["migrate", "--plan"]}`, and return what it prints."""
    output = io.StringIO()
    try:
        call_command(*event["command"], stdout=output, stderr=output, no_color=True)
    finally:
        seawall.end_request()  # the process sleeps from here on, and its lease must not keep others waiting
    return output.getvalue()
