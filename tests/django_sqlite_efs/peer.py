"""django-sqlite-efs as its registry has it, in an environment of its own, and applications that run there.

It is a peer to test and measure beside, no dependency. Seawall is run in the same environment, from this tree: the
same Python, the same Django, another ENGINE.
"""

from __future__ import annotations

import fcntl
import functools
import json
import os
import signal
import subprocess
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ENVIRONMENT = ROOT / "build" / "peers" / "django-sqlite-efs"
SEED, SEAWALL = "django_sqlite_efs", "seawall.django"
"""The two ENGINEs."""


class Absent(Exception):
    """It is not available. The text says why."""


@functools.cache
def interpreter() -> Path:
    """The environment's Python. The environment is made if it does not exist or the requirements have changed."""
    wanted = (HERE / "requirements.txt").read_text()
    stamp, python = ENVIRONMENT / "installed.txt", ENVIRONMENT / "bin" / "python"
    ENVIRONMENT.parent.mkdir(parents=True, exist_ok=True)
    with (ENVIRONMENT.parent / "lock").open("w") as lock:  # several runs may begin at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            venv.create(ENVIRONMENT, clear=True, with_pip=True)
            pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--require-hashes", "-r"]
            done = subprocess.run([*pip, HERE / "requirements.txt"], capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise Absent(f"pip could not install django-sqlite-efs: {done.stderr[-2000:]}")
            stamp.write_text(wanted)
    return python


class Failed(Exception):
    """A step that raised."""

    def __init__(self, error: str, kinds: list[str], text: str) -> None:
        super().__init__(f"{error}: {text}")
        self.error, self.kinds = error, kinds
        """The name of its class, and the names of all its base classes and causes."""


class Application:
    """A process of the application (`application.py`), which does one step at a time."""

    def __init__(
        self,
        settings: Mapping[str, Any],
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        environment = {**os.environ, **(environment or {})}
        places = [str(ROOT / "python"), str(ROOT / "examples" / "polls"), environment.get("PYTHONPATH", "")]
        self.process = subprocess.Popen(
            [interpreter(), HERE / "application.py", json.dumps(settings, default=str)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={**environment, "PYTHONPATH": os.pathsep.join(filter(None, places))},
        )

    def do(self, step: str) -> Any:
        """Compute an expression and return its value; None for statements. Raises Failed."""
        self.ask(step)
        return self.answer()

    def ask(self, step: str) -> None:
        """Have it begin a step."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{json.dumps(step)}\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        """The result of the step."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise Failed("ended", [], f"the process ended, with {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise Failed(**answer)
        return answer["value"]

    def freeze(self) -> None:
        """Freeze it."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it continue."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.communicate()
