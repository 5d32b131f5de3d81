"""Locks: who waits for whom in django-sqlite-efs, and with Seawall.

Of each pair the first shows that the real django-sqlite-efs does it, so that the second is known to show something.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from .peer import Application, Failed
from .site import BEGIN, END, VOTE, VOTES, Site

UPDATE = "UPDATE polls_choice SET votes = votes + 1 WHERE id = 1"
PAST_THE_BACKEND = {
    "executescript": f"connection.cursor().executescript({UPDATE!r})",
    "sqlite3": f"connection.ensure_connection(); connection.connection.execute({UPDATE!r})",
}
"""Ways to write that the backend's own cursor does not see."""
READS = [
    "/* from a page */ SELECT sum(votes) FROM polls_choice",
    "-- from a page\nSELECT sum(votes) FROM polls_choice",
    "WITH choice AS (SELECT * FROM polls_choice) SELECT sum(votes) FROM choice",
    "VALUES ((SELECT sum(votes) FROM polls_choice))",
    "PRAGMA user_version",
]
READ_ONLY_BLOCK = f"""
with transaction.atomic():
    seen = {VOTES}
"""
COUNT = """
import seawall
from seawall.django.options import Options
def counts():
    settings = connection.settings_dict
    counts = seawall.counts(settings["NAME"], coordinator=Options.of(settings).coordinator)
    return counts.coordinator, counts.appends
"""
"""Counts how often this process has asked the coordinator, and written."""
COUNTS = "counts()"


def read(sql: str) -> str:
    return f"connection.cursor().execute({sql!r}).fetchall()"


def refused(process: Application, step: str) -> None:
    """The step fails because the database is busy."""
    with pytest.raises(Failed) as busy:
        process.do(step)
    assert "DatabaseBusy" in busy.value.kinds


def holder(site: Site, **settings: Any) -> Application:
    """A process in a transaction that has written."""
    process = site.start(**settings)
    process.do(BEGIN)
    process.do(VOTE)
    return process


@pytest.mark.parametrize("way", PAST_THE_BACKEND)
def test_the_seed_writes_without_a_lock_while_another_has_it(seed: Site, way: str) -> None:
    seed.start().do(BEGIN)
    before = seed.item()
    assert before is not None
    seed.start().do(PAST_THE_BACKEND[way])
    assert seed.votes_on_disk() == [1, 0]
    assert seed.item() == before, "it is still the other one's"


@pytest.mark.parametrize("way", PAST_THE_BACKEND)
def test_nothing_writes_while_another_has_the_lease(seawall: Site, way: str) -> None:
    writer, other = holder(seawall), seawall.start(timeout=0.2)
    refused(other, PAST_THE_BACKEND[way])
    writer.do(END)
    other.do(PAST_THE_BACKEND[way])
    assert writer.do(VOTES) == [2, 0]


@pytest.mark.parametrize("step", [*map(read, READS), READ_ONLY_BLOCK])
def test_the_seed_takes_the_write_lock_to_read(seed: Site, step: str) -> None:
    seed.start().do(BEGIN)
    reader = seed.start(attempts=1)
    assert reader.do(VOTES) == [0, 0], "only what begins with SELECT can be read now"
    refused(reader, step)


def test_reads_take_no_lease(seawall: Site) -> None:
    holder(seawall)
    reader = seawall.start(timeout=0, transaction_mode="DEFERRED")
    reader.do(COUNT)
    assert reader.do(VOTES) == [0, 0]
    for step in [*map(read, READS), READ_ONLY_BLOCK]:
        asked, appended = reader.do(COUNTS)
        assert reader.do(step) in ([[0]], None)
        assert reader.do(COUNTS) == [asked + 1, appended], step
    assert reader.do("seen") == [0, 0]


def test_a_killed_holder_of_the_seeds_lock_keeps_readers_and_writers_out_until_it_expires(seed: Site) -> None:
    holder(seed, expiration=3).kill()
    reader, writer = seed.start(attempts=1), seed.start(attempts=1)
    refused(reader, VOTES)
    refused(writer, VOTE)
    item = seed.item()
    assert item is not None
    time.sleep(max(0, float(item["expires_at"]) - time.time()) + 0.1)
    assert reader.do(VOTES) == [0, 0]
    writer.do(VOTE)


def test_a_killed_holder_of_the_lease_keeps_no_reader_out_and_writers_for_at_most_the_lease(seawall: Site) -> None:
    writing, reading = seawall.start(expiration=2, timeout=3), seawall.start(timeout=0)
    assert writing.do(VOTES) == reading.do(VOTES) == [0, 0]
    holder(seawall, expiration=2).kill()
    assert reading.do(VOTES) == [0, 0]
    writing.ask(VOTE)
    assert reading.do(VOTES) in ([0, 0], [1, 0])
    assert writing.answer() == 1
    assert reading.do(VOTES) == [1, 0]
