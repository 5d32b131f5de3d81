"""Forks and threads: connections to DynamoDB belong to the process that made them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import traceback

import pytest
import seawall

from dynamodb.conftest import Shared


def write_as_a_child(shared: Shared, inherited: seawall.Connection) -> int:
    """Write by the connection inherited, whose sockets and threads are not here, and by one of its own."""
    try:
        for connection in (inherited, shared.connect()):
            connection.execute("INSERT INTO t VALUES (?)", (os.getpid(),))
            # A process that ends without closing leaves others waiting until its lease runs out.
            connection.close()
    except Exception:
        traceback.print_exc()
        return 1
    return 0


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own(shared: Shared) -> None:
    connection = shared.connect()
    connection.execute("CREATE TABLE t (who INTEGER)")
    children = []
    for _ in range(3):
        child = os.fork()
        if not child:
            os._exit(write_as_a_child(shared, connection))
        children.append(child)
        connection.execute("INSERT INTO t VALUES (?)", (os.getpid(),))
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    counted = dict(connection.execute("SELECT who, count(*) FROM t GROUP BY who"))
    assert counted == {os.getpid(): 3, **dict.fromkeys(children, 2)}


SCRIPT = """
import sys, seawall
connection = seawall.connect(sys.argv[1], coordinator=sys.argv[2], isolation_level=None)
for number in range(5):
    connection.execute("INSERT INTO t VALUES (?)", (number,))
"""


def test_a_script_that_ends_leaves_no_lease_behind(shared: Shared) -> None:
    shared.connect().execute("CREATE TABLE t (who INTEGER)")
    subprocess.run([sys.executable, "-c", SCRIPT, str(shared.name), shared.url], check=True)
    head = shared.head()
    assert int(head["version"]["N"]) == 6
    assert "lease" not in head


def test_many_threads_write_and_read(shared: Shared) -> None:
    shared.connect().execute("CREATE TABLE t (who INTEGER)")
    failures: list[Exception] = []

    def work(who: int) -> None:
        connection = shared.connect(check_same_thread=False, timeout=20.0)
        try:
            for done in range(1, 11):
                connection.execute("INSERT INTO t VALUES (?)", (who,))
                assert connection.execute("SELECT count(*) FROM t WHERE who = ?", (who,)).fetchone() == (done,)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(who,)) for who in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert shared.connect().execute("SELECT count(*) FROM t").fetchone() == (80,)


def test_the_first_request_after_dead_connections(shared: Shared) -> None:
    """As after a freeze: every connection is dead, without a sign of it."""
    connection = shared.connect()
    connection.execute("CREATE TABLE t (x)")
    assert shared.proxy.black_hole() > 0
    began = time.monotonic()
    connection.execute("INSERT INTO t VALUES (1)")
    assert time.monotonic() - began < 2, "one answer does not come in time, and then a new connection is made"
    # Idle for longer than a connection is trusted: no request waits on a dead one. The client may have closed it.
    time.sleep(5.2)
    shared.proxy.black_hole()
    assert shared.requests(lambda: connection.execute("SELECT * FROM t").fetchall()) == {"GetItem": 1}
