"""The bank of `tests/fire` on real NFS clients, while the network, the server and the processes fail.

python3 -m nfs.bank CLIENTS SEED RESULTS      in the guest, beside the server
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fire import books
from fire.processes import Clerk

from nfs import guest
from nfs.faults import FAULTS, Fault

CLERKS = 2
"""On each client; and one auditor."""
RECOVERY = 150
"""Seconds within which every clerk must work again. TCP waits about as long again as a cut lasted."""
BUSY = "SQLITE_BUSY"
EXPECTED_ERRORS = {"SQLITE_BUSY_SNAPSHOT", BUSY}
"""Another commit came first, or the clerk's client was cut off for longer than the clerk waits."""


class Bank:
    """Clerks and auditors on several clients."""

    def __init__(self, clients: int, seed: str) -> None:
        self.clients: Sequence[int] = range(1, clients + 1)
        self.chance = random.Random(f"{seed} {clients}")
        self.name = guest.folder("bank") / "bank.sqlite3"
        self.logs = Path(tempfile.mkdtemp(prefix="bank"))
        opening = books.run("open", self.name, books.ACCOUNTS, books.BALANCE, within=guest.within(1))
        books.finish(opening)
        self.opened = guest.newest(self.name)
        self.clerks = {
            client: [
                Clerk(self.name, self.logs, 10 * client + number, seed, guest.within(client))
                for number in range(CLERKS)
            ]
            for client in self.clients
        }
        self.everyone = [clerk for clerks in self.clerks.values() for clerk in clerks]
        stop, logs = self.logs / "stop", [clerk.log for clerk in self.everyone]
        self.audits = [self.logs / f"auditor{client}.log" for client in self.clients]
        self.auditors = [
            books.run("auditor", self.name, audit, stop, *logs, within=guest.within(client))
            for client, audit in zip(self.clients, self.audits, strict=True)
        ]

    def clerks_of(self, client: int) -> Sequence[Clerk]:
        return self.clerks[client]

    def acknowledged(self, client: int) -> int:
        return sum(tally(clerk)["acknowledged"] for clerk in self.clerks[client])

    def befall(self, fault: Fault) -> dict[str, Any]:
        """Cause one kind of fault `times` times. After each, wait until every clerk works again."""
        before, recoveries = self.tally(), []
        for _ in range(fault.times):
            earlier = {client: self.busy(client) for client in self.clients}
            hit = fault.strike(self)
            recoveries.append(self.recover(fault.name))
            for client in set(self.clients) - set(hit):
                starved = [fact for fact in self.busy(client) if fact not in earlier[client]]
                assert not starved, f"clerks starved that {fault.name} did not hit: {starved}"
        counted = self.tally() - before
        outcomes = {what: counted[what] for what in ("acknowledged", "failed", "unknown")}
        return {"fault": fault.name, "times": fault.times, "recovery": max(recoveries), **outcomes}

    def tally(self) -> Counter[str]:
        return sum((tally(clerk) for clerk in self.everyone), Counter())

    def busy(self, client: int) -> list[dict[str, Any]]:
        """The transfers that failed because a clerk there did not get its turn."""
        facts = (fact for clerk in self.clerks[client] for fact in facts_since(clerk.log, 0))
        return [fact for fact in facts if fact.get("error") == BUSY]

    def recover(self, after: str) -> float:
        """Wait until each clerk has had a transfer acknowledged that it began from now on."""
        sizes = {clerk.log: size_of(clerk.log) for clerk in self.everyone}

        def works(log: Path) -> bool:
            facts = facts_since(log, sizes[log])
            begun = {fact["id"] for fact in facts if fact["what"] == "begun"}
            return any(fact["what"] == "acknowledged" and fact["id"] in begun for fact in facts)

        return guest.wait_for(f"every clerk works after {after}", lambda: all(map(works, sizes)), RECOVERY)

    def stop(self) -> None:
        (self.logs / "stop").touch()
        for process in [*(clerk.process for clerk in self.everyone), *self.auditors]:
            books.finish(process)

    def close(self) -> list[str]:
        """Each client closes the books by itself, and reports them."""
        logs, audits = [str(clerk.log) for clerk in self.everyone], list(map(str, self.audits))
        task = json.dumps({"name": str(self.name), "opened": self.opened, "clerks": logs, "auditors": audits})
        return [self.close_on(client, task) for client in self.clients]

    def close_on(self, client: int, task: str) -> str:
        command = guest.command(client, "closing", task)
        closed = subprocess.run(command, capture_output=True, text=True, check=False)
        assert closed.returncode == 0, f"client {client}: {closed.stderr}"
        return closed.stdout.strip()


def size_of(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


def facts_since(log: Path, offset: int) -> list[dict[str, Any]]:
    if not log.exists():
        return []
    with log.open() as file:
        file.seek(offset)
        return [json.loads(line) for line in file if line.endswith("\n")]


def tally(clerk: Clerk) -> Counter[str]:
    return Counter(fact["what"] for fact in facts_since(clerk.log, 0))


def main(clients: str, seed: str, results: str) -> None:
    bank = Bank(int(clients), seed)
    began = time.monotonic()
    bank.recover("opening")
    rows = []
    for fault in FAULTS:
        rows.append(bank.befall(fault))
        print(f"  {rows[-1]}", flush=True)
    bank.stop()
    closed = bank.close()
    for client, text in zip(bank.clients, closed, strict=True):
        print(f"  client {client}: {text}")
    seconds = round(time.monotonic() - began)
    Path(results).write_text(json.dumps({"seed": seed, "seconds": seconds, "rows": rows, "closed": closed}))


if __name__ == "__main__":
    main(*sys.argv[1:])
