"""`make nfs`: Seawall on real NFSv4.1 clients, in a guest with a server of its own; writes docs/benchmarks-nfs.md.

    PYTHONPATH=tests python -m nfs.run [PART ...]      with parts: only those, and nothing is written

Where there is no lab it says SKIPPED and why, and that is no success. SEAWALL_FIRE_SEED repeats the bank's faults.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from nfs import page
from nfs.lab import ROOT, Absent, Lab

RESULTS = ROOT / "build" / "nfs"
SEED = os.environ.get("SEAWALL_FIRE_SEED", str(random.SystemRandom().randrange(1 << 32)))
PARTS: dict[str, list[object]] = {
    "calls": ["nfs.calls"],
    "fresh": ["nfs.fresh", 10_000],
    "early": ["nfs.early", 90],
    "lost": ["nfs.lost"],
    "adoption": ["nfs.adoption", 120],
    "turns": ["nfs.turns", os.environ.get("SEAWALL_TURNS_BESIDE", "-")],
    "bank2": ["nfs.bank", 2, SEED, 0],
    "bank3": ["nfs.bank", 3, SEED, 0],
    "maintained": ["nfs.bank", 2, SEED, 120],
}
"""Each a module that runs in the guest; it fails if anything was not as promised."""
BUSY = {"early"}
"""These run while the host is busy: the guest's disk is slow then, and so is its server."""
BURN = ["nice", "-n", "19", sys.executable, "-c", "while True: pass"]


@contextmanager
def busy_host() -> Iterator[None]:
    """Every processor of the host has something else to do."""
    burners = [subprocess.Popen(BURN) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def run(lab: Lab, part: str) -> bool:
    """One part: whether all was as promised. Its results are in a file then."""
    module, *arguments = map(str, PARTS[part])
    results = RESULTS / f"{part}.json"
    results.unlink(missing_ok=True)
    print(f"\n{part}: python3 -m {module} {' '.join(arguments)}", flush=True)
    began = time.monotonic()
    with busy_host() if part in BUSY else nullcontext():
        code = lab.python("-m", module, *arguments, str(results))
    good = code == 0 and results.exists()
    print(f"{part}: {'passed' if good else f'FAILED (exit {code})'}, {time.monotonic() - began:.0f} s", flush=True)
    return good


def main(parts: list[str]) -> int:
    """Run the parts; 0 if all was as promised, or if there is no lab."""
    commit = page.revision()
    try:
        with Lab() as lab:
            RESULTS.mkdir(parents=True, exist_ok=True)
            passed = {part: run(lab, part) for part in parts or PARTS}
    except Absent as why:
        print(f"\nSKIPPED: make nfs: {why}. Nothing was tested.")
        return 0
    files = {part: RESULTS / f"{part}.json" for part in passed}
    results = {part: json.loads(file.read_text()) for part, file in files.items() if file.exists()}
    print("\n" + page.sections(results))
    failed = [part for part, good in passed.items() if not good]
    if passed.keys() == PARTS.keys():
        (ROOT / "docs" / "benchmarks-nfs.md").write_text(page.page(results, failed, commit))
    print(f"FAILED: {', '.join(failed)}" if failed else f"passed: {', '.join(passed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
