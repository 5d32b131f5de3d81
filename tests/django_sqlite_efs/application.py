"""A process of a Django application: it does one step for each line that it receives, and answers with one.

    application.py SETTINGS

SETTINGS are Django's, as JSON: the application is the same for every ENGINE. A line is Python source in JSON; so is
the answer: what an expression is, or what was raised.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import django
from django.conf import settings

WORDS = """
import os, sqlite3, sys, time
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models import F, Sum
from polls.models import Choice, Question
"""
"""The names that steps can use."""
DEFAULTS = {"INSTALLED_APPS": ["polls"], "DEFAULT_AUTO_FIELD": "django.db.models.BigAutoField", "USE_TZ": True}


def main(given: str) -> None:
    """Set Django up, and do the steps."""
    settings.configure(**{**DEFAULTS, **json.loads(given)})
    django.setup()
    known: dict[str, Any] = {}
    exec(WORDS, known)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line), known), default=str), flush=True)


def answer(step: str, known: dict[str, Any]) -> dict[str, Any]:
    """Do a step."""
    try:
        try:
            expression = compile(step, "<step>", "eval")
        except SyntaxError:
            exec(compile(step, "<step>", "exec"), known)
            return {"value": None}
        return {"value": eval(expression, known)}
    except Exception as error:
        chain = (error, error.__cause__, error.__context__)
        kinds = [kind.__name__ for one in chain if one is not None for kind in type(one).__mro__]
        return {"error": type(error).__name__, "kinds": kinds, "text": str(error)}


if __name__ == "__main__":
    main(sys.argv[1])
