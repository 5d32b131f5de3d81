"""A proxy in front of DynamoDB that counts every request and can cause the faults of networks and servers.

    python tests/dynamodb/proxy.py --upstream http://127.0.0.1:PORT [--latency-ms 4] [--port PORT]

prints its endpoint and runs till Ctrl-C. In a test: `with Proxy(upstream) as proxy`, then `proxy.fault(...)` with one
of `faults.py`, or any coroutine function of an `Exchange`. It has a thread of its own, so that tests drive it
synchronously. HTTP/1.1 with Content-Length, which is what DynamoDB speaks; requests go through byte for byte.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import socket
import struct
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")
KEPT = 10.0
"""For how many seconds an idle connection to the server is used again. The server keeps it longer."""


@dataclass(frozen=True)
class Message:
    """A request or an answer: its first line and headers as they came, and its body."""

    head: bytes
    body: bytes = b""

    def header(self, name: str) -> str:
        """A header's value; empty if there is none."""
        for line in self.head.decode("latin-1").split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name.lower():
                return value.strip()
        return ""

    @property
    def status(self) -> int:
        """An answer's status."""
        return int(self.head.split(b" ", 2)[1])

    def __len__(self) -> int:
        return len(self.head) + len(self.body)


@dataclass
class Count:
    """What passed: requests that came, deliveries to the server, bytes from and to clients."""

    requests: int = 0
    delivered: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


@dataclass(eq=False)
class Exchange:
    """One request and what becomes of it: an entry of the log, and what a fault acts on."""

    connection: Connection
    request: Message
    operation: str
    at: float = field(default_factory=time.monotonic)
    fault: str | None = None
    status: int | None = None
    """Of the answer that was sent; None while there is none."""

    @property
    def json(self) -> dict[str, Any]:
        """The request's parameters."""
        parameters: dict[str, Any] = json.loads(self.request.body or b"{}")
        return parameters

    @property
    def access_key(self) -> str:
        """The access key that it was signed with."""
        return self.request.header("authorization").partition("Credential=")[2].partition("/")[0]

    async def deliver(self) -> Message:
        """Let the server act on it, once more each time."""
        return await self.connection.proxy._deliver(self)

    async def answer(self, answer: Message, seconds_per_byte: float = 0.0) -> None:
        """Send this to the client."""
        await asyncio.sleep(self.connection.proxy.latency / 2)
        self.status = answer.status
        await self.connection.send(self, answer.head + answer.body, seconds_per_byte)

    async def silence(self) -> None:
        """Never answer: return when the client has given up."""
        with suppress(OSError):
            await self.connection.reader.read()
        self.cut()

    def cut(self) -> None:
        """End the client's connection, with a reset."""
        self.connection.reset()

    def in_background(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do this beside whatever comes next on the connection."""
        self.connection.proxy._spawn(work)


Fault = Callable[[Exchange], Awaitable[None]]


@dataclass(eq=False)
class Injection:
    """A fault, and which requests it befalls."""

    fault: Fault
    operation: str | None
    times: int | None
    chance: float
    when: Callable[[Exchange], bool] | None
    hits: int = 0

    def befalls(self, exchange: Exchange, dice: random.Random) -> bool:
        """Whether it is this request's turn."""
        if self.operation not in (None, exchange.operation) or self.hits == self.times:
            return False
        if (self.when and not self.when(exchange)) or (self.chance < 1 and dice.random() >= self.chance):
            return False
        self.hits += 1
        return True


class Connection:
    """A client's connection."""

    def __init__(self, proxy: Proxy, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.proxy, self.number, self.reader, self.writer = proxy, number, reader, writer
        self.is_dead = False

    async def send(self, exchange: Exchange, data: bytes, seconds_per_byte: float) -> None:
        """Send an answer, at once or byte by byte."""
        step = 1 if seconds_per_byte else len(data)
        for start in range(0, len(data), step):
            if self.is_dead:
                return
            self.writer.write(data[start : start + step])
            self.proxy._counts[exchange.operation].bytes_out += step
            await self.writer.drain()
            if seconds_per_byte:
                await asyncio.sleep(seconds_per_byte)

    def reset(self) -> None:
        """End it with a reset."""
        with suppress(OSError):
            raw: socket.socket = self.writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def go_dead(self) -> None:
        """Nothing more is read from it or written to it; it stays open."""
        self.is_dead = True
        self.reader._transport.pause_reading()  # type: ignore[attr-defined]


class Proxy:
    """See above. `latency` (seconds a round trip, half of it each way) may be changed at any time.

    Timers are good to a millisecond: with 4 ms a GetItem takes 5.9 ms here, and without any 0.8 (0.7 without a proxy).
    """

    endpoint: str

    def __init__(self, upstream: str, *, latency: float = 0.0, port: int = 0, seed: int = 0) -> None:
        self.latency = latency
        self._upstream, self._port, self._dice = urlsplit(upstream), port, random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._idle: deque[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = deque()
        self._connections: set[Connection] = set()
        self._accepted = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._injections: list[Injection] = []
        self._counts: defaultdict[str, Count] = defaultdict(Count)
        self._log: deque[Exchange] = deque(maxlen=10_000)

    def __enter__(self) -> Self:
        self._thread.start()
        self.endpoint = self._call(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # What a test calls.

    @contextmanager
    def fault(
        self,
        fault: Fault,
        operation: str | None = None,
        *,
        times: int | None = 1,
        chance: float = 1.0,
        when: Callable[[Exchange], bool] | None = None,
    ) -> Iterator[Injection]:
        """For as long as this lasts: do this to the next request, or the next so many, or (None) all, of an operation.

        With a chance it befalls each that matches with this probability, by the proxy's seed. Of several faults the
        first that takes a request has it.
        """
        injection = Injection(fault, operation, times, chance, when)
        self._injections.append(injection)
        try:
            yield injection
        finally:
            self._injections.remove(injection)

    def counts(self) -> dict[str, Count]:
        """What passed since the last reset, by operation."""
        return {operation: replace(count) for operation, count in list(self._counts.items())}

    def requests(self) -> Counter[str]:
        """How many requests came since the last reset, by operation."""
        return Counter({operation: count.requests for operation, count in self.counts().items() if count.requests})

    def log(self) -> list[Exchange]:
        """The last requests since the reset, oldest first."""
        return list(self._log)

    def reset(self) -> None:
        """Count from nothing again."""
        self._counts.clear()
        self._log.clear()

    def black_hole(self) -> int:
        """Every connection that is open now goes dead without a word; new ones work. What a Lambda wakes up to."""
        return self._on_each(Connection.go_dead)

    def close_connections(self) -> int:
        """Close every connection that is open now, as a server does with idle ones."""
        return self._on_each(lambda connection: connection.writer.close())

    def cut_connections(self) -> int:
        """The same, with a reset."""
        return self._on_each(Connection.reset)

    # What happens in its thread.

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _on_each(self, act: Callable[[Connection], None]) -> int:
        async def work() -> int:
            alive = [connection for connection in self._connections if not connection.is_dead]
            for connection in alive:
                act(connection)
            return len(alive)

        return self._call(work())

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _listen(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port, limit=1 << 20)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _stop(self) -> None:
        self._server.close()
        for task in [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]:
            task.cancel()
        for writer in [writer for _, _, writer in self._idle] + [connection.writer for connection in self._connections]:
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._accepted += 1
        connection = Connection(self, self._accepted, reader, writer)
        self._connections.add(connection)
        try:
            with suppress(asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
                while not writer.is_closing():
                    await self._exchange(connection, await _read(reader))
        finally:
            self._connections.discard(connection)
            writer.close()

    async def _exchange(self, connection: Connection, request: Message) -> None:
        operation = request.header("x-amz-target").rpartition(".")[2]
        exchange = Exchange(connection, request, operation)
        self._log.append(exchange)
        self._counts[operation].requests += 1
        self._counts[operation].bytes_in += len(request)
        await asyncio.sleep(self.latency / 2)
        for injection in list(self._injections):
            if injection.befalls(exchange, self._dice):
                exchange.fault = getattr(injection.fault, "__name__", "fault")
                await injection.fault(exchange)
                return
        await exchange.answer(await exchange.deliver())

    async def _deliver(self, exchange: Exchange) -> Message:
        self._counts[exchange.operation].delivered += 1
        reader, writer = await self._server_connection()
        try:
            writer.write(exchange.request.head + exchange.request.body)
            answer = await _read(reader)
        except BaseException:
            writer.close()
            raise
        self._idle.append((time.monotonic(), reader, writer))
        return answer

    async def _server_connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            since, reader, writer = self._idle.pop()
            if time.monotonic() - since < KEPT and not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection(self._upstream.hostname, self._upstream.port, limit=1 << 20)


async def _read(reader: asyncio.StreamReader) -> Message:
    message = Message(await reader.readuntil(b"\r\n\r\n"))
    if message.header("transfer-encoding"):
        raise ValueError("a chunked message: neither DynamoDB nor its clients send any")
    length = int(message.header("content-length") or 0)
    return replace(message, body=await reader.readexactly(length))


def main() -> None:
    """Run until a signal ends it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--upstream", required=True, help="the endpoint of DynamoDB (Local)")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="added to each round trip")
    parser.add_argument("--port", type=int, default=0, help="the default is any free port")
    args = parser.parse_args()
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    with Proxy(args.upstream, latency=args.latency_ms / 1000, port=args.port) as proxy:
        print(proxy.endpoint, flush=True)
        signal.sigwait(signals)


if __name__ == "__main__":
    main()
