"""Closes the books of a bank, as one client sees it; run on that client.

python3 -m nfs.closing '{"name": …, "opened": VERSION, "clerks": [LOG …], "auditors": [LOG …], "maintained": BOOL}'
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from fire.books import close_books

from nfs.bank import EXPECTED_ERRORS


def main(task: str) -> None:
    given = json.loads(task)
    name = Path(given["name"])
    clerks, auditors = ([Path(log) for log in given[group]] for group in ("clerks", "auditors"))
    books = close_books(name, "fs:", clerks, auditors, given["opened"], given["maintained"])
    name.with_name("copy.sqlite3").unlink()
    assert set(books.errors) <= EXPECTED_ERRORS, books.failures
    assert books.unanswered == [], books.unanswered
    assert min(len(audit) for audit in books.audits) > 10, "each auditor was at work"
    print(books)


if __name__ == "__main__":
    main(*sys.argv[1:])
