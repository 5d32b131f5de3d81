"""The bytes of small commits, by the embedded coordinator: what segments and the targets of symlinks take.

    python bench/bytes.py [--commits 2500] [--rows 20000]

Each commit is an UPDATE of one row, in autocommit: of the same four rows, or of rows at random. Folds, indexes and
names are included; what a checkpoint and a garbage collection take away later is not.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path

import seawall


def taken(folder: Path) -> tuple[int, int]:
    """The bytes of all segments, and those of the targets of all names."""
    segments = sum(path.stat().st_size for path in (folder / "segments").iterdir())
    return segments, sum(len(str(path.readlink())) for path in (folder / "commits").iterdir())


def measure(rows: int, commits: int, among: int) -> tuple[float, float]:
    """Bytes of segments, and of names, for each commit."""
    with tempfile.TemporaryDirectory() as folder:
        name = Path(folder) / "db.sqlite3"
        connection = seawall.connect(name, isolation_level=None, upkeep=False)
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, votes INTEGER)")
        texts = ((row, f"choice {row} with some text, as rows have it {row * 7919 % 10007}") for row in range(rows))
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO t VALUES (?, ?, 0)", texts)
        connection.execute("COMMIT")
        chance = random.Random(1)
        before = taken(Path(f"{name}-seawall"))
        for _ in range(commits):
            connection.execute("UPDATE t SET votes = votes + 1 WHERE id = ?", (chance.randrange(among),))
        after = taken(Path(f"{name}-seawall"))
        connection.close()
    return (after[0] - before[0]) / commits, (after[1] - before[1]) / commits


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commits", type=int, default=2500)
    parser.add_argument("--rows", type=int, default=20_000)
    given = parser.parse_args()
    for what, among in (("the same four rows", 4), ("rows at random", given.rows)):
        segments, names = measure(given.rows, given.commits, among)
        print(f"{what}: {segments:.0f} bytes of segments + {names:.0f} of names = {segments + names:.0f} a commit")


if __name__ == "__main__":
    main()
