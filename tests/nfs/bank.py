"""The bank of `tests/fire` on real NFS clients, while the network, the server and the processes fail.

python3 -m nfs.bank CLIENTS SEED HISTORY RESULTS      in the guest, beside the server

HISTORY: each client also makes a checkpoint and collects garbage every second, with a history of so many seconds; 0:
nobody does.
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
from fire.processes import Worker, clerk, maintainer

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

    def __init__(self, clients: int, seed: str, history: int) -> None:
        self.clients: Sequence[int] = range(1, clients + 1)
        self.chance = random.Random(f"{seed} {clients}")
        self.name = guest.folder("bank") / "bank.sqlite3"
        self.logs = Path(tempfile.mkdtemp(prefix="bank"))
        opening = books.run("open", self.name, books.ACCOUNTS, books.BALANCE, within=guest.within(1))
        books.finish(opening)
        self.opened = guest.newest(self.name)
        self.clerks = {
            client: [
                clerk(self.name, self.logs, 10 * client + number, seed, guest.within(client))
                for number in range(CLERKS)
            ]
            for client in self.clients
        }
        self.maintainers = {
            client: [maintainer(self.name, self.logs, client, 1, history, guest.within(client))]
            for client in (self.clients if history else ())
        }
        self.everyone = [each for clerks in self.clerks.values() for each in clerks]
        stop, logs = self.logs / "stop", [each.log for each in self.everyone]
        self.audits = [self.logs / f"auditor{client}.log" for client in self.clients]
        self.auditors = [
            books.run("auditor", self.name, audit, stop, *logs, within=guest.within(client))
            for client, audit in zip(self.clients, self.audits, strict=True)
        ]

    def workers_of(self, client: int) -> Sequence[Worker]:
        return [*self.clerks[client], *self.maintainers.get(client, [])]

    def acknowledged(self, client: int) -> int:
        return sum(tally(each)["acknowledged"] for each in self.clerks[client])

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
        return sum((tally(each) for each in self.everyone), Counter())

    def busy(self, client: int) -> list[dict[str, Any]]:
        """The transfers that failed because a clerk there did not get its turn."""
        facts = (fact for each in self.clerks[client] for fact in facts_since(each.log, 0))
        return [fact for fact in facts if fact.get("error") == BUSY]

    def recover(self, after: str) -> float:
        """Wait until each clerk has had a transfer acknowledged that it began from now on."""
        sizes = {each.log: size_of(each.log) for each in self.everyone}

        def works(log: Path) -> bool:
            facts = facts_since(log, sizes[log])
            begun = {fact["id"] for fact in facts if fact["what"] == "begun"}
            return any(fact["what"] == "acknowledged" and fact["id"] in begun for fact in facts)

        return guest.wait_for(f"every clerk works after {after}", lambda: all(map(works, sizes)), RECOVERY)

    def stop(self) -> None:
        (self.logs / "stop").touch()
        for process in [*(each.process for each in self.everyone), *self.auditors, *self.maintaining()]:
            books.finish(process)

    def maintaining(self) -> list[subprocess.Popen[str]]:
        return [each.process for workers in self.maintainers.values() for each in workers]

    def maintained(self) -> Counter[str]:
        """How many checkpoints were made, how many files were deleted, and how often either could not be done."""
        facts = [fact for workers in self.maintainers.values() for each in workers for fact in facts_since(each.log, 0)]
        return Counter(
            checkpoints=sum(fact.get("checkpoint", False) for fact in facts),
            deleted=sum(fact.get("deleted", 0) for fact in facts),
            failed=sum(fact["what"] == "not maintained" for fact in facts),
        )

    def close(self) -> list[str]:
        """Each client closes the books by itself, and reports them."""
        logs, audits = [str(each.log) for each in self.everyone], list(map(str, self.audits))
        task = json.dumps(
            {
                "name": str(self.name),
                "opened": self.opened,
                "clerks": logs,
                "auditors": audits,
                "maintained": bool(self.maintainers),
            }
        )
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


def tally(worker: Worker) -> Counter[str]:
    return Counter(fact["what"] for fact in facts_since(worker.log, 0))


def main(clients: str, seed: str, history: str, results: str) -> None:
    bank = Bank(int(clients), seed, int(history))
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
    seconds, maintained = round(time.monotonic() - began), bank.maintained() if bank.maintainers else {}
    if maintained:
        print(f"  {maintained}")
        assert min(maintained["checkpoints"], maintained["deleted"]) > 20, maintained
    facts = {"seed": seed, "seconds": seconds, "rows": rows, "closed": closed, "maintained": maintained}
    Path(results).write_text(json.dumps(facts))


if __name__ == "__main__":
    main(*sys.argv[1:])
