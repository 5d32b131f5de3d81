"""Compares the logs of the bank's processes with the database."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import seawall

BANK = Path(__file__).with_name("bank.py")
ACCOUNTS, BALANCE = 50, 10_000


def run(*arguments: object, within: Sequence[str] = ()) -> subprocess.Popen[str]:
    """Start a process of the bank, with the command `within` before it, if any."""
    command = [*within, sys.executable, str(BANK), *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str], within: float = 60) -> None:
    """Wait for a process that must stop by itself within so many seconds."""
    _, errors = process.communicate(timeout=within)
    assert process.returncode == 0, errors


def open_bank(name: Path, coordinator: str) -> int:
    """Make a bank. Return its first version."""
    finish(run("open", name, ACCOUNTS, BALANCE))
    return seawall.status(name, coordinator=coordinator).version


def read(log: Path) -> Iterator[dict[str, Any]]:
    """The facts of a log."""
    if log.exists():
        for line in log.read_text().splitlines():
            yield json.loads(line)


@dataclass
class Books:
    """The clerks' logs, and the transfers in the database."""

    acknowledged: set[str]
    failed: set[str]
    unknown: set[str]
    begun: set[str]
    present: set[str]
    errors: Counter[str]
    failures: list[dict[str, Any]]
    audits: list[list[dict[str, Any]]]
    unanswered: list[dict[str, Any]]

    def __str__(self) -> str:
        in_flight = self.begun - self.acknowledged - self.failed
        seen = sum(len(audit) for audit in self.audits)
        return (
            f"{len(self.acknowledged)} acknowledged, {len(self.failed)} failed {dict(self.errors)},"
            f" {len(self.unknown)} unknown, {len(in_flight)} in flight or unknown, of which"
            f" {len(in_flight & self.present)} are there; {seen} audits"
        )


def close_books(
    name: Path,
    coordinator: str,
    clerks: Sequence[Path],
    auditors: Sequence[Path],
    opened: int,
    maintained: bool = False,
) -> Books:
    """Read all logs, and assert what must hold after any faults. Maintenance commits versions of its own."""
    facts = [fact for log in clerks for fact in read(log)]

    def ids(what: str) -> set[str]:
        return {fact["id"] for fact in facts if fact["what"] == what}

    connection = seawall.connect(name, coordinator=coordinator)
    present = {number for (number,) in connection.execute("SELECT id FROM transfer")}
    failures = [fact for fact in facts if fact["what"] == "failed"]
    errors = Counter(fact["error"] for fact in failures)
    audits = [list(read(log)) for log in auditors]
    unanswered = [fact for audit in audits for fact in audit if fact["what"] == "unanswered"]
    books = Books(
        ids("acknowledged"), ids("failed"), ids("unknown"), ids("begun"), present, errors, failures, audits, unanswered
    )
    assert books.acknowledged <= present, f"lost: {sorted(books.acknowledged - present)}"
    assert not books.failed & present, f"reported as failed, and there: {sorted(books.failed & present)}"
    assert present <= books.begun, f"no clerk wrote: {sorted(present - books.begun)}"
    broken = [fact for audit in audits for fact in audit if fact["what"] == "broken"]
    assert broken == [], f"{len(broken)} audits did not hold: {broken[:10]}"
    version = seawall.status(name, coordinator=coordinator).version
    own = version - opened - len(present)
    assert own >= 0 if maintained else own == 0, f"each transfer is one version, and there are {own} others"
    _check_accounts(connection)
    connection.close()
    _check_plain_copy(name, coordinator, present)
    return books


def _check_accounts(connection: sqlite3.Connection) -> None:
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("SELECT sum(balance) FROM account").fetchone() == (ACCOUNTS * BALANCE,)
    moved: Counter[int] = Counter()
    for source, target, amount in connection.execute("SELECT source, target, amount FROM transfer"):
        moved[source] -= amount
        moved[target] += amount
    for account, balance in connection.execute("SELECT id, balance FROM account"):
        assert balance == BALANCE + moved[account]


def _check_plain_copy(name: Path, coordinator: str, present: set[str]) -> None:
    """Stock SQLite agrees."""
    target = name.with_name("copy.sqlite3")
    seawall.copy(name, target, coordinator=coordinator)
    plain = sqlite3.connect(target)
    assert {number for (number,) in plain.execute("SELECT id FROM transfer")} == present
    _check_accounts(plain)
    plain.close()
