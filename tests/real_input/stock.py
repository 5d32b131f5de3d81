"""Stock SQLite in a process of its own: one statement for each line, one line of JSON for each answer.

stock.py NAME
"""

import json
import sqlite3
import sys
from typing import Any

if __name__ == "__main__":
    connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=1)
    for line in sys.stdin:
        answer: dict[str, Any]
        try:
            answer = {"rows": connection.execute(line).fetchall()}
        except sqlite3.Error as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)
