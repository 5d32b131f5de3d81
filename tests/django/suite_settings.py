"""Settings for Django's own test suite: one engine, every test database a file.

`suite.py` says by the environment which engine, which folder, and how workers start.
"""

import multiprocessing
import os
from pathlib import Path
from typing import Any

import django

multiprocessing.set_start_method(os.environ["SUITE_START_METHOD"], force=True)

_folder = Path(os.environ["SUITE_FOLDER"])


def _database(alias: str) -> dict[str, Any]:
    return {
        "ENGINE": os.environ["SUITE_ENGINE"],
        "NAME": str(_folder / f"{alias}.sqlite3"),
        "TEST": {"NAME": str(_folder / f"test_{alias}.sqlite3")},
    }


DATABASES = {"default": _database("default"), "other": _database("other")}

SECRET_KEY = "django_tests_secret_key"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# As each suite's own settings have it.
if django.VERSION < (6, 0):
    DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False

TEST_RUNNER = "suite_runner.Runner"
