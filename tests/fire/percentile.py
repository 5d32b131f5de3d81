"""What maintenance does to other processes' commits: the bank without faults, in turn without and with maintenance.

PYTHONPATH=tests python -m fire.percentile FOLDER SECONDS ROUNDS

Prints JSON: for each round the median and the 99th percentile of COMMIT in milliseconds, without and with a process
that makes a checkpoint and collects garbage every 5 s.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

from fire.books import finish, open_bank, read
from fire.processes import clerk, maintainer

CLERKS = 2
EVERY, HISTORY = 5, 20
"""Seconds."""


def percentiles(folder: Path, seconds: float, is_maintained: bool) -> tuple[float, float]:
    """One bank, for so many seconds."""
    folder.mkdir()
    name = folder / "bank.sqlite3"
    open_bank(name, "fs:")
    clerks = [clerk(name, folder, number, 0) for number in range(CLERKS)]
    workers = [*clerks, *([maintainer(name, folder, 0, EVERY, HISTORY)] if is_maintained else [])]
    time.sleep(seconds)
    (folder / "stop").touch()
    for worker in workers:
        finish(worker.process)
    facts = [fact for each in clerks for fact in read(each.log)]
    times = [fact["seconds"] * 1000 for fact in facts if fact["what"] == "acknowledged"]
    cuts = statistics.quantiles(times, n=100)
    return cuts[49], cuts[98]


def main(folder: str, seconds: str, rounds: str) -> None:
    """Measure, and print."""
    answer: dict[str, list[tuple[float, float]]] = {"without": [], "with": []}
    for number in range(int(rounds)):
        for kind, so_far in answer.items():
            so_far.append(percentiles(Path(folder) / f"{kind}{number}", float(seconds), kind == "with"))
    print(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
