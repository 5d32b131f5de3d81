"""Correct under fire: processes on one database, killed and frozen at random; afterwards everything adds up.

Python's own sqlite3 in real processes. The seed is printed; SEAWALL_FIRE_SEED repeats it, and SEAWALL_FIRE_SECONDS says
for how long.
"""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import seawall

BANK = Path(__file__).with_name("bank.py")
SECONDS = float(os.environ.get("SEAWALL_FIRE_SECONDS", "22"))
SEED = int(os.environ.get("SEAWALL_FIRE_SEED", random.SystemRandom().randrange(1 << 32)))
CLERKS, AUDITORS, ACCOUNTS, BALANCE = 4, 2, 50, 10_000
LEASE = 1.0
AT_MOST_FROZEN = 2
EXPECTED_ERRORS = {"SQLITE_BUSY_SNAPSHOT"}
"""Another commit went first. BUSY is not expected: clerks wait for twenty leases, so that would be starvation."""


def run(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, str(BANK), *map(str, arguments)], stderr=subprocess.PIPE, text=True)


def read(log: Path) -> Iterator[dict[str, Any]]:
    if log.exists():
        for line in log.read_text().splitlines():
            yield json.loads(line)


class Clerk:
    """A writer that is started again when it was killed."""

    def __init__(self, folder: Path, number: int) -> None:
        self.name, self.log, self.stop = folder / "bank.sqlite3", folder / f"clerk{number}.log", folder / "stop"
        self.number, self.lives = number, 0
        self.thaws_at: float | None = None
        self.start()

    def start(self) -> None:
        self.lives += 1
        self.process = run("clerk", self.name, self.log, self.stop, SEED, f"{self.number}.{self.lives}")

    def kill(self) -> None:
        assert self.process.poll() is None, f"a clerk died by itself: {self.process.communicate()[1]}"
        self.process.kill()
        self.process.communicate()
        self.thaws_at = None
        self.start()

    def freeze(self, seconds: float) -> None:
        self.process.send_signal(signal.SIGSTOP)
        self.thaws_at = time.monotonic() + seconds

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.thaws_at = None


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


def finish(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors


def test_money_is_neither_lost_nor_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = tmp_path / "bank.sqlite3"
    with capsys.disabled():
        print(f"\nfire: seed {SEED}, {SECONDS:.0f} s, in {tmp_path}")
    finish(run("open", name, ACCOUNTS, BALANCE))
    opened = seawall.status(name).version
    clerks = [Clerk(tmp_path, number) for number in range(CLERKS)]
    logs = [clerk.log for clerk in clerks]
    audits = [tmp_path / f"auditor{number}.log" for number in range(AUDITORS)]
    auditors = [run("auditor", name, audit, tmp_path / "stop", *logs) for audit in audits]
    try:
        done = fire(clerks, random.Random(SEED), SECONDS)
    finally:
        (tmp_path / "stop").touch()
    for process in [*(clerk.process for clerk in clerks), *auditors]:
        finish(process)

    facts = [fact for log in logs for fact in read(log)]
    ids = {what: {fact["id"] for fact in facts if fact["what"] == what} for what in ("acknowledged", "failed", "begun")}
    undecided = ids["begun"] - ids["acknowledged"] - ids["failed"]
    errors = Counter(fact["error"] for fact in facts if fact["what"] == "failed")
    seen = [fact for audit in audits for fact in read(audit)]
    connection = seawall.connect(name)
    present = {number for (number,) in connection.execute("SELECT id FROM transfer")}
    with capsys.disabled():
        print(
            f"fire: {done['killed']} kills, {done['frozen']} freezes; {len(ids['acknowledged'])} acknowledged,"
            f" {len(ids['failed'])} failed {dict(errors)}, {len(undecided)} in flight or unknown, of which"
            f" {len(undecided & present)} are there; {len(seen)} audits"
        )

    assert ids["acknowledged"] <= present, f"lost: {sorted(ids['acknowledged'] - present)}"
    assert not ids["failed"] & present, f"reported as failed, and there: {sorted(ids['failed'] & present)}"
    assert present <= ids["begun"], f"nobody wrote: {sorted(present - ids['begun'])}"
    assert set(errors) <= EXPECTED_ERRORS, [fact for fact in facts if fact["what"] == "failed"]
    assert [fact for fact in seen if fact["what"] == "broken"] == []
    assert min(sum(1 for _ in read(audit)) for audit in audits) > 10, "each auditor was at work"
    assert seawall.status(name).version == opened + len(present), "each transfer is a version, and nothing else is"
    check_books(connection)
    check_plain_copy(name, tmp_path / "copy.sqlite3", present)


def check_books(connection: sqlite3.Connection) -> None:
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("SELECT sum(balance) FROM account").fetchone() == (ACCOUNTS * BALANCE,)
    moved: Counter[int] = Counter()
    for source, target, amount in connection.execute("SELECT source, target, amount FROM transfer"):
        moved[source] -= amount
        moved[target] += amount
    for account, balance in connection.execute("SELECT id, balance FROM account"):
        assert balance == BALANCE + moved[account]


def check_plain_copy(name: Path, target: Path, present: set[str]) -> None:
    """Stock SQLite agrees."""
    seawall.copy(name, target)
    plain = sqlite3.connect(target)
    assert {number for (number,) in plain.execute("SELECT id FROM transfer")} == present
    check_books(plain)
