"""Databases of the polls application, for processes whose ENGINE is django-sqlite-efs, or Seawall."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dynamodb.fixtures import dynamodb as dynamodb
from dynamodb.fixtures import table as table

from . import peer
from .site import Site

STOCK = "django.db.backends.sqlite3"
FILL = """
call_command("migrate", verbosity=0)
question = Question.objects.create(question_text="Which?", pub_date="2026-01-01T00:00Z")
question.choice_set.create(choice_text="this")
question.choice_set.create(choice_text="that")
"""


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain SQLite file with one question and its two choices."""
    try:
        peer.interpreter()
    except peer.Absent as absent:
        pytest.skip(f"SKIPPED: {absent}")
    name = tmp_path_factory.mktemp("plain") / "db.sqlite3"
    stock = peer.Application({"DATABASES": {"default": {"ENGINE": STOCK, "NAME": name}}})
    try:
        stock.do(FILL)
    finally:
        stock.kill()
    return name


@pytest.fixture
def name(plain: Path, tmp_path: Path) -> Path:
    """The same, this test's own."""
    return Path(shutil.copy(plain, tmp_path / "db.sqlite3"))


Sites = Callable[..., Site]


@pytest.fixture
def sites(request: pytest.FixtureRequest) -> Sites:
    """Make sites, whose processes end with the test."""

    def make(*arguments: Any, **more: Any) -> Site:
        site = Site(*arguments, **more)
        request.addfinalizer(site.close)
        return site

    return make


@pytest.fixture
def seed(sites: Sites, name: Path, dynamodb: str, table: str) -> Site:
    """The database, served by django-sqlite-efs."""
    return sites(peer.SEED, name, dynamodb, table)


@pytest.fixture(params=["fs", "dynamodb"])
def seawall(request: pytest.FixtureRequest, sites: Sites, name: Path) -> Site:
    """The database, served by Seawall, on each coordinator."""
    if request.param == "fs":
        return sites(peer.SEAWALL, name)
    return sites(peer.SEAWALL, name, request.getfixturevalue("dynamodb"), request.getfixturevalue("table"))
