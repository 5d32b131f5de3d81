"""A real database from another project is adopted where it lies: as it is, with a hot journal, and in WAL mode.

It is proj.db, the registry of coordinate systems that the PROJ project ships in pyproj's wheel: 38 tables, views,
triggers that check what is written. The wheel is downloaded into build/ and pinned by its hash.
"""

import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import seawall

HERE = Path(__file__).parent
DOWNLOADS = HERE.parents[1] / "build" / "real_input"
INSIDE = "pyproj/proj_dir/share/proj/proj.db"
SHA256 = "a25d85a2ebfc4584eba65186b7c41743b084ce5d391941cbb41c805947b77109"
WHEEL_FOR = ["--platform=manylinux_2_17_x86_64", "--python-version=3.11", "--implementation=cp", "--abi=cp311"]

Content = dict[str, str]


def download() -> Path:
    DOWNLOADS.mkdir(parents=True, exist_ok=True)
    if not list(DOWNLOADS.glob("pyproj-*.whl")):
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", *WHEEL_FOR]
        pip += ["--require-hashes", "--requirement", str(HERE / "requirements.txt"), "--dest", str(DOWNLOADS)]
        subprocess.run(pip, check=True, capture_output=True, text=True, timeout=120)
    with zipfile.ZipFile(next(DOWNLOADS.glob("pyproj-*.whl"))) as wheel:
        content = wheel.read(INSIDE)
    assert hashlib.sha256(content).hexdigest() == SHA256
    path = DOWNLOADS / "proj.db"
    path.write_bytes(content)
    return path


@pytest.fixture(scope="session")
def original(request: pytest.FixtureRequest) -> Path:
    try:
        return download()
    except (subprocess.SubprocessError, OSError) as error:
        why = f"SKIPPED: the real database could not be had: {getattr(error, 'stderr', None) or error}"
        with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            print(f"\n{why}")
        pytest.skip(why)


@pytest.fixture
def name(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(original, tmp_path / "proj.db"))


class Stock:
    """Another process, with stock SQLite."""

    def __init__(self, name: Path) -> None:
        command = [sys.executable, str(HERE / "stock.py"), str(name)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def try_to(self, statement: str) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{statement}\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def do(self, statement: str) -> list[list[Any]]:
        answer = self.try_to(statement)
        rows: list[list[Any]] = answer["rows"]
        return rows

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def stock() -> Iterator[Callable[[Path], Stock]]:
    started: list[Stock] = []

    def start(name: Path) -> Stock:
        started.append(Stock(name))
        return started[-1]

    yield start
    for process in started:
        process.kill()


def content(connection: sqlite3.Connection) -> Content:
    """The schema, and a digest of every table's rows."""
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    digests = {}
    for table in ["sqlite_master", *tables]:
        # Where the roots lie is not content.
        columns = "type, name, tbl_name, sql" if table == "sqlite_master" else "*"
        rows = sorted(map(repr, connection.execute(f'SELECT {columns} FROM "{table}"')))
        digests[table] = f"{len(rows)} rows {hashlib.sha256(repr(rows).encode()).hexdigest()}"
    return digests


def plain_content(path: Path) -> Content:
    connection = sqlite3.connect(path)
    try:
        return content(connection)
    finally:
        connection.close()


def adopted(name: Path) -> seawall.Connection:
    connection = seawall.connect(name, isolation_level=None)
    connection.execute("SELECT 1 FROM metadata").close()
    assert seawall.status(name).base_version == 0
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return connection


def test_as_it_is(name: Path, original: Path) -> None:
    before = plain_content(original)
    assert len(before) == 39
    connection = adopted(name)
    assert content(connection) == before
    # It is a database to write to, with its triggers, and the next process finds what was written.
    connection.execute("INSERT INTO metadata VALUES ('seawall', 'was here')")
    with pytest.raises(sqlite3.IntegrityError, match="new entry refers to unexisting code"):
        connection.execute("INSERT INTO usage VALUES ('A', 1, 'conversion', 'nobody', 1, 'EPSG', 1262, 'EPSG', 1024)")
    connection.execute("DELETE FROM usage WHERE rowid % 2")
    connection.close()
    later = adopted(name)
    assert later.execute("SELECT value FROM metadata WHERE key = 'seawall'").fetchone() == ("was here",)
    assert {table for table, rows in content(later).items() if rows != before[table]} == {"metadata", "usage"}


def test_with_a_hot_journal(name: Path, original: Path, stock: Callable[[Path], Stock]) -> None:
    writer = stock(name)
    writer.do("PRAGMA cache_size = 5")
    writer.do("BEGIN")
    writer.do("UPDATE usage SET auth_name = 'half done'")
    writer.kill()
    journal = name.with_name("proj.db-journal")
    assert journal.stat().st_size > 0 and name.read_bytes() != original.read_bytes(), "it was killed half way"
    assert content(adopted(name)) == plain_content(original)
    assert not journal.exists()


def test_in_wal_mode(name: Path, original: Path, stock: Callable[[Path], Stock]) -> None:
    writer = stock(name)
    assert writer.do("PRAGMA journal_mode = WAL") == [["wal"]]
    writer.do("INSERT INTO metadata VALUES ('in the WAL', 'committed')")
    writer.do("BEGIN")
    writer.do("INSERT INTO metadata VALUES ('not committed', '')")
    writer.kill()
    wal = name.with_name("proj.db-wal")
    assert wal.stat().st_size > 0 and b"in the WAL" not in name.read_bytes()
    connection = adopted(name)
    assert connection.execute("SELECT value FROM metadata WHERE key = 'in the WAL'").fetchall() == [("committed",)]
    before = plain_content(original)
    assert {table for table, rows in content(connection).items() if rows != before[table]} == {"metadata"}
    assert not wal.exists() and not name.with_name("proj.db-shm").exists()


WRITES = [
    "INSERT INTO metadata VALUES ('stock', 'was here')",
    "CREATE TABLE stock (x)",
    "DROP TABLE metadata",
    "VACUUM",
    "PRAGMA user_version = 7",
]


def test_stock_sqlite_reads_and_is_refused_when_it_writes(
    name: Path, original: Path, stock: Callable[[Path], Stock]
) -> None:
    already_open = stock(name)
    already_open.do("SELECT count(*) FROM metadata")
    connection = adopted(name)
    connection.execute("INSERT INTO metadata VALUES ('seawall', 'was here')")
    copy = name.read_bytes()
    for reader in (already_open, stock(name)):
        (count,) = reader.do("SELECT count(*) FROM metadata WHERE key != 'seawall'")
        assert count == list(connection.execute("SELECT count(*) FROM metadata WHERE key != 'seawall'").fetchone())
        for write in WRITES:
            assert "readonly" in reader.try_to(write).get("error", ""), write
        # Switching to WAL writes the header.
        assert reader.try_to("PRAGMA journal_mode = WAL") != {"rows": [["wal"]]}
    assert plain_content(name) == plain_content(original)
    assert name.read_bytes() == copy


WAYS_OUT = ["seawall snapshot NAME --refresh", "seawall restore NAME --from FILE", "seawall.remove"]


@pytest.mark.parametrize("overwrite", [shutil.copy, lambda source, name: name.write_bytes(b"not a database" * 1000)])
def test_a_program_that_overwrites_name_reaches_nothing_of_ours(
    name: Path, original: Path, overwrite: Callable[[Path, Path], object]
) -> None:
    connection = adopted(name)
    connection.execute("INSERT INTO metadata VALUES ('seawall', 'was here')")
    before = content(connection)
    overwrite(original, name)
    # A process that has it open goes on reading and writing.
    assert content(connection) == before
    connection.execute("UPDATE metadata SET value = 'is here' WHERE key = 'seawall'")
    # Opening it fails, and the error says why.
    with pytest.raises(seawall.CannotOpen) as refused:
        seawall.connect(name).execute("SELECT 1 FROM metadata")
    assert all(way in str(refused.value) for way in WAYS_OUT), refused.value
    # Nothing was lost.
    assert connection.execute("SELECT value FROM metadata WHERE key = 'seawall'").fetchone() == ("is here",)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_removed_name_is_reported_and_removing_the_folder_too_starts_afresh(name: Path, original: Path) -> None:
    adopted(name).close()
    name.unlink()
    with pytest.raises(seawall.CannotOpen) as refused:
        seawall.connect(name).execute("SELECT 1 FROM metadata")
    assert all(way in str(refused.value) for way in WAYS_OUT), refused.value
    seawall.remove(name)
    shutil.copy(original, name)
    assert content(adopted(name)) == plain_content(original)
