"""A user who may only read the database's folder."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import seawall

PROGRAM = """
import os, sys
from django.conf import settings

databases = {"default": {"ENGINE": "seawall.django", "NAME": sys.argv[1]}}
settings.configure(DATABASES=databases, INSTALLED_APPS=["seawall.django"])
import django
django.setup()
from django.db import OperationalError, connection, transaction
connection.vendor  # Loads the backend, from what that user may not be able to read.
os.setuid(65534)
for attempt in range(2):
    with transaction.atomic(), connection.cursor() as cursor:
        print(cursor.execute("SELECT x FROM t").fetchall())
        with transaction.atomic():
            print(cursor.execute("SELECT count(*) FROM t").fetchone())
try:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("INSERT INTO t VALUES (1)")
except OperationalError as error:
    print(str(error).split(":")[0])
print(connection.cursor().execute("SELECT x FROM t").fetchall())
"""


def test_atomic_reads_where_nothing_may_be_written() -> None:
    if os.geteuid() != 0:
        pytest.skip("SKIPPED: becoming another user needs root")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        name = Path(folder, "db.sqlite3")
        connection = seawall.connect(name, isolation_level=None)
        connection.execute("CREATE TABLE t (x)")
        connection.execute("INSERT INTO t VALUES ('here')")
        connection.close()
        done = subprocess.run([sys.executable, "-c", PROGRAM, name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = "[('here',)]"
    assert done.stdout.splitlines() == [rows, "(1,)"] * 2 + ["attempt to write a readonly database", rows]
