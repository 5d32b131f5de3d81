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


@pytest.mark.parametrize("extension", [False, True])
def test_a_python_that_can_load_extensions(db: Path, extension: bool) -> None:
    debian = "/usr/bin/python3"
    probe = "import sqlite3, sys; assert sys.version_info >= (3, 11); sqlite3.Connection.enable_load_extension"
    if not shutil.which(debian) or subprocess.run([debian, "-c", probe], check=False).returncode:
        pytest.skip("SKIPPED: no such Python on this machine")
    command = [debian, "-c", SCRIPT.format(extension=extension), str(db)]
    done = subprocess.run(command, env={"PYTHONPATH": PACKAGES}, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[(1,)]\n", "")


def shell(*commands: str) -> subprocess.CompletedProcess[str]:
    """Run the system's SQLite shell with the extension loaded."""
    binary = shutil.which("sqlite3", path="/usr/bin:/usr/local/bin")
    if binary is None:
        pytest.skip("SKIPPED: no sqlite3 shell on this machine")
    script = "\n".join([f".load {seawall.extension_path().with_suffix('')}", ".log stderr", *commands])
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
    done = shell(f".open 'file:{db}?vfs=seawall'", f"ATTACH '{db}x' AS y;")
    assert "becomes one only if that is asked for" in done.stderr
    assert not Path(f"{db}x").exists()


def test_python_m_seawall() -> None:
    done = subprocess.run([sys.executable, "-m", "seawall", "ext-path"], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str(seawall.extension_path())
