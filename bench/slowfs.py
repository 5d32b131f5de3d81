"""slowfs: a folder whose every operation costs what it would on a network file system, and is counted.

Its source is not part of the project: it is looked for in the folder that SEAWALL_SHARED names, `../shared` otherwise.
"""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = Path(os.environ.get("SEAWALL_SHARED", ROOT.parent / "shared")) / "slowfs" / "slowfs.c"
FREE = {"CHOWN_FREE", "FSYNC_CLEAN", "FSYNCDIR_FREE", "GETATTR_CACHED", "LOOKUP_CACHED", "WRITE_FLUSH"}
"""Counters of what costs no round trip, or is counted by another name as well."""


class Absent(Exception):
    """slowfs cannot be had here, for this reason."""


class SlowFolder:
    """A mounted slowfs: one machine's view of a shared folder."""

    def __init__(self, path: Path, control: Path) -> None:
        self.path = path
        with control.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), 8192)
        self._names = control.with_name(f"{control.name}.names").read_text().split()

    def operations(self) -> int:
        """How many round trips there have been."""
        return sum(count for name, count in self._counts().items() if name.isupper() and name not in FREE)

    def moved(self) -> int:
        """How many bytes were read and written."""
        counts = self._counts()
        return counts["read_bytes"] + counts["write_bytes"]

    def _counts(self) -> dict[str, int]:
        return dict(zip(self._names, struct.unpack_from(f"<{len(self._names)}Q", self._page, 4096), strict=True))


def build(folder: Path) -> Path:
    """Compile it."""
    if not SOURCE.exists():
        raise Absent("slowfs.c is not there (SEAWALL_SHARED names the folder that has slowfs/slowfs.c)")
    for tool in ("gcc", "pkg-config", "fusermount3"):
        if shutil.which(tool) is None:
            raise Absent(f"{tool} is not installed (packages gcc, pkg-config, fuse3, libfuse3-dev)")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        raise Absent("/dev/fuse may not be used here")
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "fuse3"], capture_output=True, text=True, check=False)
    if flags.returncode:
        raise Absent("libfuse3-dev is not installed")
    program = folder / "slowfs"
    subprocess.run(["gcc", "-O2", str(SOURCE), "-o", str(program), *flags.stdout.split(), "-lpthread"], check=True)
    return program


@contextmanager
def machines(folder: Path, count: int, *, locks: str = "pass") -> Iterator[list[SlowFolder]]:
    """One folder, mounted by several machines: 1 ms for a read or metadata, 3 ms for a durable write.

    With the locks `"local"` a machine's file locks are its own, as with NFS's mount option `nolock`.
    """
    program = build(folder)
    backing = folder / "backing"
    backing.mkdir()
    mounted: list[tuple[subprocess.Popen[bytes], Path]] = []
    try:
        views = []
        for number in range(count):
            mount, control = folder / f"machine{number}", folder / f"control{number}"
            mount.mkdir()
            costs = ["--md=1", "--rd=1", "--wr=3"]
            process = subprocess.Popen([program, backing, mount, f"--ctl={control}", f"--locks={locks}", *costs])
            mounted.append((process, mount))
            while not mount.is_mount():
                if process.poll() is not None:
                    raise Absent("slowfs could not be mounted")
                time.sleep(0.02)
            views.append(SlowFolder(mount, control))
        yield views
    finally:
        for process, mount in mounted:
            subprocess.run(["fusermount3", "-uz", str(mount)], check=False)
            # Databases that this process keeps have descriptors there: it would wait for them.
            process.kill()
            process.wait()
