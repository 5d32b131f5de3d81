"""A writer that does one step for each line that it receives, and answers with one. The test decides the order.

    hand.py NAME LEASE

A line is an SQL statement, or `counts`; the answer is JSON: rows, or the error.
"""

import json
import os
import sqlite3
import sys
from dataclasses import asdict
from typing import Any

import seawall

COORDINATOR = os.environ.get("SEAWALL_COORDINATOR", "fs:")


def main(name: str, lease: str) -> None:
    connection = seawall.connect(name, coordinator=COORDINATOR, lease=float(lease), timeout=20, isolation_level=None)
    for line in sys.stdin:
        print(json.dumps(answer(name, connection, line.strip())), flush=True)


def answer(name: str, connection: sqlite3.Connection, step: str) -> Any:
    if step == "counts":
        return asdict(seawall.counts(name, coordinator=COORDINATOR))
    try:
        return connection.execute(step).fetchall()
    except sqlite3.Error as error:
        return {"error": type(error).__name__, "code": getattr(error, "sqlite_errorname", None), "text": str(error)}


if __name__ == "__main__":
    main(*sys.argv[1:])
