"""Requests: their transactions share one question to the coordinator, under WSGI and ASGI."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import seawall
from django.core.asgi import get_asgi_application
from django.core.signals import request_finished, request_started
from django.test import Client
from seawall.django import requests
from seawall.django.base import DatabaseWrapper

Open = Callable[..., DatabaseWrapper]


@contextmanager
def request() -> Iterator[None]:
    """A request, as a handler announces it."""
    request_started.send(sender=None, environ={})
    try:
        yield
    finally:
        request_finished.send(sender=None)


def run(database: DatabaseWrapper, sql: str) -> list[Any]:
    with database.cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())


def questions(path: Path, database: DatabaseWrapper, reads: int) -> int:
    """How often the coordinator is asked for so many reads."""
    before = seawall.counts(path)
    for _ in range(reads):
        run(database, "SELECT count(*) FROM t")
    return (seawall.counts(path) - before).coordinator


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "db.sqlite3"


@pytest.mark.parametrize(
    ("freshness", "in_request", "outside"),
    [("request", 1, 20), ("transaction", 20, 20), (60, 0, 0)],
)
def test_freshness(open_database: Open, path: Path, freshness: str, in_request: int, outside: int) -> None:
    database = open_database({"freshness": freshness})
    run(database, "CREATE TABLE t (x)")
    assert questions(path, database, 20) == outside
    with request():
        assert questions(path, database, 20) <= in_request
    assert questions(path, database, 20) == outside


def test_a_request_sees_what_was_committed_before_it(open_database: Open) -> None:
    database, other = open_database(), open_database()
    run(other, "CREATE TABLE t (x)")
    for number in range(1, 20):
        run(other, f"INSERT INTO t VALUES ({number})")
        with request():
            assert run(database, "SELECT count(*) FROM t") == [(number,)]


def test_a_request_sees_its_own_writes(open_database: Open) -> None:
    database = open_database()
    run(database, "CREATE TABLE t (x)")
    with request():
        run(database, "SELECT * FROM t")
        run(database, "INSERT INTO t VALUES (1)")
        assert run(database, "SELECT * FROM t") == [(1,)]


JOB = """
import sys, time, seawall
time.sleep(0.3)
with seawall.connect(sys.argv[1]) as database:
    database.execute("INSERT INTO result VALUES ('done')")
"""


def test_a_view_that_waits_sees_the_result_of_its_job(open_database: Open, path: Path) -> None:
    """Also server-sent events, long polling: each query sees what was committed a second before."""
    database = open_database()
    run(database, "CREATE TABLE result (what)")
    with request():
        assert run(database, "SELECT * FROM result") == []
        with subprocess.Popen([sys.executable, "-c", JOB, path]):
            deadline = time.monotonic() + 20
            while not (rows := run(database, "SELECT * FROM result")):
                assert time.monotonic() < deadline, "the request shows one version for ever"
                time.sleep(0.05)
    assert rows == [("done",)]


def test_the_age_of_what_a_request_uses_is_an_option(open_database: Open, path: Path) -> None:
    asking, patient = open_database({"request_age": 0}), open_database({"request_age": 60})
    run(asking, "CREATE TABLE t (x)")
    with request():
        assert questions(path, asking, 20) == 20
        assert questions(path, patient, 20) == 0


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What happened, in which thread: requests that began and ended, and a view's queries."""
    from polls import views

    happened: list[tuple[str, int]] = []

    def note(name: str) -> Callable[..., None]:
        return lambda *_: happened.append((name, threading.get_ident()))

    published = views.published

    def queried() -> Any:
        note("query")()
        return published().none()

    monkeypatch.setattr(seawall, "begin_request", note("begin"))
    monkeypatch.setattr(seawall, "end_request", note("end"))
    monkeypatch.setattr(views, "published", queried)
    return happened


def in_one_thread(calls: list[tuple[str, int]]) -> list[str]:
    assert len({thread for _, thread in calls}) == 1
    return [name for name, _ in calls]


def test_wsgi(calls: list[tuple[str, int]]) -> None:
    assert Client(headers={"host": "localhost"}).get("/polls/").status_code == 200
    assert in_one_thread(calls) == ["begin", "query", "end"]


def test_asgi(calls: list[tuple[str, int]]) -> None:
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/polls/",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
    }
    received = iter([{"type": "http.request"}])
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        for message in received:
            return message
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(get_asgi_application()(scope, receive, send))
    assert sent[0]["status"] == 200
    assert in_one_thread(calls) == ["begin", "query", "end"]


def sent(method: str, path: str) -> list[str | None]:
    """The routes that a request by WSGI, and one by ASGI, are begun with."""
    wsgi = requests.route({"REQUEST_METHOD": method, "PATH_INFO": path}, None)
    asgi = requests.route(None, {"type": "http", "method": method, "path": path})
    return [wsgi, asgi]


def test_requests_that_probably_write_have_a_route() -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert sent(method, "/polls/17/vote/") == [f"{method} /polls/#/vote/"] * 2
    assert sent("POST", "/polls/3f2a-0b/") == sent("POST", "/polls/9/")
    assert sent("POST", "/polls/") != sent("POST", "/ask/")
    for method in ("GET", "HEAD", "OPTIONS"):
        assert sent(method, "/polls/17/vote/") == [None, None]
    assert requests.route(None, None) is None, "a signal that something else sends"


def test_a_long_path_takes_no_time() -> None:
    for path in ("/" + "a" * 200_000, "/a" * 100_000, "/" + "a1" * 100_000):
        began = time.process_time()
        assert sent("POST", path)[0] is not None
        assert time.process_time() - began < 0.5
