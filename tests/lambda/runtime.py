"""What Lambda does inside an instance of a function: import the handler, then hand it one event after the other.

    _HANDLER=module.function LAMBDA_TASK_ROOT=FOLDER python runtime.py

A line on standard input is {"event": ..., "environment": changes to it}, a line on standard output is {"answer": ...}
or {"error": ...}; the first one, {"ready": true}, says that the handler is there. What the function prints goes to
standard error, its log.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from typing import Any

PR_SET_PDEATHSIG = 1


@dataclass
class Context:
    """The second argument of a handler, as far as it can be known here."""

    aws_request_id: str
    deadline: float
    function_name: str = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
    function_version: str = "$LATEST"
    memory_limit_in_mb: str = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")

    def get_remaining_time_in_millis(self) -> int:
        """Till Lambda would end it."""
        return int(1000 * (self.deadline - time.monotonic()))


def main() -> None:
    """Serve until standard input ends."""
    # A frozen process does not notice that its input ended, and must die with the test that froze it.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    module, _, name = os.environ["_HANDLER"].rpartition(".")
    sys.path[0] = os.environ["LAMBDA_TASK_ROOT"]
    handler = getattr(importlib.import_module(module), name)
    print(json.dumps({"ready": True}), file=answers)
    for number, line in enumerate(sys.stdin):
        print(json.dumps(invoke(handler, number, json.loads(line))), file=answers)


def invoke(handler: Any, number: int, request: dict[str, Any]) -> dict[str, Any]:
    """One event; an exception is an answer too, and the instance lives on."""
    os.environ.update(request["environment"])
    try:
        return {"answer": handler(request["event"], Context(f"request-{number}", time.monotonic() + 29))}
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    main()
