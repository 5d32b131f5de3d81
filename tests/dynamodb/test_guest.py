"""What a guest owes the process of a program, where the head is in DynamoDB."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from dynamodb import faults
from dynamodb.conftest import Shared
from dynamodb.proxy import Exchange


def blocked_by(task: Path) -> set[int]:
    """The signals that a thread blocks."""
    facts = dict(line.split(":", 1) for line in (task / "status").read_text().splitlines())
    return {number for number in signal.valid_signals() if int(facts["SigBlk"], 16) >> (number - 1) & 1}


def test_no_thread_of_the_sdk_takes_a_signal(shared: Shared) -> None:
    before = {task.name for task in Path("/proc/self/task").iterdir()}
    # A name is looked up in a thread of its own, which the SDK starts.
    shared.proxy.endpoint = shared.proxy.endpoint.replace("127.0.0.1", "localhost")
    shared.connect().execute("CREATE TABLE t (x)")
    ours = [task for task in Path("/proc/self/task").iterdir() if task.name not in before]
    names = {task: (task / "comm").read_text().strip() for task in ours}
    assert sum(name.startswith("seawall-dynamo") for name in names.values()) >= 2, names
    for task, name in names.items():
        if name.startswith("seawall"):
            assert {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD} <= blocked_by(task), name


def test_others_go_on_while_credentials_are_read_again(
    shared: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = shared.connect()
    writer.execute("CREATE TABLE t (x)")
    reader = shared.connect(check_same_thread=False)
    reader.execute("SELECT * FROM t").fetchall()
    time.sleep(0.2)
    # The settings are a FIFO: a process that reads them waits until another one writes.
    settings = tmp_path / "settings"
    os.mkfifo(settings)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(settings))
    expired = threading.Event()

    async def expires(exchange: Exchange) -> None:
        await faults.token_expired(exchange)
        expired.set()

    seen: list[list[tuple[int]]] = []
    thread = threading.Thread(target=lambda: seen.append(reader.execute("SELECT * FROM t").fetchall()))
    with shared.proxy.fault(expires, operation="GetItem", times=1):
        thread.start()
        assert expired.wait(5)
    time.sleep(0.3)

    def let_go() -> None:
        deadline = time.monotonic() + 20
        while thread.is_alive() and time.monotonic() < deadline:
            with suppress(OSError):
                # Opening it fails as long as no process waits to read.
                os.close(os.open(settings, os.O_WRONLY | os.O_NONBLOCK))
            thread.join(0.05)

    later = threading.Timer(3, let_go)
    later.start()
    began = time.monotonic()
    writer.execute("INSERT INTO t VALUES (1)")
    waited = time.monotonic() - began
    assert thread.is_alive(), "it waits for its settings"
    later.join()
    assert waited < 2, f"{waited:.1f} s"
    assert seen == [[]] or seen == [[(1,)]]
