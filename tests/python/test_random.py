"""Random statements, transactions and savepoints on a Seawall database and on a stock one: they always agree."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest

from .conftest import Connect, intact, rows

STEPS = 150
WHOLE = "SELECT id, hex(value) FROM t ORDER BY id"


class Pair:
    """Two connections to the same Seawall database, and one to a stock one that does the same."""

    def __init__(self, connect: Connect, stock: Path, choose: random.Random) -> None:
        self.choose = choose
        self.ours = [connect(), connect()]
        self.stock = sqlite3.connect(stock, isolation_level=None)
        self.run("CREATE TABLE t (id INTEGER PRIMARY KEY, value BLOB)")

    def run(self, sql: str, connection: sqlite3.Connection | None = None) -> None:
        """Run a statement on one of ours and on the stock one: both fail, or neither."""
        outcomes = []
        for each in (connection or self.choose.choice(self.ours), self.stock):
            try:
                each.execute(sql)
                outcomes.append("")
            except sqlite3.IntegrityError as error:
                outcomes.append(str(error))
        assert outcomes[0] == outcomes[1]

    def change(self) -> str:
        """A statement that changes the table; its result depends on the content only."""
        n, size, seed = (self.choose.randrange(1, limit) for limit in (60, 9000, 1 << 30))
        some = f"id % {self.choose.randrange(2, 9)} = 0"
        value = f"CAST(printf('%0{size}d', {seed} + id) AS BLOB)"
        return self.choose.choice(
            [
                f"WITH RECURSIVE c(id) AS (SELECT {n} UNION ALL SELECT id + 3 FROM c WHERE id < {n * 4}) "
                f"INSERT OR REPLACE INTO t SELECT id, {value} FROM c",
                f"INSERT INTO t SELECT {n} + id, {value.replace('id', str(n))} FROM t WHERE {some}",
                f"UPDATE t SET value = {value} WHERE {some}",
                f"DELETE FROM t WHERE {some}",
                f"DELETE FROM t WHERE id > {n * 3}",
            ]
        )

    def transaction(self) -> None:
        """A transaction with savepoints, committed or rolled back."""
        connection = self.choose.choice(self.ours)
        connection.execute(f"PRAGMA cache_size={self.choose.choice([5, 20, 2000])}")
        self.run(self.choose.choice(["BEGIN", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"]), connection)
        depth = 0
        for _ in range(self.choose.randrange(6)):
            self.run(self.change(), connection)
            match self.choose.randrange(6):
                case 0:
                    self.run(f"SAVEPOINT s{depth}", connection)
                    depth += 1
                case 1 if depth:
                    self.run(f"ROLLBACK TO s{self.choose.randrange(depth)}", connection)
                    depth = 0
                case 2 if depth:
                    depth -= 1
                    self.run(f"RELEASE s{depth}", connection)
        self.run(self.choose.choice(["COMMIT", "COMMIT", "ROLLBACK"]), connection)

    def agree(self) -> bool:
        expected = rows(self.stock, WHOLE)
        return all(rows(connection, WHOLE) == expected for connection in self.ours)


@pytest.mark.parametrize("seed", range(6))
def test_random_statements(connect: Connect, tmp_path: Path, seed: int) -> None:
    choose = random.Random(seed)
    pair = Pair(connect, tmp_path / "stock.sqlite3", choose)
    if seed % 2:
        for connection in (*pair.ours, pair.stock):
            connection.execute("PRAGMA auto_vacuum=FULL")
        pair.run("VACUUM")
    for step in range(STEPS):
        match choose.randrange(12):
            case 0:
                pair.run("VACUUM")
            case 1:
                pair.run("CREATE INDEX IF NOT EXISTS i ON t (value)")
            case 2:
                pair.run("DROP INDEX IF EXISTS i")
            case 3 | 4:
                pair.run(pair.change())
            case _:
                pair.transaction()
        assert pair.agree(), f"seed {seed}, step {step}"
    assert all(intact(connection) for connection in (*pair.ours, connect()))
