"""Ways into the SQLites of this machine: Python's own, a wheel's, a Python that loads extensions, the shell."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import seawall

from .conftest import Connect, rows

PACKAGES = str(Path(seawall.__file__).parents[1])


def test_any_library_can_use_the_uri(connect: Connect, db: Path) -> None:
    connect().execute("CREATE TABLE t (a)")
    seawall.register()
    seawall.register()
    stock = sqlite3.connect(f"file:{db}?vfs=seawall", uri=True)
    with stock:
        stock.execute("INSERT INTO t VALUES (1)")
    stock.close()
    assert rows(connect(), "SELECT * FROM t") == [(1,)]


def test_another_sqlite_in_the_same_process(connect: Connect, db: Path) -> None:
    pysqlite3: Any = pytest.importorskip("pysqlite3", reason="SKIPPED: no pysqlite3")
    factory = seawall.connection_class(pysqlite3)
    other = connect(factory=factory)
    assert isinstance(other, pysqlite3.Connection)
    assert pysqlite3.sqlite_version != sqlite3.sqlite_version
    other.execute("CREATE TABLE t (a)")
    connection = connect(timeout=0.2)
    connection.execute("INSERT INTO t VALUES (1)")
    assert rows(other, "SELECT * FROM t") == [(1,)]
    # One engine: the lease that one SQLite holds, the other waits for.
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(seawall.DatabaseBusy):
        connection.execute("BEGIN IMMEDIATE")
    other.execute("COMMIT")
    connection.execute("BEGIN IMMEDIATE")
    other.execute("PRAGMA busy_timeout=100")
    with pytest.raises(seawall.DatabaseBusy) as raised:
        other.execute("INSERT INTO t VALUES (2)")
    assert isinstance(raised.value, pysqlite3.OperationalError)
    connection.execute("COMMIT")


@pytest.mark.parametrize("library", ["_native*.so", "libseawall.so"])
def test_no_sqlite_is_shipped_or_linked(library: str) -> None:
    """The feature `linked` of seawall-sqlite is for Rust programs only."""
    (path,) = Path(seawall.__file__).parent.glob(library)
    shipped = path.read_bytes()
    assert b"seawall_last_error" in shipped
    assert b"malformed database schema" not in shipped, "a SQLite is inside"
    assert b"libsqlite3.so" not in shipped, "it is linked to the system's SQLite"


def test_no_way_in_says_what_to_install() -> None:
    def connect(*args: object, **kwargs: object) -> None:
        raise sqlite3.OperationalError("out of order")

    hopeless: Any = types.ModuleType("hopeless")
    hopeless.connect = connect
    hopeless.Error = sqlite3.Error
    hopeless.sqlite_version = "3.7.17"
    with pytest.raises(ImportError, match=r"no way into the SQLite of hopeless \(SQLite 3.7.17\).*pysqlite3-binary"):
        seawall.register(hopeless)


SCRIPT = """
import sqlite3, sys
import seawall
from seawall import registration
if {extension}:
    assert hasattr(sqlite3.Connection, "enable_load_extension")
    registration._through_its_library = registration._as_an_extension
connection = seawall.connect(sys.argv[1], isolation_level=None)
connection.execute("CREATE TABLE t (a)")
connection.execute("INSERT INTO t VALUES (1)")
print(connection.execute("SELECT * FROM t").fetchall())
"""


def python_with_extensions() -> str:
    """A Python whose sqlite3 loads extensions."""
    debian = "/usr/bin/python3"
    probe = "import sqlite3, sys; assert sys.version_info >= (3, 11); sqlite3.Connection.enable_load_extension"
    if not shutil.which(debian) or subprocess.run([debian, "-c", probe], check=False).returncode:
        pytest.skip("SKIPPED: no such Python on this machine")
    return debian


@pytest.mark.parametrize("extension", [False, True])
def test_a_python_that_can_load_extensions(db: Path, extension: bool) -> None:
    command = [python_with_extensions(), "-c", SCRIPT.format(extension=extension), str(db)]
    done = subprocess.run(command, env={"PYTHONPATH": PACKAGES}, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[(1,)]\n", "")


LOAD = """
import sqlite3, sys
import seawall
connection = sqlite3.connect(":memory:")
connection.enable_load_extension(True)
connection.load_extension(seawall.extension_path())
print(sqlite3.connect(f"file:{sys.argv[1]}?vfs=seawall", uri=True).execute("SELECT a FROM t").fetchall())
"""


def test_load_extension_takes_the_extension_s_path(connect: Connect, db: Path) -> None:
    connect().execute("CREATE TABLE t (a)")
    done = subprocess.run(
        [python_with_extensions(), "-c", LOAD, str(db)],
        env={"PYTHONPATH": PACKAGES},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def shell(*commands: str) -> subprocess.CompletedProcess[str]:
    """Run the system's SQLite shell with the extension loaded."""
    binary = shutil.which("sqlite3", path="/usr/bin:/usr/local/bin")
    if binary is None:
        pytest.skip("SKIPPED: no sqlite3 shell on this machine")
    script = "\n".join([f".load {seawall.extension_path().removesuffix('.so')}", ".log stderr", *commands])
    return subprocess.run([binary], input=script, capture_output=True, text=True, check=False)


def test_the_shell(connect: Connect, db: Path) -> None:
    connect().execute("CREATE TABLE t (a)")
    opening = f".open 'file:{db}?vfs=seawall'"
    done = shell(opening, "INSERT INTO t VALUES (7);", "SELECT * FROM t;", "PRAGMA seawall_version;")
    assert (done.stdout, done.stderr) == ("7\n2\n", "")
    assert rows(connect(), "SELECT * FROM t") == [(7,)]


def test_the_shell_hears_why(db: Path) -> None:
    done = shell(f".open 'file:{db}?vfs=seawall&freshness=now'")
    assert "freshness=now" in done.stderr


def test_the_shell_does_not_make_databases_by_accident(db: Path) -> None:
    sqlite3.connect(db).execute("CREATE TABLE t (a)")
    before = db.read_bytes()
    done = shell(f".open 'file:{db}?vfs=seawall'", f"ATTACH '{db}x' AS y;", "CREATE TABLE y.t (a);")
    assert (done.stdout, done.stderr) == ("", "")
    assert not Path(f"{db}x-seawall").exists()
    assert rows(sqlite3.connect(f"{db}x"), "SELECT name FROM sqlite_schema") == [("t",)]
    # That made main one, and asked for it; to open it and do nothing would not.
    assert Path(f"{db}-seawall").exists()
    assert db.read_bytes() != before
    shell(f".open 'file:{db}y?vfs=seawall'", "SELECT 1;")
    assert Path(f"{db}y").read_bytes() == b""
    assert not Path(f"{db}y-seawall").exists()


def test_python_m_seawall() -> None:
    done = subprocess.run([sys.executable, "-m", "seawall", "ext-path"], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == seawall.extension_path()
