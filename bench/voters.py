"""Starts processes that vote (`turns_voter.py`), here or on a machine of a lab."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class Voter:
    """A process that votes on request, with the `seawall` of the folder `module`; `within` is a command to run it."""

    def __init__(self, module: Path, settings: dict[str, Any], within: Sequence[str] = ()) -> None:
        program = Path(__file__).with_name("turns_voter.py")
        environment = {**os.environ, "PYTHONPATH": str(module), "PYTHONDONTWRITEBYTECODE": "1"}
        self._process = subprocess.Popen(
            [*within, sys.executable, str(program), json.dumps(settings)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.answer()

    def ask(self, what: str) -> None:
        """Tell it to do something."""
        assert self._process.stdin is not None
        print(what, file=self._process.stdin, flush=True)

    def answer(self) -> Any:
        """What it says, once it has done that."""
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def end(self) -> None:
        """End it."""
        self.ask("end")
        self._process.wait()
