"""Moving over: what django-sqlite-efs served is opened with ENGINE "seawall.django", and all else as it was.

Its old clients may still run. One that has the lock is waited for; afterwards none of them can write.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
import seawall
from dynamodb.fixtures import client

from . import peer
from .conftest import Sites
from .peer import Application, Failed
from .site import BEGIN, END, VOTE, VOTES, Site
from .test_locks import PAST_THE_BACKEND, holder, refused

INTEGRITY = "connection.cursor().execute('PRAGMA integrity_check').fetchall()"
DATABASE = "__import__('seawall').status(connection.settings_dict['NAME'], coordinator={!r}).database"
VOTE_UNTIL_REFUSED = f"""
counted, error_name = 0, None
while error_name is None:
    try:
        counted += {VOTE}
    except Exception as error:
        error_name = type(error).__name__
    time.sleep(0.005)
"""


@pytest.fixture
def moved(sites: Sites, seed: Site) -> Site:
    """The same database, in the same table, with another ENGINE."""
    return sites(peer.SEAWALL, seed.name, seed.endpoint, seed.table)


def lock_of(site: Site, process: Application, name: Path | None = None) -> dict[str, Any]:
    """The lock that keeps django-sqlite-efs's clients out for good."""
    database = process.do(DATABASE.format(f"dynamodb://{site.table}"))
    return {"pk": f"database#{name or site.name}", "lock_id": f"seawall:{database}"}


def content(folder: Path) -> dict[str, bytes]:
    """All files in a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("from_environment", [False, True])
def test_only_the_engine_changes(seed: Site, moved: Site, from_environment: bool) -> None:
    old = seed.start(attempts=3, from_environment=from_environment)
    old.do(VOTE)
    old.do("Question.objects.create(question_text='Old?', pub_date='2026-01-02T00:00Z').pk")
    new = moved.start(from_environment=from_environment)
    assert new.do(VOTES) == [1, 0]
    assert new.do("list(Question.objects.values_list('question_text', flat=True))") == ["Which?", "Old?"]
    new.do(VOTE)
    assert moved.start(from_environment=from_environment).do(VOTES) == [2, 0]
    assert new.do(INTEGRITY) == [["ok"]]
    assert seed.item() == lock_of(moved, new)


def test_old_clients_that_still_run_can_read_what_was_there_and_not_write(seed: Site, moved: Site) -> None:
    old = seed.start(attempts=2)
    old.do(VOTE)
    new = moved.start()
    new.do(VOTE)
    for client_of_the_seed in (old, seed.start(attempts=2)):
        refused(client_of_the_seed, VOTE)
        refused(client_of_the_seed, BEGIN)
        for step in PAST_THE_BACKEND.values():
            with pytest.raises(Failed, match="attempt to write a readonly database"):
                client_of_the_seed.do(step)
        assert client_of_the_seed.do(VOTES) == [1, 0]
    assert new.do(VOTES) == [2, 0]
    assert seed.item() == lock_of(moved, new)


def test_a_lock_that_an_old_client_has_is_waited_for(seed: Site, moved: Site) -> None:
    old, new = holder(seed), moved.start(timeout=20)
    new.ask(VOTES)
    time.sleep(0.5)
    old.do(END)
    assert new.answer() == [1, 0]
    assert seed.item() == lock_of(moved, new)


def test_but_no_longer_than_the_timeout_and_then_nothing_is_changed(seed: Site, moved: Site) -> None:
    old = holder(seed)
    before = content(seed.name.parent), seed.item()
    new = moved.start(timeout=0.5)
    with pytest.raises(Failed, match="database#") as busy:
        new.do(VOTES)
    assert "DatabaseBusy" in busy.value.kinds
    assert (content(seed.name.parent), seed.item()) == before
    old.do(VOTE)
    old.do(END)
    assert new.do(VOTES) == [2, 0]


def test_the_lock_of_an_old_client_that_was_killed_is_taken_when_it_expires(seed: Site, moved: Site) -> None:
    holder(seed, expiration=2).kill()
    new = moved.start(timeout=10)
    assert new.do(VOTES) == [0, 0]
    assert new.do(INTEGRITY) == [["ok"]]
    assert seed.item() == lock_of(moved, new)


def test_no_vote_is_lost_on_the_way(seed: Site, moved: Site) -> None:
    old, new = [seed.start(attempts=5) for _ in range(2)], [moved.start(timeout=20) for _ in range(2)]
    for process in [*old, *new]:
        process.do("os.getpid()")  # It is up.
    for process in old:
        process.ask(VOTE_UNTIL_REFUSED)
    while seed.votes_on_disk()[0] < 10:
        time.sleep(0.01)
    for process in new:
        process.ask(f"sum({VOTE} for _ in range(20))")
    assert [process.answer() for process in new] == [20, 20]
    for process in old:
        process.answer()
    counted = [process.do("counted") for process in old]
    assert [process.do("error_name") for process in old] == ["DatabaseBusy", "DatabaseBusy"]
    assert new[0].do(VOTES) == new[1].do(VOTES) == [sum(counted) + 40, 0]


def test_processes_that_move_at_once_wait_for_each_other(seawall: Site) -> None:
    new = [seawall.start(timeout=20) for _ in range(4)]
    for process in new:
        process.do("os.getpid()")  # It is up.
    stock = sqlite3.connect(seawall.name, isolation_level=None)
    stock.execute("BEGIN IMMEDIATE")
    for process in new:
        process.ask(VOTE)
    time.sleep(0.5)
    stock.execute("ROLLBACK")
    assert [process.answer() for process in new] == [1, 1, 1, 1]
    assert new[0].do(VOTES) == [4, 0]


def test_other_mount_paths(sites: Sites, seed: Site, moved: Site, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.symlink_to(seed.name.parent)
    other = sites(peer.SEED, elsewhere / seed.name.name, seed.endpoint, seed.table)
    old = holder(other, attempts=2)
    with pytest.raises(Failed, match=r"database#.*elsewhere"):
        moved.start(timeout=0.5, legacy_names=[str(other.name)]).do(VOTES)
    assert seed.item() is None
    old.do(END)
    new = moved.start(legacy_names=[str(other.name)])
    assert new.do(VOTES) == [1, 0]
    assert seed.item() == lock_of(moved, new)
    assert other.item() == lock_of(moved, new, other.name)
    refused(old, VOTE)


def test_the_way_back(seed: Site, moved: Site) -> None:
    new = moved.start()
    new.do(VOTE)
    new.kill()
    # As docs/moving-from-django-sqlite-efs.md has it, with an endpoint.
    coordinator = f"dynamodb://{seed.table}?endpoint={seed.endpoint}"
    copy = seed.name.with_name("copy.sqlite3")
    seawall.copy(seed.name, copy, coordinator=coordinator)
    seawall.remove(seed.name, coordinator=coordinator)
    copy.rename(seed.name)
    assert client(seed.endpoint).scan(TableName=seed.table)["Items"] == []
    old = seed.start()
    old.do(VOTE)
    assert old.do(VOTES) == [2, 0]
    assert old.do(INTEGRITY) == [["ok"]]
    assert content(seed.name.parent).keys() == {seed.name.name}
