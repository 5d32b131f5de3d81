"""Other packages that decide by ENGINE: which one they see, and what they do then."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import seawall

PARSE = """
import json, sys
import seawall.django.database_url
{import_it}
print(json.dumps([{parse}(url) for url in sys.argv[1:]]))
"""


@pytest.mark.parametrize(
    ("module", "parse"),
    [("dj_database_url", "dj_database_url.parse"), ("environ", "environ.Env.db_url_config")],
)
def test_database_urls(module: str, parse: str) -> None:
    pytest.importorskip(module, reason=f"SKIPPED: {module} is not installed")
    urls = [
        "seawall:////srv/a%20b.sqlite3",
        "seawall:///db.sqlite3?timeout=10&freshness=transaction&coordinator=dynamodb://table%3Fregion=eu-west-1",
    ]
    program = PARSE.format(import_it=f"import {module}", parse=parse)
    ended = subprocess.run([sys.executable, "-c", program, *urls], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    parsed: list[dict[str, Any]] = json.loads(ended.stdout)
    assert [entry["ENGINE"] for entry in parsed] == ["seawall.django"] * 2
    assert [entry["NAME"] for entry in parsed] == ["/srv/a b.sqlite3", "db.sqlite3"]
    assert parsed[1]["OPTIONS"] == {
        "timeout": 10,
        "freshness": "transaction",
        "coordinator": "dynamodb://table?region=eu-west-1",
    }


BACKUP = """
import os, sys

import django
from django.conf import settings

folder = sys.argv[1]
settings.configure(
    DATABASES={"default": {"ENGINE": "seawall.django", "NAME": f"{folder}/db.sqlite3"}},
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "dbbackup"],
    STORAGES={
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
        "dbbackup": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": f"{folder}/backups"},
        },
    },
    DBBACKUP_CONNECTOR_MAPPING={"seawall.django": "seawall.django.dbbackup.SeawallConnector"},
)
django.setup()

from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import DatabaseError

def users():
    return sorted(User.objects.values_list("username", flat=True))

call_command("migrate", verbosity=0)
User.objects.create(username="before")
call_command("dbbackup", verbosity=0)
User.objects.create(username="after")
print(users())
call_command("dbrestore", interactive=False, verbosity=0)
print(users())
(backup,) = (name for name in os.listdir(f"{folder}/backups") if name.endswith(".sqlite3"))
with open(f"{folder}/backups/{backup}", "r+b") as file:
    file.write(b"no database")
try:
    call_command("dbrestore", interactive=False, verbosity=0)
except DatabaseError as error:
    print(error)
print(users())
"""


def test_django_dbbackup(tmp_path: Path) -> None:
    """It makes a plain file, one version whole; a restore is a version like any other."""
    pytest.importorskip("dbbackup", reason="SKIPPED: django-dbbackup is not installed")
    (tmp_path / "backups").mkdir()
    ended = subprocess.run([sys.executable, "-c", BACKUP, tmp_path], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == [
        "['after', 'before']",
        "['before']",
        "file is not a database",
        "['before']",
    ]
    assert seawall.status(tmp_path / "db.sqlite3").trouble is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backups", "db.sqlite3", "db.sqlite3-seawall"]
