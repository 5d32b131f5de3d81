"""The Pythons of this machine, and which Django supports which."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

# What Django's documentation says, as far as Seawall goes.
PYTHONS_OF = {
    "5.1": ("3.11", "3.12", "3.13"),
    "5.2": ("3.11", "3.12", "3.13", "3.14"),
    "6.0": ("3.12", "3.13", "3.14"),
    "6.1": ("3.12", "3.13", "3.14"),
}

# What it takes to run tests: an interpreter that is broken, or lacks a part, is none.
_PROBE = "import ensurepip, sqlite3, sys, venv; print('%d.%d' % sys.version_info[:2])"


@functools.cache
def find(number: str) -> Path | None:
    """A CPython of this version: this one, one on the PATH, or one that pyenv has installed."""
    for candidate in _candidates(number):
        try:
            probe = subprocess.run([candidate, "-c", _PROBE], capture_output=True, text=True, check=False)
        except OSError:
            continue
        if probe.stdout.strip() == number:
            return Path(candidate)
    return None


def _candidates(number: str) -> Iterator[str]:
    yield sys.executable
    if on_path := shutil.which(f"python{number}"):
        yield on_path
    yield f"/usr/bin/python{number}"
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from map(str, sorted(pyenv.glob(f"versions/{number}.*/bin/python"), reverse=True))
