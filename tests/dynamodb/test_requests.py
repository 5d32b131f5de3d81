"""The budget's rows (docs/design.md, appendix A) through Python's sqlite3, counted where the requests pass."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
import seawall

from dynamodb import faults
from dynamodb.conftest import Shared

QUIET = 0.15
"""Seconds after which a writer does not count as one that comes back, and the background has nothing left to do."""


@pytest.fixture
def counter(shared: Shared) -> seawall.Connection:
    """A table with one row."""
    connection = shared.connect(freshness="request")
    connection.execute("CREATE TABLE counter (value INTEGER)")
    connection.execute("INSERT INTO counter VALUES (0)")
    time.sleep(QUIET)
    return connection


def test_a_web_request_that_reads_is_one_get_item(shared: Shared, counter: seawall.Connection) -> None:
    def request() -> None:
        seawall.begin_request()
        for _ in range(20):
            counter.execute("SELECT value FROM counter").fetchall()
        seawall.end_request()

    assert shared.requests(request) == {"GetItem": 1}
    assert shared.requests(request) == {"GetItem": 1}


def test_a_write_transaction_is_two_update_items(shared: Shared, counter: seawall.Connection) -> None:
    def autocommit() -> None:
        counter.execute("UPDATE counter SET value = value + 1")
        time.sleep(QUIET)

    def transaction() -> None:
        counter.execute("BEGIN IMMEDIATE")
        for _ in range(10):
            counter.execute("UPDATE counter SET value = value + 1")
        counter.execute("COMMIT")
        time.sleep(QUIET)

    assert shared.requests(autocommit) == {"UpdateItem": 2}
    assert shared.requests(transaction) == {"UpdateItem": 2}


def test_a_deferred_transaction_that_writes_after_it_read(shared: Shared, counter: seawall.Connection) -> None:
    def deferred() -> None:
        counter.execute("BEGIN DEFERRED")
        counter.execute("SELECT value FROM counter").fetchall()
        counter.execute("UPDATE counter SET value = value + 1")
        counter.execute("COMMIT")
        time.sleep(QUIET)

    assert shared.requests(deferred) == {"GetItem": 1, "UpdateItem": 2}


def test_the_next_write_of_a_turn_is_one_update_item(shared: Shared, counter: seawall.Connection) -> None:
    def loop() -> None:
        for _ in range(10):
            counter.execute("UPDATE counter SET value = value + 1")
        time.sleep(QUIET)

    # The first and the second ask for the lease; the last one's is given back.
    assert shared.requests(loop) == {"UpdateItem": 2 + 2 + 8 + 1}


def test_a_connection_for_each_write_costs_no_more_than_one_that_is_kept(
    shared: Shared, counter: seawall.Connection
) -> None:
    def loop() -> None:
        for _ in range(10):
            connection = shared.connect()
            connection.execute("UPDATE counter SET value = value + 1")
            connection.close()
        time.sleep(QUIET)

    # Now and then a machine that is busy keeps a writer from coming back in time. Then the lease was given back.
    for _ in range(5):
        requests = shared.requests(loop)["UpdateItem"]
        assert "lease" not in shared.head()
        if requests <= 2 + 2 + 8 + 1:
            return
    raise AssertionError(f"ten writes took {requests} requests")


LEAVES = """
import sys, seawall
for _ in range(3):
    connection = seawall.connect(sys.argv[1], coordinator=sys.argv[2], isolation_level=None, lease=20)
    connection.execute("UPDATE counter SET value = value + 1")
    connection.close()
"""


def test_a_process_that_ends_leaves_no_lease_behind(shared: Shared, counter: seawall.Connection) -> None:
    direct = f"dynamodb://{shared.table}?endpoint={shared.endpoint}"
    subprocess.run([sys.executable, "-c", LEAVES, str(shared.name), direct], check=True)
    assert "lease" not in shared.head()
    assert counter.execute("SELECT value FROM counter").fetchone() == (3,)


def test_a_rollback_gives_the_lease_back(shared: Shared, counter: seawall.Connection) -> None:
    def nothing() -> None:
        counter.execute("BEGIN IMMEDIATE")
        counter.execute("UPDATE counter SET value = 99")
        counter.execute("ROLLBACK")
        time.sleep(QUIET)

    assert shared.requests(nothing) == {"UpdateItem": 2}
    assert "lease" not in shared.head()


HOLDER = """
import sys, seawall
connection = seawall.connect(sys.argv[1], coordinator=sys.argv[2], isolation_level=None, lease=20)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


def test_a_refused_write_is_one_update_item(shared: Shared, counter: seawall.Connection) -> None:
    impatient = shared.connect(timeout=0)
    impatient.execute("SELECT value FROM counter").fetchall()
    direct = f"dynamodb://{shared.table}?endpoint={shared.endpoint}"
    command = [sys.executable, "-c", HOLDER, str(shared.name), direct]

    def refused() -> None:
        with pytest.raises(seawall.DatabaseBusy, match=r"since .* until"):
            impatient.execute("BEGIN IMMEDIATE")

    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        assert shared.requests(refused) == {"UpdateItem": 1}
        holder.kill()


def test_a_stale_transaction_is_refused_with_one_update_item(shared: Shared, counter: seawall.Connection) -> None:
    counter.execute("BEGIN")
    counter.execute("SELECT value FROM counter").fetchall()
    direct = seawall.connect(shared.name, coordinator=shared.url, isolation_level=None)
    direct.execute("UPDATE counter SET value = 5")
    time.sleep(QUIET)

    def refused() -> None:
        with pytest.raises(seawall.DatabaseBusy):
            counter.execute("UPDATE counter SET value = 6")

    assert shared.requests(refused) == {"UpdateItem": 1}
    counter.execute("ROLLBACK")
    direct.close()


def test_a_request_leaves_no_lease_behind(shared: Shared, counter: seawall.Connection) -> None:
    def request() -> None:
        seawall.begin_request()
        counter.execute("UPDATE counter SET value = value + 1")
        counter.execute("UPDATE counter SET value = value + 1")
        seawall.end_request()
        time.sleep(QUIET)

    assert shared.requests(request)["UpdateItem"] in (4, 5), "the second one may have kept it for a third"
    assert "lease" not in shared.head()


def vote(counter: seawall.Connection) -> None:
    """A request that reads, and then writes what it has read."""
    seawall.begin_request("POST /vote")
    time.sleep(0.005)  # Routing, middleware. A query in the first microseconds asks for the head by itself.
    counter.execute("SELECT value FROM counter").fetchall()
    counter.execute("BEGIN IMMEDIATE")
    counter.execute("UPDATE counter SET value = value + 1")
    counter.execute("COMMIT")
    seawall.end_request()
    time.sleep(QUIET)


def look(counter: seawall.Connection) -> None:
    """A request of the same route that writes nothing."""
    seawall.begin_request("POST /vote")
    time.sleep(QUIET)
    counter.execute("SELECT value FROM counter").fetchall()
    seawall.end_request()
    time.sleep(QUIET)


def test_a_request_of_a_route_that_writes_asks_for_head_and_lease_at_once(
    shared: Shared, counter: seawall.Connection
) -> None:
    assert shared.requests(lambda: vote(counter)) == {"GetItem": 1, "UpdateItem": 2}
    # The answer to the request for the lease has the head, so nothing is asked twice. Now and then a machine that is
    # busy keeps the background from being first.
    votes = [shared.requests(lambda: vote(counter)) for _ in range(5)]
    assert {"UpdateItem": 2} in votes, votes


def test_a_lease_that_a_request_does_not_use_goes_back_and_its_route_asks_no_more(
    shared: Shared, counter: seawall.Connection
) -> None:
    vote(counter)
    assert shared.requests(lambda: look(counter)) == {"UpdateItem": 2}, "asked for, and given back"
    assert "lease" not in shared.head()
    assert shared.requests(lambda: look(counter)) == {"GetItem": 1}


def test_asking_for_the_lease_ahead_can_be_turned_off(shared: Shared, counter: seawall.Connection) -> None:
    plain = shared.connect(freshness="request", lease_ahead=False)
    for _ in range(3):
        assert shared.requests(lambda: vote(plain)) == {"GetItem": 1, "UpdateItem": 2}
    plain.close()


def test_while_others_have_the_lease_a_request_gets_its_head_from_the_refusal(
    shared: Shared, counter: seawall.Connection
) -> None:
    vote(counter)
    command = [sys.executable, "-c", HOLDER, str(shared.name), f"dynamodb://{shared.table}?endpoint={shared.endpoint}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        assert shared.requests(lambda: look(counter)) == {"UpdateItem": 1}, "one attempt, and no place in the line"
        holder.kill()
    assert shared.head().get("line_end") == shared.head().get("line_front")


MOMENTS = [0.0, 0.0005, 0.001, 0.002, 0.003, 0.004, 0.006, 0.025, 0.0255, 0.026, 0.027, 0.028]
"""Seconds after a request has begun: while it asks for the lease, and while an unused one goes back."""


def test_a_writer_that_does_not_wait_is_not_refused_because_its_own_request_asks_for_the_lease(
    shared: Shared, counter: seawall.Connection
) -> None:
    impatient = shared.connect(freshness="request", timeout=0)
    for moment in MOMENTS:
        vote(counter)
        seawall.begin_request("POST /vote")
        time.sleep(moment)
        impatient.execute("BEGIN IMMEDIATE")
        impatient.execute("ROLLBACK")
        seawall.end_request()
        time.sleep(QUIET)
    impatient.close()


def test_on_aws_lambda_no_lease_outlives_the_request_that_asked_for_it(
    shared: Shared, counter: seawall.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for moment in MOMENTS:
        vote(counter)
        with monkeypatch.context() as on_lambda:
            on_lambda.setenv("AWS_LAMBDA_FUNCTION_NAME", "web")
            seawall.begin_request("POST /vote")
            time.sleep(moment)
            seawall.end_request()
        assert "lease" not in shared.head(), f"after {moment} s: the process is frozen now"
        time.sleep(QUIET)


def test_a_lease_asked_for_ahead_does_not_stay_because_the_answer_was_lost(
    shared: Shared, counter: seawall.Connection
) -> None:
    vote(counter)
    with shared.proxy.fault(faults.cut_after_acting, "UpdateItem") as lost:
        look(counter)
    assert lost.hits == 1
    assert "lease" not in shared.head(), "others would wait until it runs out"
