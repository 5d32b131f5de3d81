"""Transactions: what django-sqlite-efs does to them, and what Seawall makes of the same steps.

Of each pair the first shows that the real django-sqlite-efs does it, so that the second is known to show something.
"""

from __future__ import annotations

import pytest

from .peer import Failed
from .site import BEGIN, END, VOTE, VOTES, Site

INSERT_RETURNING = """
rows = connection.cursor().execute(
    "INSERT INTO polls_choice (question_id, choice_text, votes) VALUES (1, 'neither', 0) RETURNING id"
)
"""
LONG_BLOCK = f"""
with transaction.atomic():
    {VOTE}
    time.sleep(1.5)
"""
BLOCK_THAT_RAISES = f"{LONG_BLOCK}    raise ValueError('no')"


def test_the_seed_releases_its_lock_before_insert_returning_is_committed(seed: Site) -> None:
    writer, other = seed.start(), seed.start(timeout=1)
    writer.do(INSERT_RETURNING)
    assert seed.item() is None
    assert seed.votes_on_disk() == [0, 0], "and it is not committed"
    # The other one gets the lock; what holds it back is that file locks work here.
    with pytest.raises(Failed, match="OperationalError: database is locked"):
        other.do(VOTE)


def test_insert_returning_is_committed_when_execute_returns(seawall: Site) -> None:
    writer, other = seawall.start(), seawall.start(timeout=0.2)
    writer.do(INSERT_RETURNING)
    assert other.do(VOTES) == [0, 0, 0]
    other.do(VOTE)
    assert writer.do("rows.fetchall()") == [[3]]
    assert writer.do(VOTES) == [1, 0, 0]


def test_the_seeds_lock_expires_and_the_block_is_said_to_have_failed_but_is_committed(seed: Site) -> None:
    with pytest.raises(Failed, match="LockRequired"):
        seed.start(expiration=1).do(LONG_BLOCK)
    assert seed.votes_on_disk() == [1, 0]


def test_a_block_longer_than_the_lease_is_committed_and_others_wait_for_it(seawall: Site) -> None:
    writer, other = seawall.start(expiration=1), seawall.start(expiration=1, timeout=10)
    writer.do(BEGIN)
    writer.do(VOTE)
    other.ask(VOTE)
    writer.do("time.sleep(1.5)")
    assert writer.do(VOTES) == [1, 0]
    writer.do(END)
    assert other.answer() == 1
    assert writer.do(VOTES) == [2, 0]


def test_a_block_frozen_past_the_lease_fails_and_nothing_of_it_is_written(seawall: Site) -> None:
    writer, other = seawall.start(expiration=1), seawall.start(expiration=1, timeout=10)
    writer.do(BEGIN)
    writer.do("Choice.objects.update(votes=F('votes') + 100)")
    writer.freeze()
    other.do(VOTE)
    writer.thaw()
    with pytest.raises(Failed, match="Nothing was written") as failed:
        writer.do(END)
    assert "OperationalError" in failed.value.kinds
    assert writer.do(VOTES) == other.do(VOTES) == [1, 0]
    writer.do(VOTE)
    assert other.do(VOTES) == [2, 0]


def test_the_seed_commits_a_block_that_raised(seed: Site) -> None:
    with pytest.raises(Failed, match="LockRequired"):
        seed.start(expiration=1).do(BLOCK_THAT_RAISES)
    assert seed.votes_on_disk() == [1, 0]


def test_a_block_that_raised_is_rolled_back(seawall: Site) -> None:
    writer = seawall.start(expiration=1)
    with pytest.raises(Failed, match="ValueError: no"):
        writer.do(BLOCK_THAT_RAISES)
    assert writer.do(VOTES) == seawall.start().do(VOTES) == [0, 0]
    writer.do(VOTE)
    assert writer.do(VOTES) == [1, 0]


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_the_seed_cannot_end_a_transaction_without_autocommit(seed: Site, end: str) -> None:
    writer = seed.start()
    writer.do("transaction.set_autocommit(False)")
    writer.do(VOTE)
    with pytest.raises(Failed, match="LockRequired"):
        writer.do(f"transaction.{end}()")
    writer.do("transaction.set_autocommit(True)")
    assert seed.votes_on_disk() == [1, 0], "it is committed, whatever was asked for"


@pytest.mark.parametrize(("end", "votes"), [("commit", [1, 0]), ("rollback", [0, 0])])
def test_a_transaction_without_autocommit_ends_as_asked(seawall: Site, end: str, votes: list[int]) -> None:
    writer, other = seawall.start(), seawall.start()
    writer.do("transaction.set_autocommit(False)")
    writer.do(VOTE)
    assert other.do(VOTES) == [0, 0]
    writer.do(f"transaction.{end}()")
    assert other.do(VOTES) == votes
    writer.do("transaction.set_autocommit(True)")
    assert writer.do(VOTES) == other.do(VOTES) == votes


def test_the_seed_holds_no_lock_in_a_transaction_that_a_savepoint_began(seed: Site) -> None:
    writer = seed.start()
    writer.do("connection.cursor().execute('SAVEPOINT one')")
    writer.do(VOTE)
    assert writer.do("connection.connection.in_transaction")
    assert seed.item() is None


def test_a_transaction_that_a_savepoint_began_has_the_lease_and_is_one_commit(seawall: Site) -> None:
    writer, other = seawall.start(), seawall.start(timeout=0.2)
    writer.do("connection.cursor().execute('SAVEPOINT one')")
    writer.do(VOTE)
    writer.do("connection.cursor().execute('SAVEPOINT two')")
    writer.do(VOTE)
    writer.do("connection.cursor().execute('ROLLBACK TO two')")
    with pytest.raises(Failed) as refused:
        other.do(VOTE)
    assert "DatabaseBusy" in refused.value.kinds
    assert other.do(VOTES) == [0, 0]
    writer.do("connection.cursor().execute('RELEASE one')")
    assert other.do(VOTES) == [1, 0]
    other.do(VOTE)
    assert writer.do(VOTES) == [2, 0]
