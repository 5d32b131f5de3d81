"""Runs work as another user, in a process of its own, with a time limit."""

from __future__ import annotations

import json
import os
import select
import signal
import stat
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tree import below

OWNER, COLLEAGUE, STRANGER = 54001, 54002, 54003
TEAM = 54100

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="SKIPPED: needs root")


class Outcome(NamedTuple):
    """The result of the work: its value, or its error's text."""

    value: Any
    error: str | None


def as_user(
    user: int, work: Callable[[], Any], *, groups: Iterable[int] = (), umask: int = 0o022, limit: float = 30
) -> Outcome:
    """Do `work` as `user`, in a fork that is killed after `limit` seconds."""
    end, begin = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            os.chdir("/")
            os.umask(umask)
            os.setgroups(list(groups))
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            outcome = Outcome(work(), None)
        except BaseException as error:
            outcome = Outcome(None, f"{type(error).__name__}: {error}")
        os.write(begin, json.dumps(outcome, default=str).encode())
        os._exit(0)
    os.close(begin)
    answer = b""
    until = time.monotonic() + limit
    with os.fdopen(end, "rb", buffering=0) as pipe:
        while time.monotonic() < until:
            if select.select([pipe], [], [], 0.1)[0]:
                piece = pipe.read(65536)
                if not piece:
                    break
                answer += piece
        else:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return Outcome(None, f"it hung for {limit} s")
    os.waitpid(process, 0)
    return Outcome(*json.loads(answer))


def folder_of(owner: int, path: Path, mode: int = 0o755, group: int | None = None) -> Path:
    """Make a folder that belongs to `owner`."""
    path.mkdir()
    os.chown(path, owner, owner if group is None else group)
    path.chmod(mode)
    return path


def everything(folder: Path) -> list[Path]:
    """The folder, and all files and folders in it, without links, which have no permissions."""
    return [folder, *(path for path in sorted(below(folder)) if not path.is_symlink())]


def permissions(path: Path) -> int:
    """The permission bits."""
    return stat.S_IMODE(path.stat().st_mode) & 0o777
