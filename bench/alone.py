"""What must be measured in a process of its own: a cold open, and peak memory.

alone.py open|select|bulk PEER PATH
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import local
import seawall


def main(what: str, peer_name: str, path: Path) -> float:
    """Measure; milliseconds, or MiB."""
    peer = next(peer for peer in local.PEERS if peer.name == peer_name)
    seawall.register()
    began = time.perf_counter()
    connection = peer.connect(path)
    if what == "open":
        connection.execute("SELECT name FROM item WHERE id = 5000").fetchone()
        return (time.perf_counter() - began) * 1e3
    if what == "select":
        local.point_selects(connection)
    else:
        local.load(connection, local.items(local.BULK_ROWS))
    return peak_memory()


def peak_memory() -> float:
    """MiB. The kernel's ru_maxrss would be the parent's, from before this program took the process over."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))))
