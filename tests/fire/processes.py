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


class Clerk:
    """A writer that starts again after it was killed. Its log and the file that stops it are in `folder`."""

    def __init__(self, name: Path, folder: Path, number: int, seed: object, within: Sequence[str] = ()) -> None:
        self.name, self.log, self.stop = name, folder / f"clerk{number}.log", folder / "stop"
        self.number, self.seed, self.within = number, seed, within
        self.lives = 0
        self.thaws_at: float | None = None
        self.start()

    def start(self) -> None:
        self.lives += 1
        life = f"{self.number}.{self.lives}"
        self.process = run("clerk", self.name, self.log, self.stop, self.seed, life, within=self.within)

    def kill(self) -> None:
        assert self.process.poll() is None, f"a clerk died by itself: {self.process.communicate()[1]}"
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
