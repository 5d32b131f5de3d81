"""Cursors are Python's own; the rows of `INSERT … RETURNING`, which are read when it is executed, come as ever."""

from __future__ import annotations

import sqlite3

import pytest
from seawall.cursor import LONG, MANY, RETURNS_NOTHING

from .conftest import Connect, one

INSERT = "INSERT INTO t VALUES (1), (2), (3), (4), (5) RETURNING a AS number"


@pytest.fixture
def connection(connect: Connect) -> sqlite3.Connection:
    connection = connect()
    connection.execute("CREATE TABLE t (a)")
    return connection


def test_every_way_to_fetch_them(connection: sqlite3.Connection) -> None:
    cursor = connection.execute(INSERT)
    assert (cursor.description[0][0], cursor.rowcount) == ("number", 5)
    assert cursor.fetchone() == (1,)
    assert next(cursor) == (2,)
    assert cursor.fetchmany() == [(3,)]
    assert list(cursor) == [(4,), (5,)]
    assert cursor.fetchone() is None
    assert (cursor.fetchmany(2), cursor.fetchall(), list(cursor)) == ([], [], [])
    with pytest.raises(StopIteration):
        next(cursor)
    assert cursor.execute(INSERT).fetchmany(size=4) == [(1,), (2,), (3,), (4,)]
    assert cursor.fetchall() == [(5,)]
    assert cursor.execute("SELECT 7").fetchall() == [(7,)]


def test_another_statement_and_a_closed_cursor_end_them(connection: sqlite3.Connection) -> None:
    cursor = connection.execute(INSERT)
    assert cursor.execute("DELETE FROM t").fetchall() == []
    cursor.execute(INSERT)
    cursor.executemany("DELETE FROM t WHERE a = ?", [(1,), (2,)])
    assert cursor.fetchall() == []
    cursor.execute(INSERT)
    cursor.close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed cursor"):
        cursor.fetchone()


def test_they_are_committed_when_the_first_one_comes(connection: sqlite3.Connection, connect: Connect) -> None:
    connection.execute(INSERT).fetchone()
    assert one(connect(), "SELECT count(*) FROM t") == 5


def test_row_factories(connection: sqlite3.Connection) -> None:
    connection.row_factory = sqlite3.Row
    assert [row["number"] for row in connection.execute(INSERT)] == [1, 2, 3, 4, 5]


def test_in_a_transaction(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN")
    assert connection.execute(INSERT).fetchall() == [(1,), (2,), (3,), (4,), (5,)]
    connection.execute("ROLLBACK")
    assert one(connection, "SELECT count(*) FROM t") == 0


def test_what_a_cursor_can_be(connection: sqlite3.Connection) -> None:
    class Own(sqlite3.Cursor):
        pass

    assert isinstance(connection.cursor(Own), Own)
    for wrong in (str, lambda connection: None):
        with pytest.raises(TypeError):
            connection.cursor(wrong)  # type: ignore[type-var]


def test_a_query_is_read_as_it_is_asked_for(connection: sqlite3.Connection) -> None:
    endless = "WITH RECURSIVE c (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c"
    assert connection.execute(endless).fetchmany(3) == [(1,), (2,), (3,)]


def test_another_statement_in_the_loop_over_its_rows(connection: sqlite3.Connection) -> None:
    stock = sqlite3.connect(":memory:", isolation_level=None)
    stock.execute("CREATE TABLE t (a)")

    def loop(connection: sqlite3.Connection, first: str, then: str) -> list[tuple[int, ...]]:
        connection.execute("DELETE FROM t")
        connection.execute("INSERT INTO t VALUES (1), (2), (3)")
        cursor = connection.cursor()
        seen = []
        for row in cursor.execute(first):
            seen.append(row)
            if len(seen) == 1:
                cursor.execute(then)
        return seen

    select, update = "SELECT a FROM t", "UPDATE t SET a = a + 100 RETURNING a"
    for first, then in ((select, update), (update, select), (select, "SELECT 7"), (update, update)):
        assert loop(connection, first, then) == loop(stock, first, then), (first, then)


def test_a_class_that_fetches_in_its_own_way(connection: sqlite3.Connection) -> None:
    class Named(sqlite3.Cursor):
        def __next__(self) -> dict[str, int]:
            return dict(zip((name for name, *_ in self.description), super().__next__(), strict=True))

    assert list(connection.cursor(Named).execute("SELECT 1 AS one")) == [{"one": 1}]
    assert next(iter(connection.cursor(Named).execute(INSERT))) == {"number": 1}
    assert connection.execute(INSERT).fetchmany(-1) == [(1,), (2,), (3,), (4,), (5,)]


def test_a_class_that_executes_in_its_own_way(connection: sqlite3.Connection) -> None:
    class Formats(sqlite3.Cursor):
        def execute(self, sql: str, parameters: tuple[int, ...] | None = None) -> sqlite3.Cursor:  # type: ignore[override]
            # As Django's cursors do: only what has parameters is formatted.
            return super().execute(sql if parameters is None else sql % parameters)

    assert connection.cursor(Formats).execute("SELECT '%d'").fetchall() == [("%d",)]
    assert connection.cursor(Formats).execute("SELECT '%%', %d", (7,)).fetchall() == [("%", 7)]
    assert connection.cursor(Formats).execute(INSERT).fetchone() == (1,)


def test_a_cursor_that_no_connection_has_made(connection: sqlite3.Connection, connect: Connect) -> None:
    cursor = type(connection.cursor())(connection)
    assert (cursor.fetchone(), cursor.fetchmany(2), cursor.fetchall()) == (None, [], [])
    assert cursor.execute(INSERT).fetchone() == (1,)
    assert one(connect(), "SELECT count(*) FROM t") == 5
    assert cursor.execute("SELECT ? + 1", (6,)).fetchall() == [(7,)]


def test_texts_that_return_nothing_are_remembered_and_take_little_memory(
    connection: sqlite3.Connection, connect: Connect
) -> None:
    for n in range(MANY + 10):
        connection.execute(f"SELECT {n}")
    long = f"SELECT 1{' ' * LONG}"
    for _ in range(2):
        assert connection.execute(long).fetchall() == [(1,)]
    assert 0 < len(RETURNS_NOTHING) <= MANY
    assert long not in RETURNS_NOTHING
    for n in range(1, 3):
        # The rows are read when it is executed, this time as well.
        assert connection.execute(INSERT).fetchone() == (1,)
        assert one(connect(), "SELECT count(*) FROM t") == 5 * n
