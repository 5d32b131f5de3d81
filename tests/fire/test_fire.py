"""Correct under fire: processes on one database, killed and frozen at random; afterwards everything adds up.

Python's own sqlite3 in real processes. The seed is printed; SEAWALL_FIRE_SEED repeats it, and SEAWALL_FIRE_SECONDS says
for how long.
"""

import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from fire.books import close_books, finish, open_bank, read, run
from fire.processes import Worker, clerk, maintainer

SECONDS = float(os.environ.get("SEAWALL_FIRE_SECONDS", "22"))
SEED = int(os.environ.get("SEAWALL_FIRE_SEED", random.SystemRandom().randrange(1 << 32)))
CLERKS, AUDITORS = 4, 2
LEASE = 1.0
AT_MOST_FROZEN = 2
EXPECTED_ERRORS = {"SQLITE_BUSY_SNAPSHOT"}
"""Another commit went first. BUSY is not expected: clerks wait for twenty leases, so that would be starvation."""
SHORT, LONG = 4, 600
"""Seconds of history. The short one is longer than any process is frozen, and much shorter than the test."""
CHECKPOINTS = 20
"""So many checkpoints are made while one reader stays in its transaction."""


def fire(workers: list[Worker], chance: random.Random, seconds: float) -> Counter[str]:
    """Kills and freezes at random."""
    done: Counter[str] = Counter()
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        time.sleep(chance.uniform(0.05, 0.4))
        frozen = [worker for worker in workers if worker.thaws_at is not None]
        for worker in frozen:
            if worker.thaws_at is not None and worker.thaws_at <= time.monotonic():
                worker.thaw()
        victim = chance.choice(workers)
        if chance.random() < 0.4:
            victim.kill()
            done["killed"] += 1
        elif victim.thaws_at is None and len(frozen) < AT_MOST_FROZEN:
            victim.freeze(chance.uniform(1.2, 2.5) * LEASE)
            done["frozen"] += 1
    for worker in workers:
        if worker.thaws_at is not None:
            worker.thaw()
    return done


def test_money_is_neither_lost_nor_made(coordinator: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = tmp_path / "bank.sqlite3"
    with capsys.disabled():
        print(f"\nfire on {coordinator}: seed {SEED}, {SECONDS:.0f} s, in {tmp_path}")
    opened = open_bank(name, coordinator)
    clerks = [clerk(name, tmp_path, number, SEED) for number in range(CLERKS)]
    logs = [each.log for each in clerks]
    audits = [tmp_path / f"auditor{number}.log" for number in range(AUDITORS)]
    auditors = [run("auditor", name, audit, tmp_path / "stop", *logs) for audit in audits]
    try:
        done = fire(clerks, random.Random(SEED), SECONDS)
    finally:
        (tmp_path / "stop").touch()
    for process in [*(each.process for each in clerks), *auditors]:
        finish(process)
    books = close_books(name, coordinator, logs, audits, opened)
    with capsys.disabled():
        print(f"fire: {done['killed']} kills, {done['frozen']} freezes; {books}")
    assert set(books.errors) <= EXPECTED_ERRORS, books.failures
    assert books.unanswered == []
    assert min(len(audit) for audit in books.audits) > 10, "each auditor was at work"


def test_checkpoints_and_collections_lose_nothing(
    coordinator: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every second, in two processes, which are killed and frozen like the clerks."""
    name = tmp_path / "bank.sqlite3"
    with capsys.disabled():
        print(f"\nfire under maintenance on {coordinator}: seed {SEED}, {SECONDS:.0f} s, in {tmp_path}")
    opened = open_bank(name, coordinator)
    clerks = [clerk(name, tmp_path, number, SEED) for number in range(CLERKS - 1)]
    maintainers = [maintainer(name, tmp_path, number, 1, SHORT) for number in range(2)]
    logs = [each.log for each in clerks]
    audits = [tmp_path / f"auditor{number}.log" for number in range(AUDITORS)]
    auditors = [run("auditor", name, audit, tmp_path / "stop", *logs) for audit in audits]
    try:
        done = fire([*clerks, *maintainers], random.Random(SEED), SECONDS)
    finally:
        (tmp_path / "stop").touch()
    for process in [*(each.process for each in [*clerks, *maintainers]), *auditors]:
        finish(process)
    books = close_books(name, coordinator, logs, audits, opened, maintained=True)
    kept = maintenance(maintainers)
    with capsys.disabled():
        print(f"fire: {done['killed']} kills, {done['frozen']} freezes; {books}; {kept}")
    assert set(books.errors) <= EXPECTED_ERRORS, books.failures
    assert books.unanswered == []
    assert kept["failed"] == 0, [fact for each in maintainers for fact in read(each.log) if "text" in fact]
    assert kept["checkpoints"] > 2 and kept["deleted"] > 2, kept


def maintenance(maintainers: list[Worker]) -> Counter[str]:
    """What the maintainers did, according to their logs."""
    facts = [fact for each in maintainers for fact in read(each.log)]
    return Counter(
        runs=len(facts),
        failed=sum(fact["what"] == "not maintained" for fact in facts),
        checkpoints=sum(fact.get("checkpoint", False) for fact in facts),
        deleted=sum(fact.get("deleted", 0) for fact in facts),
    )


def test_a_long_transaction_reads_on_through_many_checkpoints(coordinator: str, tmp_path: Path) -> None:
    name, stop = tmp_path / "bank.sqlite3", tmp_path / "stop"
    opened = open_bank(name, coordinator)
    clerks = [clerk(name, tmp_path, number, SEED) for number in range(2)]
    maintainers = [maintainer(name, tmp_path, number, 0.1, LONG) for number in range(2)]
    while maintenance(maintainers)["checkpoints"] < 2:
        time.sleep(0.1)
    log = tmp_path / "reader.log"
    reader = run("reader", name, log, stop, CHECKPOINTS, *(each.log for each in maintainers))
    try:
        finish(reader, within=120)
    finally:
        stop.touch()
    for each in [*clerks, *maintainers]:
        finish(each.process)
    (fact,) = read(log)
    passed, transfers = fact.pop("checkpoints"), fact.pop("transfers")
    assert (fact, passed >= CHECKPOINTS) == ({"what": "read", "same": True, "whole": True}, True), fact
    books = close_books(name, coordinator, [each.log for each in clerks], [], opened, maintained=True)
    assert 0 < transfers < len(books.present), "clerks went on meanwhile"
