"""Beside django-sqlite-efs: a Django site on the design's costs for EFS, and Amazon's DynamoDB Local 4 ms away.

Both ENGINEs serve it with the same settings, in the same Python with the same Django (that which django-sqlite-efs
asks for). Each process works in its machine's mount; NAME is the same on all of them.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from figures import OURS, Row, number, rounds
from slowfs import Absent, SlowFolder, machines

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "tests"))
import django_sqlite_efs.peer as peers  # noqa: E402
import dynamodb.local as local_dynamodb  # noqa: E402
from django_sqlite_efs.peer import Application  # noqa: E402
from dynamodb.fixtures import client, make_table  # noqa: E402
from dynamodb.proxy import Proxy  # noqa: E402


@dataclass(frozen=True)
class Engine:
    """Who serves the site."""

    name: str
    entry: dict[str, Any] = field(hash=False)
    """What DATABASES says of it."""
    file: str
    """Its database."""


def ours(file: str, coordinator: str | None, *, keeps: bool) -> Engine:
    """Seawall, on the table of the settings or on another coordinator, with connections that are kept or not."""
    options: dict[str, Any] = {"timeout": 20} | ({"coordinator": coordinator} if coordinator else {})
    return Engine(OURS, {"ENGINE": peers.SEAWALL, "CONN_MAX_AGE": None if keeps else 0, "OPTIONS": options}, file)


SEED = Engine("django-sqlite-efs", {"ENGINE": peers.SEED}, "seed")
SEAWALL = ours("seawall", None, keeps=True)
SEAWALL_NEW = ours("seawall", None, keeps=False)
SEAWALL_FS = ours("fs", "fs:", keeps=True)
SEAWALL_FS_NEW = ours("fs", "fs:", keeps=False)
PLAIN = Engine("stock SQLite", {"ENGINE": "django.db.backends.sqlite3"}, "plain")

MACHINES, PROCESSES = 4, 8
LATENCY = 0.004
ROUNDS, REQUESTS = 5, 8
STARTS = 7
LONG_ROUNDS, WRITING, READING = 2, 6, 6
"""How often the long ones are measured, and for how many seconds each time."""
LONGEST_WAIT, FAIR_SHARES = 0.5, 4
"""Goals for the turns of several writers: seconds, and p99 in fair shares (writers times a vote alone)."""
PAUSE = 0.05
"""Between two requests: what a request leaves to the background is done and counted before the next."""


@dataclass(frozen=True)
class Cost:
    """What went over the network: to and from the file system, and DynamoDB."""

    operations: float = 0
    kib: float = 0
    requests: Counter[str] = field(default_factory=Counter)
    requests_kib: float = 0

    def __sub__(self, other: Cost) -> Cost:
        return Cost(
            self.operations - other.operations,
            self.kib - other.kib,
            self.requests - other.requests,
            self.requests_kib - other.requests_kib,
        )

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.operations + other.operations,
            self.kib + other.kib,
            self.requests + other.requests,
            self.requests_kib + other.requests_kib,
        )

    def each(self, times: int) -> str:
        """In words, for one of so many times."""
        files = f"{number(self.operations / times)} file operations ({number(self.kib / times)} KiB)"
        asked = [f"{number(count / times)} {what}" for what, count in sorted(self.requests.items())]
        return f"{files}, {' + '.join(asked)} ({number(self.requests_kib / times)} KiB)" if asked else files


class Bench:
    """The site, served by eight processes on four machines for each ENGINE."""

    def __init__(self, mounts: Sequence[SlowFolder], proxy: Proxy, table: str) -> None:
        self.mounts, self.proxy = mounts, proxy
        self.environment = {
            **local_dynamodb.CREDENTIALS,
            "AWS_ENDPOINT_URL_DYNAMODB": proxy.endpoint,
            # A function that may take 30 seconds, by django-sqlite-efs's README.
            "SQLITE_LOCK_DYNAMODB_TABLE": table,
            "SQLITE_LOCK_EXPIRATION": "30",
            "PYTHONPATH": str(HERE),
            "PYTHONDONTWRITEBYTECODE": "",
        }
        self.processes: dict[Engine, list[Application]] = {}
        self.alone: dict[Engine, float] = {}
        """How long a vote takes that nobody disturbs, in milliseconds."""

    def start(self, engine: Engine, machine: int = 0) -> Application:
        """Start a process."""
        entry = {"NAME": f"{engine.file}.sqlite3", "OPTIONS": {"timeout": 20}, **engine.entry}
        settings = {"DATABASES": {"default": entry}, "ROOT_URLCONF": "seed_site"}
        return Application(settings, self.environment, self.mounts[machine].path)

    def open(self) -> None:
        """Make the databases, as plain SQLite files."""
        plain = self.start(PLAIN)
        plain.do("call_command('migrate', verbosity=0); import seed_site; seed_site.fill()")
        plain.kill()
        folder = self.mounts[0].path
        for engine in (SEED, SEAWALL, SEAWALL_FS):
            shutil.copy(folder / f"{PLAIN.file}.sqlite3", folder / f"{engine.file}.sqlite3")

    def serving(self, engine: Engine) -> list[Application]:
        """The processes of an ENGINE: started when they are first needed, when each serves what it will."""
        if engine not in self.processes:
            self.processes[engine] = [self.start(engine, number % MACHINES) for number in range(PROCESSES)]
            for process in self.processes[engine]:
                process.do("from seed_site import *")
                process.do("served('/page/0/'), served('/vote/0/')")
        return self.processes[engine]

    def close(self) -> None:
        """End all processes."""
        for process in (process for started in self.processes.values() for process in started):
            process.kill()

    def cost(self) -> Cost:
        """What went over the network by now."""
        counts = self.proxy.counts()
        return Cost(
            operations=sum(mount.operations() for mount in self.mounts),
            kib=sum(mount.moved() for mount in self.mounts) / 1024,
            requests=Counter({what: count.requests for what, count in counts.items()}),
            requests_kib=sum(count.bytes_in + count.bytes_out for count in counts.values()) / 1024,
        )

    def serve(self, what: str, method: str, others_vote: bool, row: Row, engine: Engine) -> float:
        """Serve some requests; milliseconds for one, by the median."""
        here, there, *_ = self.serving(engine)
        times: list[float] = []
        cost = Cost()
        for which in range(REQUESTS):
            if others_vote:
                there.do(f"served('/vote/{which}/')")
            time.sleep(PAUSE)
            before = self.cost()
            times.append(here.do(f"served('/{what}/{which * 37}/', {method!r})"))
            time.sleep(PAUSE)
            cost += self.cost() - before
        row.notes[engine.name] = cost.each(REQUESTS)
        return statistics.median(times)

    def compete(self, count: int, row: Row, engine: Engine) -> float:
        """So many processes vote for one choice, as fast as they can; acknowledged votes per second."""
        processes = self.serving(engine)[:count]
        if engine not in self.alone:
            times = together([(processes[0], "visits('/vote/0/', 2)")])[0]["times"]
            self.alone[engine] = statistics.median(times)
        votes = "Choice.objects.get(pk=1).votes"
        had, before = processes[0].do(votes), self.cost()
        results = together([(process, f"visits('/vote/0/', {WRITING})") for process in processes])
        time.sleep(PAUSE)
        after, has = self.cost(), processes[0].do(votes)
        times = [taken for one in results for taken in one["times"]]
        failed = sum((Counter(one["failures"]) for one in results), Counter[str]())
        errors = ", ".join(f"{count} {name}" for name, count in failed.items()) or "no error"
        lost = len(times) - (has - had)
        longest = max(one["longest_wait"] for one in results)
        shares = percentile(times, 99) / (count * self.alone[engine])
        if engine is not SEED:
            if failed or lost:
                row.broken.append(f"{errors}, {lost} lost")
            if longest > LONGEST_WAIT:
                row.broken.append(f"a longest wait of {longest:.2f} s, and {LONGEST_WAIT} s is the goal")
            if shares > FAIR_SHARES:
                row.broken.append(f"p99 is {shares:.1f} fair shares, and {FAIR_SHARES} is the goal")
        row.notes[engine.name] = (
            f"{percentiles(times)}, {shares:.1f} fair shares; longest wait {longest:.2f} s; {errors};"
            f" {lost} lost; {(after - before).each(len(times))}"
        )
        return len(times) / WRITING

    def read(self, row: Row, slow: Row, engine: Engine) -> float:
        """Two processes read pages while a third one votes: the median time, and in another row the 99th percentile."""
        writer, *readers = self.serving(engine)[:3]
        reading = [(reader, f"visits('/page/0/', {READING})") for reader in readers]
        quiet = [taken for one in together(reading) for taken in one["times"]]
        before = self.cost()
        *results, written = together([*reading, (writer, f"visits('/vote/0/', {READING})")])
        cost = self.cost() - before
        times = [taken for one in results for taken in one["times"]]
        failed = sum(sum(one["failures"].values()) for one in results)
        slow.add(engine, percentile(times, 99))
        slow.notes[engine.name] = f"without the writer {percentile(quiet, 99):.0f} ms"
        row.notes[engine.name] = (
            f"{failed} errors; without the writer {percentile(quiet, 50):.0f} ms; votes {percentiles(written['times'])}"
            f"; a request, be it a page or a vote: {cost.each(len(times) + len(written['times']))}"
        )
        return percentile(times, 50)

    def start_cold(self, row: Row, engine: Engine) -> float:
        """A new process, from its start to the answer of its first query; milliseconds."""
        before, began = self.cost(), time.perf_counter()
        process = self.start(engine, MACHINES - 1)
        process.do("Question.objects.count()")
        taken = time.perf_counter() - began
        row.notes[engine.name] = (self.cost() - before).each(1)
        process.kill()
        return taken * 1e3


def together(steps: Sequence[tuple[Application, str]]) -> list[Any]:
    """Have each process do its step, all at once."""
    for process, step in steps:
        process.ask(step)
    return [process.answer() for process, _ in steps]


def percentile(times: Sequence[float], part: int) -> float:
    """The time that so many in a hundred do not pass."""
    return sorted(times)[min(len(times) * part // 100, len(times) - 1)]


def percentiles(times: Sequence[float]) -> str:
    """The median, and what one in a hundred passes."""
    return f"p50 {percentile(times, 50):.0f}, p99 {percentile(times, 99):.0f} ms"


def settle(proxy: Proxy, endpoint: str) -> float:
    """Have DynamoDB Local warm up, for at first it is several times as slow; then have the proxy add 4 ms in all.

    Tells how many milliseconds a request then takes.
    """
    table, key, one = make_table(endpoint), {"pk": {"S": "x"}}, {":one": {"N": "1"}}

    def taken(endpoint: str, times: int) -> float:
        asked, all_times = client(endpoint), []
        requests: list[Callable[[], object]] = [
            lambda: asked.put_item(TableName=table, Item=key, ConditionExpression="attribute_not_exists(pk)"),
            lambda: asked.get_item(TableName=table, Key=key, ConsistentRead=True),
            lambda: asked.update_item(
                TableName=table, Key=key, UpdateExpression="ADD version :one", ExpressionAttributeValues=one
            ),
            lambda: asked.delete_item(TableName=table, Key=key, ConditionExpression="attribute_exists(pk)"),
        ]
        for request in requests * times:
            began = time.perf_counter()
            request()
            all_times.append(time.perf_counter() - began)
        return statistics.median(all_times)

    taken(endpoint, 750)
    proxy.latency = LATENCY
    proxy.latency -= taken(proxy.endpoint, 50) - taken(endpoint, 50) - LATENCY
    return taken(proxy.endpoint, 50) * 1e3


def measure(folder: Path) -> Iterator[Row]:
    """All rows."""
    timed = partial(Row, unit="ms", less_is_better=True, beside=SEED.name)
    with ExitStack() as stack:
        try:
            peers.interpreter()
            server = stack.enter_context(local_dynamodb.DynamoDBLocal())
        except (peers.Absent, local_dynamodb.Absent) as absent:
            raise Absent(str(absent)) from None
        os.environ.update(local_dynamodb.CREDENTIALS)
        proxy = stack.enter_context(Proxy(server.endpoint))
        trip = f"to DynamoDB Local ({settle(proxy, server.endpoint):.1f} ms, as boto3 measures it)"
        mounts = stack.enter_context(machines(folder, MACHINES))
        bench = Bench(mounts, proxy, make_table(server.endpoint))
        stack.callback(bench.close)
        bench.open()
        reading = f"one request {trip}; the rest is Django's work for 20 queries"
        voting = (
            f"two requests {trip}, one after the other, and an append of 3 ms between them; the rest is Django's work"
        )
        ahead = "voting, and its first request is sent when the web request begins"
        vote, new = "a vote (SELECT and UPDATE in a transaction)", "a connection for each request"
        for title, goal, engine, what, method, others_vote, cost in (
            ("a request of 20 SELECTs", 25, SEAWALL, "page", "GET", False, reading),
            ("a request of 20 SELECTs, after a vote on another machine", None, SEAWALL, "page", "GET", True, reading),
            (vote, 4.5, SEAWALL, "vote", "GET", False, voting),
            (f"{vote}, {new}", 4.5, SEAWALL_NEW, "vote", "GET", False, voting),
            ("a vote, after a vote on another machine", None, SEAWALL, "vote", "GET", True, voting),
            ("a SELECT, and then a vote, by POST", 6, SEAWALL, "ballot", "POST", False, ahead),
            (f"{vote}, on fs", None, SEAWALL_FS, "vote", "GET", False, ""),
        ):
            row = timed(title, goal=goal, cost=cost)
            yield rounds(row, [SEED, engine], ROUNDS, partial(bench.serve, what, method, others_vote, row))
        for engine, where in (
            (SEAWALL, ""),
            (SEAWALL_NEW, f", {new}"),
            (SEAWALL_FS, " on fs"),
            (SEAWALL_FS_NEW, f" on fs, {new}"),
        ):
            for count, goal in ((2, 8), (4, 8), (8, 7)):
                title = f"{count} processes voting for one choice{where}: acknowledged"
                row = Row(title, "per second", goal, beside=SEED.name)
                yield rounds(row, [SEED, engine], LONG_ROUNDS, partial(bench.compete, count, row))
        median, slow = timed("a request of 20 SELECTs, two readers beside a writer: p50"), timed("the same: p99")
        yield rounds(median, [SEED, SEAWALL], LONG_ROUNDS, partial(bench.read, median, slow))
        yield slow
        cold = timed("cold start to the first query", goal=1)
        yield rounds(cold, [SEED, SEAWALL], STARTS, partial(bench.start_cold, cold))
