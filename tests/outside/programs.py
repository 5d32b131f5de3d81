"""SQLite's own programs mptest and speedtest1, unmodified, with `--vfs seawall`."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import seawall

from . import fetch
from .compare import ByDesign, Engine, Result, Results, Status, Suite

PROGRAMS = {"mptest": "mptest/mptest.c", "speedtest1": "test/speedtest1.c"}

SCRIPTS = ["crash01", "multiwrite01", "config01", "config02", "config01-everywhere"]

ONLY_ON_UNIX = (
    "config01.test runs its tests only where the VFS is called `unix`. config01-everywhere is the same without that."
)

SPEEDTESTS: dict[str, list[str]] = {
    "main": [],
    "main, by small pages": ["--pagesize", "1024"],
    "main, without rowid": ["--without-rowid"],
    "main, UTF-16": ["--utf16be"],
    "main, auto_vacuum": ["--autovacuum"],
    "main, incremental vacuum": ["--incrvacuum"],
    "main, WAL": ["--journal", "wal"],
    "main, exclusive": ["--exclusive"],
    "main, mmap": ["--mmap", "100000000"],
    "main, reserved bytes": ["--reserve", "32"],
    "main, temporary tables": ["--temp", "6"],
    "cte": ["--testset", "cte"],
    "fp": ["--testset", "fp"],
    "orm": ["--testset", "orm"],
    "rtree": ["--testset", "rtree", "--size", "5"],
}


def _prepare() -> None:
    source = fetch.sqlite_source()
    config01 = (source / "mptest" / "config01.test").read_text()
    (source / "mptest" / "config01-everywhere.test").write_text(
        config01.replace("--if vfsname() GLOB 'unix'", "--if 1")
    )
    for name, path in PROGRAMS.items():
        fetch.compiled(
            fetch.BUILD / name,
            [source / path, fetch.HERE / "load.c"],
            ["-DSQLITE_ENABLE_RTREE", "-Wl,--wrap=sqlite3_open_v2", "-lsqlite3"],
        )


def _run(command: Sequence[str | Path], engine: Engine, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program in a new folder. Its database must have become the engine's, if it was used at all."""
    environment = dict(os.environ)
    if engine == "seawall":
        command = [*command, "--vfs", "seawall"]
        environment["SEAWALL_EXTENSION"] = str(seawall.extension_path())
    folder.mkdir()
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    name = folder / "test.db"
    was_used = name.exists() and name.stat().st_size > 0
    if was_used and (folder / "test.db-seawall").is_dir() != (engine == "seawall"):
        done.returncode = done.returncode or -1
        done.stdout += f"\nERROR: the database was not one of {engine}'s"
    return done


def _mptest(engine: Engine, folder: Path) -> Results:
    results = {}
    for script in SCRIPTS:
        path = fetch.sqlite_source() / "mptest" / f"{script}.test"
        done = _run([fetch.BUILD / "mptest", "test.db", path], engine, folder / script)
        (fetch.BUILD / f"mptest-{script}-{engine}.log").write_text(done.stdout)
        summary = re.search(r"^Summary: (\d+ errors out of (\d+) tests)$", done.stdout, re.MULTILINE)
        errors = [line for line in done.stdout.splitlines() if re.search(r"(ERROR|FATAL): ", line)]
        status: Status = "passed" if done.returncode == 0 and summary else "failed"
        if status == "passed" and summary and summary[2] == "0":
            status = "skipped"
        results[script] = Result(
            status,
            "\n".join([f"exit code {done.returncode}", *errors[:20]]),
            summary[1] if summary else "did not come to its end",
        )
    return results


def _speedtest1(engine: Engine, folder: Path) -> Results:
    results = {}
    for number, (name, options) in enumerate(SPEEDTESTS.items()):
        command: list[str | Path] = [fetch.BUILD / "speedtest1", "--size", "25", "--verify", *options, "test.db"]
        done = _run(command, engine, folder / str(number))
        (fetch.BUILD / f"speedtest1-{number}-{engine}.log").write_text(done.stdout)
        total = re.search(r"TOTAL\D*([\d.]+s)", done.stdout)
        sums = re.findall(r"Verification Hash: (.*)", done.stdout)
        right = done.returncode == 0 and total is not None and bool(sums)
        results[name] = Result(
            "passed" if right else "failed",
            f"exit code {done.returncode}\n{done.stdout[-2000:]}",
            total[1] if total else "did not come to its end",
            " ".join(sums),
        )
    return results


MPTEST = Suite(
    "mptest",
    f"SQLite {fetch.SQLITE}: processes that write and crash",
    _prepare,
    _mptest,
    [ByDesign(ONLY_ON_UNIX, ["config01"], "exit code 0")],
)

SPEEDTEST1 = Suite("speedtest1", f"SQLite {fetch.SQLITE}: the same work, and its sums", _prepare, _speedtest1)
