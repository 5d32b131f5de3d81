"""An instance of a Lambda function: a process of its own, frozen whenever it has nothing to do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

RUNTIME = Path(__file__).with_name("runtime.py")
PYTHON = os.environ.get("SEAWALL_LAMBDA_PYTHON", sys.executable)
LAYER = os.environ.get("SEAWALL_LAMBDA_LAYER")
"""A folder that is the layer, as `make aws` makes it, and an interpreter without packages of its own: to test that."""


class FunctionError(Exception):
    """The handler raised, or its process ended. The text says which."""


class Instance:
    """Started by the first `with`; between two events it is stopped (SIGSTOP), as Lambda freezes it."""

    def __init__(self, handler: str, task_root: Path, environment: dict[str, str], log: Path) -> None:
        self.log = log
        self.environment = {
            "PATH": os.defpath,
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "LAMBDA_TASK_ROOT": str(task_root),
            "_HANDLER": handler,
            "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
            "AWS_LAMBDA_FUNCTION_NAME": "polls",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            **environment,
        }
        if LAYER:
            self.environment["PYTHONPATH"] = str(Path(LAYER).absolute() / "python")
        self.task_root = task_root

    def __enter__(self) -> Self:
        """Cold start: the process, Python, the handler's imports."""
        begun = time.monotonic()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [PYTHON, str(RUNTIME)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=self.task_root,
                env=self.environment,
                text=True,
                bufsize=1,
            )
        assert self._line() == {"ready": True}
        self.init_seconds = time.monotonic() - begun
        self.freeze()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def freeze(self) -> None:
        """Freeze it: no thread of it runs any more."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)

    def thaw(self) -> None:
        """Let it continue."""
        self.process.send_signal(signal.SIGCONT)

    def invoke(self, event: dict[str, Any], **environment: str) -> Any:
        """Thaw it, have an event handled, freeze it the moment that the answer is there. `seconds` says how long."""
        begun = time.monotonic()
        self.thaw()
        assert self.process.stdin is not None
        print(json.dumps({"event": event, "environment": environment}), file=self.process.stdin, flush=True)
        line = self._line()
        self.seconds = time.monotonic() - begun
        self.freeze()
        if "error" in line:
            raise FunctionError(line["error"])
        return line["answer"]

    def _line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise FunctionError(f"the instance ended: {self.log.read_text()[-4000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer
