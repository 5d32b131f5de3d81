"""The processes of the fire test: a bank whose clerks write, and auditors who read.

    bank.py open NAME ACCOUNTS BALANCE
    bank.py clerk NAME LOG STOP SEED LIFE    moves money until the file STOP exists
    bank.py auditor NAME LOG STOP LOGS...    checks sums, and that nothing goes back, until STOP exists
    bank.py maintainer NAME LOG STOP PAUSE HISTORY    makes checkpoints and collects garbage until STOP exists
    bank.py reader NAME LOG STOP CHECKPOINTS LOGS...    stays in one transaction for so many checkpoints

A clerk logs each transfer's id before it begins, and its outcome afterwards, in a local file to which only this clerk
appends. The log survives the clerk's death.
"""

import json
import os
import random
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import seawall
from seawall import _native
from seawall.registration import register

LEASE = 1.0
TIMEOUT = 20.0
COORDINATOR = os.environ.get("SEAWALL_COORDINATOR", "fs:")


class Log:
    """A file of JSON lines. Each line is whole or absent, whenever its process dies."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, what: str, **facts: Any) -> None:
        os.write(self._file, (json.dumps({"what": what, **facts}) + "\n").encode())


def connect(name: str) -> seawall.Connection:
    return seawall.connect(name, coordinator=COORDINATOR, lease=LEASE, timeout=TIMEOUT, isolation_level=None)


def open_bank(name: str, accounts: str, balance: str) -> None:
    connection = connect(name)
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(
        "CREATE TABLE account (id INTEGER PRIMARY KEY, opening INTEGER NOT NULL, balance INTEGER NOT NULL)"
    )
    connection.execute(
        "CREATE TABLE transfer (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,"
        " source INTEGER NOT NULL, target INTEGER NOT NULL, amount INTEGER NOT NULL)"
    )
    rows = [(number, int(balance), int(balance)) for number in range(1, int(accounts) + 1)]
    connection.executemany("INSERT INTO account VALUES (?, ?, ?)", rows)
    connection.execute("COMMIT")


def transfer(connection: seawall.Connection, chance: random.Random, number: str) -> None:
    """One transfer, up to its COMMIT. It takes a while, so that kills and freezes interrupt it half way."""
    connection.execute("BEGIN IMMEDIATE")
    accounts = connection.execute("SELECT count(*) FROM account").fetchone()[0]
    source, target = chance.sample(range(1, accounts + 1), 2)
    amount = chance.randint(1, 100)
    connection.execute("UPDATE account SET balance = balance - ? WHERE id = ?", (amount, source))
    connection.execute("UPDATE account SET balance = balance + ? WHERE id = ?", (amount, target))
    time.sleep(chance.uniform(0, 0.01))
    connection.execute(
        "INSERT INTO transfer (id, source, target, amount) VALUES (?, ?, ?, ?)", (number, source, target, amount)
    )


def clerk(name: str, log_path: str, stop: str, seed: str, life: str) -> None:
    log, chance = Log(log_path), random.Random(f"{seed} {life}")
    connection = connect(name)
    count = 0
    while not Path(stop).exists():
        count += 1
        number = f"{life}.{count}"
        log.write("begun", id=number)
        try:
            transfer(connection, chance, number)
            began = time.monotonic()
            connection.execute("COMMIT")
        except seawall.OutcomeUnknown as error:
            log.write("unknown", id=number, error=error.sqlite_errorname, text=str(error))
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            log.write("failed", id=number, error=getattr(error, "sqlite_errorname", None), text=str(error))
        else:
            log.write("acknowledged", id=number, seconds=time.monotonic() - began)


def maintainer(name: str, log_path: str, stop: str, pause: str, history: str) -> None:
    log = Log(log_path)
    register()
    while not Path(stop).exists():
        try:
            made, deleted = _native.maintain(name, COORDINATOR, int(history))
        except _native.Failed as failed:
            log.write("not maintained", error=failed.args[1], text=failed.args[3])
        else:
            log.write("maintained", checkpoint=made, deleted=deleted)
        time.sleep(float(pause))


def checkpoints(logs: Sequence[str]) -> int:
    """How many checkpoints the maintainers have made, according to their logs."""
    return sum(json.loads(line).get("checkpoint", False) for log in logs for line in Path(log).open())


def reader(name: str, log_path: str, stop: str, count: str, *maintainers: str) -> None:
    log, connection = Log(log_path), connect(name)
    connection.execute("BEGIN")
    first = connection.execute(AUDIT).fetchone()
    before = checkpoints(maintainers)
    while checkpoints(maintainers) < before + int(count) and not Path(stop).exists():
        time.sleep(0.1)
        if connection.execute(AUDIT).fetchone() != first:
            log.write("the view moved")
    rows = connection.execute("SELECT id, source, target, amount FROM transfer ORDER BY number").fetchall()
    whole = connection.execute("PRAGMA integrity_check").fetchone()
    last = connection.execute(AUDIT).fetchone()
    passed = checkpoints(maintainers) - before
    log.write("read", checkpoints=passed, same=last == first, whole=whole == ("ok",), transfers=len(rows))


def last_acknowledged(log: str) -> str | None:
    """The id of the clerk's last acknowledged transfer, according to its log."""
    try:
        with Path(log).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
            lines = file.read().split(b"\n")[1:-1]
    except FileNotFoundError:
        return None
    facts = (json.loads(line) for line in reversed(lines))
    return next((fact["id"] for fact in facts if fact["what"] == "acknowledged"), None)


AUDIT = """
    SELECT count(*), sum(balance), sum(opening), sum(balance != opening
        + (SELECT coalesce(sum(amount), 0) FROM transfer WHERE target = account.id)
        - (SELECT coalesce(sum(amount), 0) FROM transfer WHERE source = account.id))
    FROM account
"""


class View(NamedTuple):
    """What one read transaction saw."""

    sums: tuple[int, int, int, int]
    sums_again: tuple[int, int, int, int]
    """The same question at the end of the transaction, which has the same answer whatever was committed meanwhile."""
    version: int
    newest: int
    has_all: bool

    def broken(self, before: "View | None") -> list[str]:
        """What must not be so, given what was seen before."""
        _, balance, opening, wrong = self.sums
        facts = {
            "money is lost": balance != opening,
            "an account is not what its transfers say": wrong != 0,
            "the view moved": self.sums != self.sums_again,
            "the version went back": before is not None and self.version < before.version,
            "transfers went back": before is not None and self.newest < before.newest,
            "acknowledged before, and not seen": not self.has_all,
        }
        return [fact for fact, is_so in facts.items() if is_so]


def look(connection: seawall.Connection, expected: list[str]) -> View:
    connection.execute("BEGIN")
    sums = connection.execute(AUDIT).fetchone()
    (version,) = connection.execute("PRAGMA seawall_version").fetchone()
    (newest,) = connection.execute("SELECT coalesce(max(number), 0) FROM transfer").fetchone()
    held = [connection.execute("SELECT 1 FROM transfer WHERE id = ?", (number,)).fetchone() for number in expected]
    sums_again = connection.execute(AUDIT).fetchone()
    connection.execute("COMMIT")
    return View(sums, sums_again, int(version), newest, None not in held)


def auditor(name: str, log_path: str, stop: str, *clerks: str) -> None:
    log = Log(log_path)
    connection = connect(name)
    before = None
    while not Path(stop).exists():
        expected = [number for path in clerks if (number := last_acknowledged(path))]
        try:
            view = look(connection, expected)
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            log.write("unanswered", error=getattr(error, "sqlite_errorname", None), text=str(error))
            continue
        broken = view.broken(before)
        log.write("broken" if broken else "audited", facts=broken, version=view.version, newest=view.newest)
        before = view
        time.sleep(0.02)


if __name__ == "__main__":
    roles: dict[str, Callable[..., None]] = {
        "open": open_bank,
        "clerk": clerk,
        "auditor": auditor,
        "maintainer": maintainer,
        "reader": reader,
    }
    roles[sys.argv[1]](*sys.argv[2:])
