"""Several processes on two clients vote for one choice: how many votes, and how long each of them waits.

    python3 -m nfs.turns BESIDE RESULTS        in the guest, beside the server

BESIDE is the folder of another build's module, which is measured in the same run, or `-`. `make nfs` takes it from
SEAWALL_TURNS_BESIDE.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from nfs import guest
from nfs.lab import ROOT

sys.path.append(str(ROOT / "bench"))
from voters import Voter

CLIENTS = (1, 2)
WRITERS, SECONDS, ROUNDS = 8, 6, 3
LONGEST_WAIT = 10
"""No wait may be longer than so many fair shares."""


def vote(name: Path, module: Path, writers: int, *, new: bool) -> dict[str, Any]:
    """One round of so many processes."""
    settings = {"path": str(name), "coordinator": "fs:", "new": new, "seconds": SECONDS, "threads": 1}
    clients = [CLIENTS[n % len(CLIENTS)] for n in range(writers)]
    voters = [Voter(module, settings, guest.within(client)) for client in clients]
    voters[0].ask("votes")
    had = voters[0].answer()
    for voter in voters:
        voter.ask("vote")
    results = [one for voter in voters for one in voter.answer()]
    voters[0].ask("votes")
    lost = sum(len(one["times"]) for one in results) - (voters[0].answer() - had)
    for voter in voters:
        voter.end()
    times = sorted(taken for one in results for taken in one["times"])
    each = [len(one["times"]) for one in results]
    return {
        "rate": len(times) / SECONDS,
        "p50": times[len(times) // 2],
        "p99": times[len(times) * 99 // 100],
        "longest": max(one["longest"] for one in results) * 1e3,
        "each": [min(each), max(each)],
        "errors": sum(one["errors"] for one in results),
        "lost": lost,
    }


def middle(rounds: list[dict[str, Any]], what: str) -> float:
    """The median of a figure."""
    return float(statistics.median(one[what] for one in rounds))


def row(name: Path, title: str, module: Path, *, new: bool) -> dict[str, Any]:
    """The rounds of one build, with one kind of connections."""
    alone = [vote(name, module, 1, new=new) for _ in range(ROUNDS)]
    together = [vote(name, module, WRITERS, new=new) for _ in range(ROUNDS)]
    fair = WRITERS * middle(alone, "p50")
    return {
        "title": title,
        "alone": middle(alone, "p50"),
        "fair": fair,
        **{what: middle(together, what) for what in ("rate", "p50", "p99")},
        "longest": max(one["longest"] for one in together),
        "each": [min(one["each"][0] for one in together), max(one["each"][1] for one in together)],
        "broken": sum(one["errors"] + one["lost"] for one in [*alone, *together]),
    }


def main(beside: str, results: str) -> None:
    """Measure, and check."""
    builds = {"this build": ROOT / "python", **({"the other build": Path(beside)} if beside != "-" else {})}
    folder = guest.folder("turns")
    rows: list[dict[str, Any]] = []
    for build, module in builds.items():
        for new in (False, True):
            title = f"{build}, {'a connection for each vote' if new else 'kept connections'}"
            rows.append(row(folder / f"{len(rows)}.sqlite3", title, module, new=new))
            print(f"  {rows[-1]}", flush=True)
            time.sleep(1)
    measured = {"writers": WRITERS, "clients": len(CLIENTS), "seconds": SECONDS, "rounds": ROUNDS}
    facts = {"rows": rows, **measured, "longest_wait": LONGEST_WAIT}
    # The page has the figures, whatever is asserted of them.
    Path(results).write_text(json.dumps(facts))
    for ours in rows[:2]:
        assert ours["broken"] == 0, "every vote was acknowledged, and counted once"
        assert ours["longest"] <= LONGEST_WAIT * ours["fair"], "no process waits for long"


if __name__ == "__main__":
    main(*sys.argv[1:])
