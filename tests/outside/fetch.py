"""Bringing the suites: by the registries' own clients, each of one version, into build/outside."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "outside"

SQLITE = "3.40.1"
SQLITE_SHA256 = "aaa776260ab4dc976db34aa7891819484c8676b5b2783123ebc6301e2ca5d655"


class Absent(Exception):
    """A suite cannot be had here, for this reason."""


def python_packages(suite: str, *, source: str | None = None) -> Path:
    """A folder with the packages of `requirements-SUITE.txt`, kept out of the environment that runs them.

    With `source` its source distribution lies there too, unpacked, in the folder `source`.
    """
    wanted = HERE / f"requirements-{suite}.txt"
    packages = BUILD / f"{suite}-{sys.version_info.major}.{sys.version_info.minor}"
    stamp = packages / "installed.txt"
    if stamp.exists() and stamp.read_text() == wanted.read_text():
        return packages
    print(f"fetching what {suite} needs ...", flush=True)
    shutil.rmtree(packages, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=BUILD) as scratch:
        folder = Path(scratch) / "packages"
        archives = Path(scratch) / "archives"
        by_hash = ["--no-deps", "--require-hashes", "-r", str(wanted)]
        _run([sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), *by_hash])
        if source:
            only_source = ["--no-binary", source, "--dest", str(archives)]
            _run([sys.executable, "-m", "pip", "download", "--quiet", *only_source, *by_hash])
            (archive,) = archives.glob(f"{source}-*.tar.gz")
            with tarfile.open(archive) as tar:
                tar.extractall(scratch, filter="data")
            (unpacked,) = Path(scratch).glob(f"{source}-*/")
            unpacked.rename(folder / "source")
        (folder / "installed.txt").write_text(wanted.read_text())
        folder.rename(packages)
    return packages


def sqlite_source() -> Path:
    """SQLite's own source tree, from Debian's source package."""
    source = BUILD / f"sqlite-{SQLITE}"
    if source.exists():
        return source
    print(f"fetching the source of SQLite {SQLITE} ...", flush=True)
    if not shutil.which("apt-get"):
        raise Absent("SQLite's source tree comes from Debian's source package, and there is no apt-get")
    with tempfile.TemporaryDirectory(dir=BUILD) as scratch:
        folder = Path(scratch)
        apt = {"APT_CONFIG": str(_with_sources(folder))}
        _run(["apt-get", "update", "-qq"], environment=apt)
        _run(["apt-get", "source", "-qq", "--download-only", "--only-source", "sqlite3"], folder, apt)
        archive = folder / f"sqlite3_{SQLITE}.orig.tar.xz"
        if not archive.exists():
            found = ", ".join(path.name for path in folder.glob("*.orig.tar.xz"))
            raise Absent(f"this machine's Debian has another SQLite ({found}); these tests know {SQLITE}")
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        if digest != SQLITE_SHA256:
            raise Absent(f"{archive.name} is not the one that was tested: its SHA-256 is {digest}")
        with tarfile.open(archive) as tar:
            tar.extractall(folder / "unpacked", filter="data")
        (unpacked,) = (folder / "unpacked").iterdir()
        unpacked.rename(source)
    return source


def install(package: str) -> None:
    """Install a package of Debian's."""
    if not shutil.which("apt-get"):
        raise Absent(f"Debian's package {package} is needed, and there is no apt-get")
    _run(["apt-get", "update", "-qq"])
    _run(["apt-get", "install", "-qq", "-y", package])


def compiled(program: Path, sources: Sequence[Path], options: Sequence[str]) -> None:
    """Compile `program`, with the headers and library of the machine's SQLite."""
    if not Path("/usr/include/sqlite3.h").exists():
        install("libsqlite3-dev")
    _run(["cc", "-O2", "-w", "-o", str(program), *map(str, sources), *options])


def _with_sources(folder: Path) -> Path:
    """apt's configuration with this machine's own sources, of source packages, and lists of its own.

    Nothing on the machine is changed.
    """
    parts = folder / "sources"
    parts.mkdir()
    for file in [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]:
        if file.suffix == ".list" and file.exists():
            (parts / file.name).write_text(re.sub(r"(?m)^deb\s", "deb-src ", file.read_text()))
        elif file.suffix == ".sources":
            (parts / file.name).write_text(re.sub(r"(?m)^Types:.*$", "Types: deb-src", file.read_text()))
    for place in ("lists/partial", "cache/archives/partial"):
        (folder / place).mkdir(parents=True)
    config = folder / "apt.conf"
    config.write_text(
        'Dir::Etc::sourcelist "/dev/null";\n'
        f'Dir::Etc::sourceparts "{parts}";\n'
        f'Dir::State::lists "{folder / "lists"}";\n'
        f'Dir::Cache "{folder / "cache"}";\n'
        'APT::Sandbox::User "";\n'
    )
    return config


def _run(command: Sequence[str], cwd: Path | None = None, environment: Mapping[str, str] = {}) -> None:
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True)
    if done.returncode != 0:
        raise Absent(f"{' '.join(command[:3])} failed ({done.returncode}):\n{(done.stdout + done.stderr)[-3000:]}")
