"""`UPDATE … RETURNING`: a commit that fails when the statement is reset is an error of that statement."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import django
import pytest

PROJECT = """
import sys

import django
from django.conf import settings

settings.configure(
    DATABASES={"default": {"ENGINE": "seawall.django", "NAME": sys.argv[1]}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
django.setup()

from django.db import OperationalError, connection, models


class Thing(models.Model):
    data = models.BinaryField()

    class Meta:
        app_label = "things"


with connection.schema_editor() as editor:
    editor.create_model(Thing)
thing = Thing.objects.create(data=b"before")
Thing.objects.create(data=b"before")
too_large = models.Func(models.Value(2_000_000), function="randomblob", output_field=models.BinaryField())

def save():
    thing.data = too_large
    thing.save()

def fetch_one():
    with connection.cursor() as cursor:
        cursor.execute("UPDATE things_thing SET data = randomblob(2000000) RETURNING id")
        return cursor.fetchone()

def fetch_none():
    with connection.cursor() as cursor:
        cursor.execute("UPDATE things_thing SET data = randomblob(2000000) RETURNING id")

try:
    print("no error:", globals()[sys.argv[2]]())
except OperationalError as error:
    print(type(error.__cause__).__name__, "Nothing was written" in str(error))
print(Thing.objects.filter(data=b"before").count())
"""


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    mount = tmp_path / "small"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "none", mount], check=False).returncode != 0:
        pytest.skip("SKIPPED: this machine does not let tests mount a tmpfs")
    yield mount
    subprocess.run(["umount", "-l", mount], check=True)


@pytest.mark.parametrize("statement", ["save", "fetch_one", "fetch_none"])
def test_a_commit_that_fails(small: Path, statement: str) -> None:
    if statement == "save" and django.VERSION < (6, 0):
        pytest.skip(f"SKIPPED: save() of Django {django.get_version()} does not use RETURNING")
    command = [sys.executable, "-c", PROJECT, str(small / "db.sqlite3"), statement]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == ("DiskFull True\n2\n", "")
