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

from fire.books import close_books, finish, open_bank, run
from fire.processes import Clerk

SECONDS = float(os.environ.get("SEAWALL_FIRE_SECONDS", "22"))
SEED = int(os.environ.get("SEAWALL_FIRE_SEED", random.SystemRandom().randrange(1 << 32)))
CLERKS, AUDITORS = 4, 2
LEASE = 1.0
AT_MOST_FROZEN = 2
EXPECTED_ERRORS = {"SQLITE_BUSY_SNAPSHOT"}
"""Another commit went first. BUSY is not expected: clerks wait for twenty leases, so that would be starvation."""


def fire(clerks: list[Clerk], chance: random.Random, seconds: float) -> Counter[str]:
    """Kills and freezes at random."""
    done: Counter[str] = Counter()
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        time.sleep(chance.uniform(0.05, 0.4))
        frozen = [clerk for clerk in clerks if clerk.thaws_at is not None]
        for clerk in frozen:
            if clerk.thaws_at is not None and clerk.thaws_at <= time.monotonic():
                clerk.thaw()
        victim = chance.choice(clerks)
        if chance.random() < 0.4:
            victim.kill()
            done["killed"] += 1
        elif victim.thaws_at is None and len(frozen) < AT_MOST_FROZEN:
            victim.freeze(chance.uniform(1.2, 2.5) * LEASE)
            done["frozen"] += 1
    for clerk in clerks:
        if clerk.thaws_at is not None:
            clerk.thaw()
    return done


def test_money_is_neither_lost_nor_made(coordinator: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = tmp_path / "bank.sqlite3"
    with capsys.disabled():
        print(f"\nfire on {coordinator}: seed {SEED}, {SECONDS:.0f} s, in {tmp_path}")
    opened = open_bank(name, coordinator)
    clerks = [Clerk(name, tmp_path, number, SEED) for number in range(CLERKS)]
    logs = [clerk.log for clerk in clerks]
    audits = [tmp_path / f"auditor{number}.log" for number in range(AUDITORS)]
    auditors = [run("auditor", name, audit, tmp_path / "stop", *logs) for audit in audits]
    try:
        done = fire(clerks, random.Random(SEED), SECONDS)
    finally:
        (tmp_path / "stop").touch()
    for process in [*(clerk.process for clerk in clerks), *auditors]:
        finish(process)
    books = close_books(name, coordinator, logs, audits, opened)
    with capsys.disabled():
        print(f"fire: {done['killed']} kills, {done['frozen']} freezes; {books}")
    assert set(books.errors) <= EXPECTED_ERRORS, books.failures
    assert books.unanswered == []
    assert min(len(audit) for audit in books.audits) > 10, "each auditor was at work"
