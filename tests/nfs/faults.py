"""The faults of the bank. Each is one function, which repairs what it broke."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from fire.bank import LEASE
from fire.processes import Worker

from nfs import guest
from nfs.lab import CLIENT_LEASE


class Bank(Protocol):
    """The bank, as far as a fault needs it."""

    clients: Sequence[int]
    chance: random.Random

    def workers_of(self, client: int) -> Sequence[Worker]:
        """The clerks on that client, and what maintains the database there."""

    def acknowledged(self, client: int) -> int:
        """How many transfers of that client's clerks have been acknowledged."""


@dataclass
class Fault:
    """A kind of fault, how often it is caused, and the function that causes it and returns the clients that it hit."""

    name: str
    times: int
    strike: Callable[[Bank], Sequence[int]]


@contextmanager
def _lost(client: int, what: str) -> Iterator[None]:
    guest.net(client, what)
    try:
        yield
    finally:
        guest.net(client, "heal")


def cut(seconds: float) -> Callable[[Bank], Sequence[int]]:
    """Nothing reaches the client, and nothing leaves it."""

    def strike(bank: Bank) -> Sequence[int]:
        victim = bank.chance.choice(bank.clients)
        with _lost(victim, "cut"):
            time.sleep(0.2)
            before = bank.acknowledged(victim)
            time.sleep(seconds)
            assert bank.acknowledged(victim) == before, "nothing is acknowledged on a client that is cut off"
        return [victim]

    return strike


def lose_replies(bank: Bank) -> Sequence[int]:
    """The server carries the client's calls out, and the replies are lost. The client reconnects and asks again."""
    victim = bank.chance.choice(bank.clients)
    connects = guest.connects(victim)
    with _lost(victim, "cutreply"):
        time.sleep(bank.chance.uniform(0.1, 1))
        guest.net(victim, "rst")
    guest.wait_for("the client reconnects", lambda: guest.connects(victim) > connects, 60)
    return [victim]


def lose_replies_and_forget(bank: Bank) -> Sequence[int]:
    """The same, and the server has forgotten the client and its calls."""
    victim = bank.chance.choice(bank.clients)
    introduced = _introduced(victim)
    with _lost(victim, "cutreply"):
        time.sleep(bank.chance.uniform(0.1, 1))
        guest.net(victim, "rst")
        guest.forget(victim)
    guest.wait_for("the client introduces itself again", partial(_introduced_since, victim, introduced), 60)
    return [victim]


def restart_server(bank: Bank) -> Sequence[int]:
    """The server restarts, while replies to one client are being lost: all clients are forgotten, all locks gone."""
    victim = bank.chance.choice(bank.clients)
    introduced = {client: _introduced(client) for client in bank.clients}
    with _lost(victim, "cutreply"):
        time.sleep(bank.chance.uniform(0.1, 0.5))
        guest.restart()
    for client, before in introduced.items():
        guest.wait_for("the client introduces itself again", partial(_introduced_since, client, before), 120)
    return bank.clients


def _introduced(client: int) -> int:
    return guest.calls(guest.keeper(client))["EXCHANGE_ID"]


def _introduced_since(client: int, before: int) -> bool:
    return _introduced(client) > before


def lose_packets(percent: float, seconds: float) -> Callable[[Bank], Sequence[int]]:
    """Packets are lost, from and to all clients."""

    def strike(bank: Bank) -> Sequence[int]:
        for client in bank.clients:
            guest.net(client, "loss", percent)
        time.sleep(seconds)
        for client in bank.clients:
            guest.net(client, "heal")
        return bank.clients

    return strike


def freeze(shortest: float, longest: float) -> Callable[[Bank], Sequence[int]]:
    """All of a client's clerks stand still, for longer than their lease."""

    def strike(bank: Bank) -> Sequence[int]:
        victim = bank.chance.choice(bank.clients)
        seconds = bank.chance.uniform(shortest, longest) * LEASE
        for worker in bank.workers_of(victim):
            worker.freeze(seconds)
        before = bank.acknowledged(victim)
        time.sleep(seconds)
        assert bank.acknowledged(victim) == before, "nothing is acknowledged to a frozen clerk"
        for worker in bank.workers_of(victim):
            worker.thaw()
        return [victim]

    return strike


def vanish(bank: Bank) -> Sequence[int]:
    """A client stands still and is cut off, for longer than the server remembers it; the others work on."""
    victim = bank.chance.choice(bank.clients)
    others = [client for client in bank.clients if client != victim]
    with _lost(victim, "cut"):
        for worker in bank.workers_of(victim):
            worker.freeze(0)
        before = sum(bank.acknowledged(client) for client in others)
        time.sleep(1.5 * CLIENT_LEASE)
        assert sum(bank.acknowledged(client) for client in others) > before, "the others work on"
    for worker in bank.workers_of(victim):
        worker.thaw()
    return [victim]


def kill(bank: Bank) -> Sequence[int]:
    """A clerk is killed, wherever it was, and another one takes its place."""
    victim = bank.chance.choice(bank.clients)
    time.sleep(bank.chance.uniform(0, 0.5))
    bank.chance.choice(bank.workers_of(victim)).kill()
    return []


def nothing(_: Bank) -> Sequence[int]:
    """For comparison."""
    time.sleep(5)
    return []


FAULTS = [
    Fault("nothing", 1, nothing),
    Fault("network cut for 1 s", 2, cut(1)),
    Fault("network cut for 3 s", 2, cut(3)),
    Fault("network cut for 10 s", 1, cut(10)),
    Fault("network cut for 30 s", 1, cut(30)),
    Fault("replies lost, client reconnects", 5, lose_replies),
    Fault("replies lost, server forgets the client", 4, lose_replies_and_forget),
    Fault("replies lost, server restarts", 2, restart_server),
    Fault("1 % of packets lost for 10 s", 1, lose_packets(1, 10)),
    Fault("10 % of packets lost for 10 s", 1, lose_packets(10, 10)),
    Fault("clerks frozen for 1.2 to 2.5 leases", 4, freeze(1.2, 2.5)),
    Fault("clerks frozen for 12 leases", 1, freeze(12, 12)),
    Fault("client gone for longer than the server remembers it", 1, vanish),
    Fault("a clerk killed", 12, kill),
]
