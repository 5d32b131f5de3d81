"""The suites of what uses SQLite from Python: SQLAlchemy's, apsw's and CPython's own."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import invalidate_caches
from importlib.util import find_spec
from pathlib import Path

from . import fetch, record
from .compare import ByDesign, Engine, Results, Suite, read

# The tests that SQLAlchemy itself marks as those of a backend, and of SQLite's dialect.
SQLALCHEMY_TESTS = ["--backend-only", "test/dialect", "test/engine", "test/sql"]


def _run(
    name: str,
    engine: Engine,
    folder: Path,
    command: Sequence[str],
    packages: Sequence[Path] = (),
    cwd: Path | None = None,
) -> Results:
    """Run a suite's own process, and read what it recorded."""
    recorded, log = fetch.BUILD / f"{name}-{engine}.jsonl", fetch.BUILD / f"{name}-{engine}.log"
    recorded.unlink(missing_ok=True)
    path = [*map(str, packages), str(fetch.HERE.parent), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        **record.environment(recorded),
        "PYTHONPATH": os.pathsep.join(path).rstrip(os.pathsep),
        "OUTSIDE_ENGINE": engine,
        "TMPDIR": str(folder),
    }
    with log.open("w") as output:
        ended = subprocess.run(
            [sys.executable, *command],
            cwd=cwd or folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    return read(recorded, ended.returncode, log)


def _packages(suite: str, source: str | None = None) -> Callable[[], None]:
    def prepare() -> None:
        fetch.python_packages(suite, source=source)

    return prepare


def _sqlalchemy(engine: Engine, folder: Path) -> Results:
    packages = fetch.python_packages("sqlalchemy", source="sqlalchemy")
    uri = f"sqlite:///{folder}/database.db"
    plugins = ["-p", "outside.record", "-p", "outside.default", "-p", "no:cacheprovider"]
    options = [*plugins, "-q", "--tb=short", "--maxfail=100000", "--dburi", uri]
    # Its path is first in the suite's own conftest.py.
    source = packages / "source"
    command = ["-m", "pytest", "--rootdir", str(source), "-c", str(source / "pyproject.toml"), *options]
    labels = [label if label.startswith("-") else str(source / label) for label in SQLALCHEMY_TESTS]
    return _run("sqlalchemy", engine, folder, [*command, *labels], [packages])


def _apsw(engine: Engine, folder: Path) -> Results:
    packages = fetch.python_packages("apsw")
    return _run("apsw", engine, folder, ["-m", "outside.apsw_tests"], [packages])


def _has_cpython_tests() -> bool:
    return find_spec("test") is not None and find_spec("test.test_sqlite3") is not None


def _find_cpython_tests() -> None:
    if not _has_cpython_tests() and sys.base_prefix == "/usr":
        fetch.install(f"libpython3.{sys.version_info.minor}-testsuite")
        invalidate_caches()
    if not _has_cpython_tests():
        raise fetch.Absent(f"CPython's own tests (test.test_sqlite3) are not installed beside {sys.executable}")


def _cpython(engine: Engine, folder: Path) -> Results:
    return _run("cpython", engine, folder, ["-m", "outside.cpython_tests"], [fetch.HERE / "site"])


ONE_DATABASE = (
    "A transaction that writes a Seawall database writes no other one (decision 22). SQLAlchemy attaches a plain file "
    "as `test_schema`; these tests write both in one transaction, and COMMIT refuses that."
)

SQLALCHEMY = Suite(
    "sqlalchemy",
    "SQLAlchemy 2.1.9: the tests of a backend",
    _packages("sqlalchemy", "sqlalchemy"),
    _sqlalchemy,
    [
        ByDesign(
            ONE_DATABASE,
            ["*::HasIndexTest_*", "*::KeyTargetingTest_*", "*::SameNamedSchemaTableTest_*", "*::TableViaSelectTest_*"],
            "(sqlite3.OperationalError) disk I/O error",
        )
    ],
)

READERS_DO_NOT_BLOCK = (
    "Readers never make writers wait. These tests hold a read transaction open, and expect that another connection's "
    "commit is refused as locked."
)
THE_JOURNAL = (
    'PRAGMA journal_mode is answered, and stays "memory": a database of Seawall\'s has no journal file, and no WAL.'
)
THE_FOLDER = "What was committed lies in the folder beside NAME. These tests read the file NAME without Seawall's VFS."

APSW = Suite(
    "apsw",
    "apsw 3.54.1.0, with its own SQLite; seawall is its default VFS",
    _packages("apsw"),
    _apsw,
    [
        ByDesign(
            READERS_DO_NOT_BLOCK, ["*.APSW.testIssue98", "*.APSW.testIssue106"], "Transaction was not rolled back"
        ),
        ByDesign(THE_JOURNAL, ["*.APSW.testConnectionPragma"], "'memory' != 'delete'"),
        ByDesign(THE_JOURNAL, ["*.APSW.testWAL"], "'wal' != 'memory'"),
        ByDesign(THE_FOLDER, ["*.APSW.testVFS", "*.APSW.testVFSWithWAL"], "len(orig), len(obfu)"),
        ByDesign(THE_FOLDER, ["*.Extra.testExecutable"], "not found in 'PRAGMA foreign_keys=OFF"),
    ],
)

CPYTHON = Suite(
    "cpython",
    f"CPython {platform.python_version()}: test.test_sqlite3, every database a file",
    _find_cpython_tests,
    _cpython,
    [
        ByDesign(
            READERS_DO_NOT_BLOCK,
            ["*.MultiprocessTests.test_ctx_mgr_rollback_if_commit_failed"],
            "self.assertEqual(proc.returncode, 0)",
        )
    ],
)
