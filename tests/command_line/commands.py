"""The command line, run as a script runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any


def run(*arguments: object, **environment: str) -> tuple[int, str, str]:
    """Run `seawall`. Return its exit code, and what it printed."""
    command = [sys.executable, "-m", "seawall", *map(_str_or_bytes, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **environment}
    )
    return done.returncode, done.stdout, done.stderr


def answered(*arguments: object, **environment: str) -> tuple[int, dict[str, Any]]:
    """Run `seawall` with `--json`. Return its exit code, and its answer."""
    code, out, _ = run(*arguments, "--json", **environment)
    return code, json.loads(out)


def _str_or_bytes(argument: object) -> str | bytes:
    return argument if isinstance(argument, bytes) else str(argument)
