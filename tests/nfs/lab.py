"""The lab: a guest in which one Linux NFS server and several NFSv4.1 clients are real, with EFS's mount options.

It is no part of the project: it lies in `shared/nfs-lab` beside the repository, or where SEAWALL_NFS_LAB says.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
CLIENTS = 3
CLIENT_LEASE = 10
"""After how many seconds of silence the server may forget a client: short, so that a cut can outlast it."""
ONE_WAY_MS = 0.5
BUILDING = 900
"""Seconds; the first time it fetches a kernel and makes the guest's root folder."""
OLDEST_PYTHON = (3, 11)


class Absent(Exception):
    """The lab is not available. The text says why."""


class Lab:
    """The running guest. It ends with the block."""

    def __init__(self) -> None:
        self.folder = Path(os.environ.get("SEAWALL_NFS_LAB", ROOT.parent / "shared" / "nfs-lab"))

    def __enter__(self) -> Self:
        if not (self.folder / "up").exists():
            raise Absent(f"{self.folder} has no lab (SEAWALL_NFS_LAB says where it is)")
        if os.geteuid() != 0:
            raise Absent("the lab must be started by root")
        if self._script("run", "0", "--", "true", quiet=True) == 0:
            raise Absent("a lab is running already, and may be in use")
        try:
            self._boot()
            self._check_python()
        except BaseException:
            self._script("down")
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._script("down")

    def _script(self, name: str, *arguments: str, timeout: float | None = None, quiet: bool = False) -> int:
        command = [str(self.folder / name), *arguments]
        stream = subprocess.DEVNULL if quiet else None
        done = subprocess.run(command, cwd=ROOT, check=False, timeout=timeout, stdout=stream, stderr=stream)
        return done.returncode

    def _boot(self) -> None:
        settings = {"CLIENTS": str(CLIENTS), "LEASE_S": str(CLIENT_LEASE), "DELAY_MS": str(ONE_WAY_MS)}
        os.environ.update(settings, NFS_LAB_SHARE=str(ROOT))
        try:
            code = self._script("up", timeout=BUILDING)
        except subprocess.TimeoutExpired:
            raise Absent(f"the lab was not up within {BUILDING} s; what it said is above") from None
        if code != 0:
            raise Absent("the lab could not be built or started; what it said is above")

    def _check_python(self) -> None:
        """The guest has the Python of its Debian, and the module that was built here must run in it."""
        old = f"import sys; sys.exit(sys.version_info < {OLDEST_PYTHON})"
        if self._script("run", "0", "--", "python3", "-c", old) != 0:
            raise Absent("the guest's Python is too old")
        if self._script("run", "0", "--", "test", "-e", str(ROOT / "python"), quiet=True) != 0:
            raise Absent(
                f"the guest does not see {ROOT}: it has folders of its own where some of the host's are, /tmp and /mnt "
                "among them. Clone the repository below another one"
            )
        if self.python("-c", "import seawall; seawall.register()") != 0:
            raise Absent("the module that was built here does not run in the guest; what it said is above")

    def python(self, *arguments: str) -> int:
        """Run Python in the guest, beside its server; return the exit code."""
        sys.stdout.flush()
        path = f"PYTHONPATH={ROOT / 'python'}:{ROOT / 'tests'}"
        return self._script("run", "0", "--", "env", path, "PYTHONDONTWRITEBYTECODE=1", "python3", "-u", *arguments)
