"""The bank of the fire test on DynamoDB, while all that can befall a request does: each fault by itself, then any.

What was acknowledged is there, what failed is not, and `outcome unknown` is said only while DynamoDB cannot be reached
for longer than the time budget; it is settled afterwards. The figures are printed, one row for each fault.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from fire.books import Books, close_books, finish, open_bank, read, run

from dynamodb import faults
from dynamodb.fixtures import make_table
from dynamodb.proxy import Fault, Proxy

SECONDS = float(os.environ.get("SEAWALL_FAULT_SECONDS", "4"))
SEED = int(os.environ.get("SEAWALL_FIRE_SEED", random.SystemRandom().randrange(1 << 32)))
CLERKS = 2
BUDGET = 5.0
"""For how many seconds a commit's outcome is asked for."""


@dataclass(frozen=True)
class Befalls:
    """A fault, and how often it befalls a request."""

    fault: Fault
    chance: float


FAULTS: dict[str, list[Befalls]] = {
    "none": [],
    "50 ms there, 50 ms back": [Befalls(faults.delayed(0.05, 0.05), 0.3)],
    "throttled (the account)": [Befalls(faults.throttled, 0.3)],
    "throttled (the table)": [Befalls(faults.throughput_exceeded, 0.3)],
    "500, nothing was done": [Befalls(faults.server_error, 0.2)],
    "500, it was done": [Befalls(faults.server_error_after_acting, 0.2)],
    "request lost": [Befalls(faults.lost, 0.05)],
    "answer lost": [Befalls(faults.answer_lost, 0.05)],
    "cut before it was done": [Befalls(faults.cut, 0.2)],
    "cut after it was done": [Befalls(faults.cut_after_acting, 0.2)],
    "cut, and done a second later": [Befalls(faults.late(1.0), 0.1)],
    "done, and again 0.5 s later": [Befalls(faults.twice(0.5), 0.2)],
    "answers drip, 20 ms a byte": [Befalls(faults.dripping(0.02), 0.05)],
}
FAULTS["any of these"] = [Befalls(each.fault, each.chance / 6) for several in FAULTS.values() for each in several]


class Bank:
    """Clerks and an auditor at work, whose requests go through a proxy."""

    def __init__(self, folder: Path, proxy: Proxy, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.proxy = proxy
        self.url = f"dynamodb://{table}?endpoint={proxy.endpoint}"
        monkeypatch.setenv("SEAWALL_COORDINATOR", self.url)
        self.name, self.stop = folder / "bank.sqlite3", folder / "stop"
        self.logs = [folder / f"clerk{number}.log" for number in range(CLERKS)]
        self.audit = folder / "auditor.log"
        self.opened = open_bank(self.name, self.url)

    def work(self, meanwhile: Callable[[], None]) -> Books:
        clerks = [run("clerk", self.name, log, self.stop, SEED, number) for number, log in enumerate(self.logs)]
        auditor = run("auditor", self.name, self.audit, self.stop, *self.logs)
        try:
            self._wait_for_all()
            self.proxy.reset()
            meanwhile()
        finally:
            self.stop.touch()
        for process in [*clerks, auditor]:
            finish(process)
        return close_books(self.name, self.url, self.logs, [self.audit], self.opened)

    def _wait_for_all(self) -> None:
        """Wait until every process has done something, so that faults meet processes at work."""
        until = time.monotonic() + 30
        while not all(any(True for _ in read(log)) for log in [*self.logs, self.audit]):
            assert time.monotonic() < until, "the bank does not open"
            time.sleep(0.02)


@pytest.fixture
def proxy(dynamodb: str) -> Proxy:
    return Proxy(dynamodb, seed=SEED)


@pytest.mark.parametrize("what", FAULTS)
def test_money_is_neither_lost_nor_made(
    what: str,
    dynamodb: str,
    proxy: Proxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hits = 0

    def befall() -> None:
        nonlocal hits
        with ExitStack() as befalling:
            befallen = [
                befalling.enter_context(proxy.fault(each.fault, times=None, chance=each.chance))
                for each in FAULTS[what]
            ]
            time.sleep(SECONDS)
        hits = sum(injection.hits for injection in befallen)

    with proxy:
        bank = Bank(tmp_path, proxy, make_table(dynamodb), monkeypatch)
        books = bank.work(befall)
        requests = proxy.requests()
    with capsys.disabled():
        print(f"\n{what}: {hits} of {sum(requests.values())} requests hit; {books} (seed {SEED})", end="")
    assert books.unknown == set(), "DynamoDB could be reached: what became of a commit can be known"
    assert set(books.errors) <= {"SQLITE_BUSY_SNAPSHOT"}, books.failures
    assert books.unanswered == []
    assert books.acknowledged and len(books.audits[0]) > 1
    assert what == "none" or hits > 0


def test_an_outage_longer_than_the_budget_leaves_unknowns_that_are_settled(
    dynamodb: str, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each clerk's next transaction after an unknown one settles it first."""

    def outage() -> None:
        # It begins with answers that are lost, so that swaps are on their way; then nothing arrives any more. By chance
        # all clerks were asking for the lease at that moment: then there is another outage.
        for _ in range(3):
            with proxy.fault(faults.cut_after_acting, "UpdateItem", times=20), proxy.fault(faults.cut, times=None):
                time.sleep(2 * BUDGET)
            time.sleep(SECONDS)
            if any(fact["what"] == "unknown" for log in bank.logs for fact in read(log)):
                break

    with proxy:
        bank = Bank(tmp_path, proxy, make_table(dynamodb), monkeypatch)
        books = bank.work(outage)
    with capsys.disabled():
        print(f"\nan outage of {2 * BUDGET:.0f} s: {books} (seed {SEED})", end="")
    assert books.unknown, "some swap was on its way when the outage began"
    assert set(books.errors) <= {"SQLITE_BUSY_SNAPSHOT", "SQLITE_IOERR_LOCK", "SQLITE_IOERR_COMMIT_ATOMIC"}, (
        books.failures
    )
    for log in bank.logs:
        facts = [fact["what"] for fact in read(log)]
        if "unknown" in facts:
            assert "acknowledged" in facts[facts.index("unknown") :], "it was settled, and work went on"
