"""The bytes of commits: what they write, what that is billed as, and what a fold cannot do without.

    python bench/bytes.py [--commits 2500] [--rows 20000] [--parts]     # small commits, beside the lower bound
    python bench/bytes.py --costs                                        # each kind of commit, and its price
    python bench/bytes.py --wal [--commits 150000]                       # beside stock SQLite with journal_mode=WAL

`--costs` has the coordinator `dynamodb` as well if it runs beside DynamoDB Local:

    python tests/dynamodb/local.py -- python bench/bytes.py --costs

Each commit is in autocommit, by one process. Only `--wal` has checkpoints and garbage collections. The files are in
TMPDIR.
"""

from __future__ import annotations

import argparse
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import seawall
from frames import NEEDED, Parts, names_of

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "tests"))
from dynamodb.fixtures import client, make_table  # noqa: E402
from dynamodb.local import ENDPOINT  # noqa: E402
from dynamodb.proxy import Proxy  # noqa: E402

if TYPE_CHECKING:
    from collections import Counter

KIB = 1024
#: What AWS takes in us-east-1, in dollars (docs/costs.md): for a million write units, and for a GB written to EFS.
WRITE_UNITS, EFS_WRITES = 0.625, 0.06
#: The least that EFS counts for an operation with data, and for one on a name.
EFS_DATA, EFS_NAME = 32 * KIB, 4 * KIB
PIECES = [f"piece{n * 7919 % 10007}" for n in range(2000)]


def text(row: int, width: int) -> str:
    """A row's text: about `width` characters that compress as words do; or short ones that are alike."""
    if not width:
        return f"choice {row} with some text, as rows have it {row * 7919 % 10007}"
    chance = random.Random(row)
    return " ".join(chance.choice(PIECES) for _ in range(width // 10))


def fill(connection: sqlite3.Connection, rows: int, width: int) -> None:
    """A table of so many rows."""
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, votes INTEGER)")
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO t VALUES (?, ?, 0)", ((row, text(row, width)) for row in range(rows)))
    connection.execute("COMMIT")


class Kinds:
    """Each kind of commit, on a table that `fill` has made."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.next = rows
        self.chance = random.Random(1)

    def vote(self, connection: sqlite3.Connection) -> None:
        """An UPDATE of one of the same four rows."""
        connection.execute("UPDATE t SET votes = votes + 1 WHERE id = ?", (self.chance.randrange(4),))

    def anywhere(self, connection: sqlite3.Connection) -> None:
        """An UPDATE of one row."""
        connection.execute("UPDATE t SET votes = votes + 1 WHERE id = ?", (self.chance.randrange(self.rows),))

    def insert(self, connection: sqlite3.Connection) -> None:
        """An INSERT of one row."""
        connection.execute("INSERT INTO t VALUES (?, ?, 0)", (self.next, text(self.next, 0)))
        self.next += 1

    def ten(self, connection: sqlite3.Connection) -> None:
        """Ten INSERTs."""
        connection.execute("BEGIN IMMEDIATE")
        for _ in range(10):
            self.insert(connection)
        connection.execute("COMMIT")

    def large(self, connection: sqlite3.Connection) -> None:
        """A transaction of 1 MiB that does not compress."""
        connection.execute("BEGIN IMMEDIATE")
        for _ in range(16):
            connection.execute("INSERT INTO t VALUES (?, ?, 0)", (self.next, self.chance.randbytes(64 * KIB)))
            self.next += 1
        connection.execute("COMMIT")


@dataclass
class Measured:
    """What some commits took."""

    commits: int
    bytes: Counter[str]
    count: Counter[str]
    #: Appends, and coordinator's requests.
    appends: int
    requests: int
    #: What EFS counts for what was written.
    efs: float
    #: DynamoDB's write units.
    units: int

    @property
    def total(self) -> float:
        """The bytes of a commit."""
        return sum(self.bytes.values()) / self.commits

    @property
    def bound(self) -> float:
        """Those of them that no fold, and no head, could do without."""
        names = sum(self.bytes[part] for part in self.bytes if part.endswith(" names"))
        return (sum(self.bytes[part] for part in NEEDED) + names) / self.commits

    def each(self, number: float) -> float:
        """For each commit."""
        return number / self.commits

    @property
    def price(self) -> float:
        """Of a million such commits, in dollars."""
        return self.each(self.efs) * 1e6 / 1e9 * EFS_WRITES + self.each(self.units) * WRITE_UNITS


def parts(folder: Path) -> Parts:
    """What the segments and names of a database have."""
    found = Parts()
    found.of_segments(folder)
    found.of_names(folder)
    return found


@contextmanager
def database(rows: int, width: int, **options: object) -> Iterator[tuple[Path, seawall.Connection]]:
    """A database with the table, and a connection."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        name = Path(folder) / "db.sqlite3"
        connection = seawall.connect(name, isolation_level=None, **{"upkeep": False, **options})  # type: ignore[arg-type]
        fill(connection, rows, width)
        yield name, connection
        connection.close()


def measure(
    name: Path, connection: seawall.Connection, commits: int, work: Callable[..., None], item: Item
) -> Measured:
    """Does `work` so often."""
    folder = Path(f"{name}-seawall")
    before, counted, known = parts(folder), seawall.counts(name), names_of(folder)
    item.begin()
    for _ in range(commits):
        work(connection)
        item.committed()
    after, counts = parts(folder), seawall.counts(name) - counted
    taken = after.bytes - before.bytes
    in_segments = sum(size for part, size in taken.items() if not part.endswith(" names"))
    names = [len(target) for version, target in names_of(folder).items() if version not in known]
    efs = max(in_segments, counts.appends * EFS_DATA) + sum(max(EFS_NAME, -(-size // KIB) * KIB) for size in names)
    requests = item.requests()
    return Measured(commits, taken, after.count - before.count, counts.appends, requests, efs, item.units)


class Item:
    """Of the coordinator `fs`, which has none."""

    units = 0

    def begin(self) -> None:
        """What comes now counts."""

    def committed(self) -> None:
        """A commit was made."""

    def requests(self) -> int:
        """How many there were."""
        return 0


class DynamoDbItem(Item):
    """The item of a database on DynamoDB."""

    def __init__(self, endpoint: str, table: str, proxy: Proxy) -> None:
        self.client, self.table, self.proxy = client(endpoint, timeout=60), table, proxy
        self.last, self.sent = 0, 0

    def begin(self) -> None:
        """What comes now counts."""
        self.proxy.reset()
        self.last, self.units, self.sent = self._size(), 0, 0

    def committed(self) -> None:
        """A commit was made."""
        # An update costs what the larger of the two items does.
        size, sent = self._size(), self.requests()
        self.units += (sent - self.sent) * -(-max(size, self.last) // KIB)
        self.last, self.sent = size, sent

    def requests(self) -> int:
        """How many there were."""
        return self.proxy.requests()["UpdateItem"]

    def _size(self) -> int:
        """As DynamoDB counts it: the names of all attributes, and their values."""
        items = self.client.scan(TableName=self.table, ConsistentRead=True)["Items"]
        (item,) = (item for item in items if item["pk"]["S"].startswith("seawall#"))

        def size(value: dict[str, object]) -> int:
            (found,) = value.values()
            if "N" in value:
                return len(str(found)) // 2 + 1 + 1
            return len(found) if isinstance(found, bytes) else len(str(found))

        return sum(len(attribute) + size(dict(value)) for attribute, value in item.items())


def small(rows: int, commits: int, with_parts: bool) -> None:
    """Small commits, beside what a fold cannot do without."""
    print("| UPDATEs of one row | bytes a commit | lower bound | ratio | commits in a fold | pages in a fold |")
    print("| --- | --- | --- | --- | --- | --- |")
    kinds = Kinds(rows)
    rows_of = [
        ("the same four rows", 0, kinds.vote),
        ("rows at random", 0, kinds.anywhere),
        ("rows at random, of 300 characters", 300, kinds.anywhere),
    ]
    details = []
    for what, width, work in rows_of:
        with database(rows, width) as (name, connection):
            found = measure(name, connection, commits, work, Item())
        folds = found.count["folds"]
        print(
            f"| {what} | {found.total:,.0f} | {found.bound:,.0f} | {found.total / found.bound:.2f} "
            f"| {commits / folds:.1f} | {found.count['pages'] / folds:.1f} |"
        )
        details += [f"\n{what}, bytes a commit:"]
        details += [f"{size / commits:10,.1f}  {part}" for part, size in found.bytes.most_common()]
    if with_parts:
        print(*details, sep="\n")


def costs(rows: int, commits: int) -> None:
    """Each kind of commit, and what it is billed as."""
    endpoint = os.environ.get(ENDPOINT)
    print("| coordinator | commit | bytes | appends | EFS counts | requests | write units | a million |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for coordinator in ("fs", "dynamodb") if endpoint else ("fs",):
        for what in ("a vote", "an UPDATE of any row", "an INSERT", "ten INSERTs", "1 MiB"):
            kinds = Kinds(rows)
            work, times = {
                "a vote": (kinds.vote, commits),
                "an UPDATE of any row": (kinds.anywhere, commits),
                "an INSERT": (kinds.insert, commits),
                "ten INSERTs": (kinds.ten, commits),
                "1 MiB": (kinds.large, 20),
            }[what]
            if coordinator == "fs" or endpoint is None:
                with database(rows, 0) as (name, connection):
                    found = measure(name, connection, times, work, Item())
            else:
                with Proxy(endpoint) as proxy:
                    table = make_table(endpoint)
                    url = f"dynamodb://{table}?endpoint={proxy.endpoint}"
                    with database(rows, 0, coordinator=url) as (name, connection):
                        found = measure(name, connection, times, work, DynamoDbItem(endpoint, table, proxy))
            print(
                f"| {coordinator} | {what} | {found.total:,.0f} | {found.each(found.appends):.2f} "
                f"| {found.each(found.efs) / KIB:.1f} KiB | {found.each(found.requests):.2f} "
                f"| {found.each(found.units):.2f} | ${found.price:.2f} |"
            )
    if endpoint is None:
        print(f"SKIPPED: dynamodb: there is no {ENDPOINT} (tests/dynamodb/local.py sets it)")


def wal(rows: int, commits: int) -> None:
    """UPDATEs of rows at random, with upkeep as it is by default, beside stock SQLite."""
    print("| | written, MiB | bytes a commit | files at the end, MiB |")
    print("| --- | --- | --- | --- |")
    for what in ("stock SQLite, journal_mode=WAL", "Seawall"):
        answer = subprocess.run(
            [sys.executable, __file__, "--rows", str(rows), "--commits", str(commits), "--one-of-wal", what],
            check=True,
            capture_output=True,
            text=True,
        )
        written, used = map(int, answer.stdout.split())
        print(f"| {what} | {written / KIB**2:,.0f} | {written / commits:,.0f} | {used / KIB**2:,.1f} |", flush=True)


def one_of_wal(what: str, rows: int, commits: int) -> None:
    """The bytes that this process writes, and those that are used at the end."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        name = Path(folder) / "db.sqlite3"
        if what == "Seawall":
            connection: sqlite3.Connection = seawall.connect(name, isolation_level=None)
        else:
            connection = sqlite3.connect(name, isolation_level=None)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
        fill(connection, rows, 0)
        work, before = Kinds(rows).anywhere, written_by_this_process()
        for _ in range(commits):
            work(connection)
        # Names are younger than history, so that none of them was taken away.
        targets = names_of(Path(f"{name}-seawall")) if what == "Seawall" else {}
        names = sum(map(len, targets.values()))
        written = written_by_this_process() - before + names
        used = subprocess.run(["du", "-s", "-B1", folder], check=True, capture_output=True, text=True)
        print(written, used.stdout.split()[0])
        connection.close()


def written_by_this_process() -> int:
    """Bytes that it has given to write() and the like."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["wchar"])


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commits", type=int)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--parts", action="store_true", help="what the bytes are")
    parser.add_argument("--costs", action="store_true", help="each kind of commit, and its price")
    parser.add_argument("--wal", action="store_true", help="beside stock SQLite's WAL")
    parser.add_argument("--one-of-wal", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one_of_wal:
        one_of_wal(given.one_of_wal, given.rows, given.commits)
    elif given.wal:
        wal(given.rows, given.commits or 150_000)
    elif given.costs:
        costs(given.rows, given.commits or 1000)
    else:
        small(given.rows, given.commits or 2500, given.parts)


if __name__ == "__main__":
    main()
