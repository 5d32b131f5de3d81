"""Visitors: they read the polls and vote over HTTP as browsers do, and tally what comes of it."""

from __future__ import annotations

import http.client
import random
import re
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from urllib.parse import urlencode

Address = tuple[str, int]


@dataclass
class Tally:
    """What the visitors met, all together."""

    reads: list[float] = field(default_factory=list)
    writes: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    votes: Counter[int] = field(default_factory=Counter)
    """The acknowledged votes of each question."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def acknowledged(self) -> int:
        """All votes that the site has said it counted."""
        return self.votes.total()

    def acknowledge(self, question: int) -> None:
        """One more vote that must never be missing from any page asked for from now on."""
        with self._lock:
            self.votes[question] += 1


class Visitor:
    """One browser: a connection, its cookies, and the tally it writes into."""

    def __init__(self, address: Address, tally: Tally) -> None:
        self.connection = http.client.HTTPConnection(*address, timeout=30)
        self.cookies: dict[str, str] = {}
        self.tally = tally

    def visit(self, before: dict[int, int]) -> None:
        """Read a question, vote, look at the results; `before` has the votes at the beginning."""
        started = time.monotonic()
        page = self.get("/polls/")
        question = int(random.choice(re.findall(r'href="/polls/(\d+)/"', page)))
        form = self.get(f"/polls/{question}/")
        self.vote(question, form)
        least = before[question] + self.tally.votes[question]
        shown = votes_shown(self.get(f"/polls/{question}/results/"))
        if shown < least:
            at = time.monotonic() - started
            self.tally.stale.append(f"question {question}: {shown} votes, not {least} ({at:.3f} s)")

    def vote(self, question: int, form: str) -> None:
        """Send the form of a question with one of its choices."""
        choice = random.choice(re.findall(r'name="choice" value="(\d+)"', form))
        (token,) = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', form)
        body = urlencode({"choice": choice, "csrfmiddlewaretoken": token})
        seconds, _ = self.request("POST", f"/polls/{question}/vote/", body, expected=302)
        self.tally.acknowledge(question)
        self.tally.writes.append(seconds)

    def get(self, path: str) -> str:
        """A page."""
        seconds, page = self.request("GET", path, None, expected=200)
        self.tally.reads.append(seconds)
        return page

    def request(self, method: str, path: str, body: str | None, expected: int) -> tuple[float, str]:
        """One request, with the time it took; ConnectionError unless the answer is `expected`."""
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        started = time.monotonic()
        self.connection.request(method, path, body, headers)
        response = self.connection.getresponse()
        page = response.read().decode()
        seconds = time.monotonic() - started
        for header in response.headers.get_all("Set-Cookie", []):
            cookies = SimpleCookie(header)
            self.cookies |= {name: morsel.value for name, morsel in cookies.items()}
        if response.status != expected:
            raise ConnectionError(f"{method} {path}: {response.status} {response.reason}")
        return seconds, page


def votes_shown(page: str) -> int:
    """The number of votes on a page of results."""
    (votes,) = re.findall(r'data-votes="(\d+)"', page)
    return int(votes)


def let_visitors_in(address: Address, visitors: int, seconds: float, before: dict[int, int]) -> Tally:
    """Let so many visitors vote and read at once for so long."""
    tally = Tally()
    end = time.monotonic() + seconds

    def stay() -> None:
        visitor = Visitor(address, tally)
        while time.monotonic() < end:
            try:
                visitor.visit(before)
            except (OSError, http.client.HTTPException, ValueError) as error:
                tally.failures.append(f"{type(error).__name__}: {error}")
                visitor = Visitor(address, tally)

    threads = [threading.Thread(target=stay, daemon=True) for _ in range(visitors)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tally
