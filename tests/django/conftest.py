"""A Django project to test the backend in (the polls example), and databases to open."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import django
import pytest
from django.db.utils import ConnectionHandler
from seawall.django.base import DatabaseWrapper

POLLS = Path(__file__).resolve().parents[2] / "examples" / "polls"

_folder = tempfile.TemporaryDirectory(prefix="polls-")
os.environ["POLLS_DATABASE"] = str(Path(_folder.name, "db.sqlite3"))
os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
for _name in ("SEAWALL_COORDINATOR", "SQLITE_LOCK_DYNAMODB_TABLE"):
    os.environ.pop(_name, None)
sys.path.insert(0, str(POLLS))
django.setup()

Open = Callable[..., DatabaseWrapper]


@pytest.fixture
def polls() -> Path:
    """The folder of the polls example."""
    return POLLS


@pytest.fixture
def open_database(tmp_path: Path) -> Iterator[Open]:
    """Make wrappers, each a connection of its own, of a database in a folder of this test."""
    wrappers = []

    def make(options: dict[str, Any] | None = None, **entry: Any) -> DatabaseWrapper:
        settings = {"ENGINE": "seawall.django", "NAME": tmp_path / "db.sqlite3", **entry}
        if options is not None:
            settings["OPTIONS"] = options
        wrapper = ConnectionHandler({"default": settings})["default"]
        assert isinstance(wrapper, DatabaseWrapper)
        wrappers.append(wrapper)
        return wrapper

    yield make
    for wrapper in wrappers:
        # Also those in memory, which the wrapper itself keeps open.
        if wrapper.connection is not None:
            wrapper.connection.close()
