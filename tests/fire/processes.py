"""Handles of processes: a clerk that works on its own, and a hand that does one step at a time."""

from __future__ import annotations

import json
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fire.books import run

HAND = Path(__file__).with_name("hand.py")


class Worker:
    """A process of the bank that starts again after it was killed. Its log is in `folder`, and the file that stops it.

    `{life}` in its arguments is the number of this process and of its present life.
    """

    def __init__(
        self, role: str, name: Path, folder: Path, number: int, *arguments: object, within: Sequence[str] = ()
    ) -> None:
        self.role, self.name, self.number = role, name, number
        self.log, self.stop = folder / f"{role}{number}.log", folder / "stop"
        self.arguments, self.within = arguments, within
        self.lives = 0
        self.thaws_at: float | None = None
        self.start()

    def start(self) -> None:
        self.lives += 1
        arguments = [str(argument).format(life=f"{self.number}.{self.lives}") for argument in self.arguments]
        self.process = run(self.role, self.name, self.log, self.stop, *arguments, within=self.within)

    def kill(self) -> None:
        assert self.process.poll() is None, f"a {self.role} died by itself: {self.process.communicate()[1]}"
        self.process.kill()
        self.process.communicate()
        self.thaws_at = None
        self.start()

    def freeze(self, seconds: float) -> None:
        self.process.send_signal(signal.SIGSTOP)
        self.thaws_at = time.monotonic() + seconds

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.thaws_at = None


def clerk(name: Path, folder: Path, number: int, seed: object, within: Sequence[str] = ()) -> Worker:
    """Start a writer."""
    return Worker("clerk", name, folder, number, seed, "{life}", within=within)


def maintainer(name: Path, folder: Path, number: int, pause: float, history: int, within: Sequence[str] = ()) -> Worker:
    """Start a process that makes a checkpoint and collects garbage every `pause` seconds."""
    return Worker("maintainer", name, folder, number, pause, history, within=within)


class Hand:
    """Another process, which does one step at a time."""

    def __init__(self, name: Path, lease: float, within: Sequence[str] = ()) -> None:
        command = [*within, sys.executable, str(HAND), str(name), str(lease)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, step: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{step}\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def has_answered(self) -> bool:
        assert self.process.stdout is not None
        return bool(select.select([self.process.stdout], [], [], 0)[0])

    def do(self, step: str) -> Any:
        self.ask(step)
        return self.answer()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()
