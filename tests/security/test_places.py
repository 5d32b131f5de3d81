"""File systems and mounts where a database cannot live: refused before anything is touched."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import seawall

from .people import needs_root

SFTP_SERVER = Path("/usr/lib/openssh/sftp-server")

INSIDE = """
import sqlite3, subprocess, sys
from pathlib import Path
import seawall

app, volume = map(Path, sys.argv[1:])
subprocess.run(["mount", "-t", "tmpfs", "layer", app], check=True)
name = app / "db.sqlite3"
name.touch()
subprocess.run(["mount", "--bind", volume, name], check=True)
try:
    seawall.connect(name, isolation_level=None).execute("INSERT INTO t VALUES ('seawall')")
    print("written")
except sqlite3.Error as error:
    print(error)
print(sorted(path.name for path in app.iterdir()))
with sqlite3.connect(name) as stock:
    stock.execute("INSERT INTO t VALUES ('stock')")
subprocess.run([sys.executable, "-m", "seawall", "doctor", name])
"""


def plain(name: Path) -> None:
    """Make a plain SQLite file."""
    with sqlite3.connect(name) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()


@needs_root
def test_a_database_that_is_mounted_alone_is_refused(tmp_path: Path) -> None:
    app, volume = tmp_path / "app", tmp_path / "db.sqlite3"
    app.mkdir()
    plain(volume)
    container = ["unshare", "-m", sys.executable, "-c", INSIDE, str(app), str(volume)]
    done = subprocess.run(container, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    said, there, *doctor = done.stdout.splitlines()
    assert "is on another mount" in said and "Mount the whole folder" in said
    assert there == "['db.sqlite3']", "no folder is left"
    assert any(line.startswith("PROBLEM  files") and "another mount" in line for line in doctor)
    with sqlite3.connect(volume) as stock:
        assert stock.execute("SELECT x FROM t").fetchall() == [("stock",)]


@needs_root
def test_a_database_that_is_mounted_alone_later_is_refused_too(tmp_path: Path) -> None:
    app, volume = tmp_path / "app", tmp_path / "db.sqlite3"
    app.mkdir()
    seawall.connect(volume, isolation_level=None).execute("CREATE TABLE t (x)")
    copied = 'subprocess.run(["cp", "-a", f"{volume}-seawall", app], check=True)\ntry:\n'
    program = INSIDE.replace("try:\n", copied, 1).split("with sqlite3")[0]
    container = ["unshare", "-m", sys.executable, "-c", program, str(app), str(volume)]
    done = subprocess.run(container, capture_output=True, text=True, check=True)
    assert "is on another mount" in done.stdout


READ_ONLY = """
import sqlite3, subprocess, sys
import seawall

def ask(*statements):
    connection = seawall.connect(sys.argv[1], isolation_level=None)
    try:
        for statement in statements:
            answer = connection.execute(statement).fetchall()
        return answer
    except sqlite3.Error as error:
        return error.sqlite_errorname
    finally:
        connection.close()

place = sys.argv[2]
subprocess.run(["mount", "--bind", place, place], check=True)
subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
print(ask("BEGIN IMMEDIATE", "SELECT x FROM t", "COMMIT", "SELECT x FROM t"), ask("INSERT INTO t VALUES (1)"))
subprocess.run(["mount", "-o", "remount,bind,rw", place], check=True)
print(ask("INSERT INTO t VALUES (1) RETURNING x"))
"""


@needs_root
def test_a_read_only_mount_is_read_and_written_once_it_may_be(tmp_path: Path) -> None:
    name = tmp_path / "db.sqlite3"
    seawall.connect(name, isolation_level=None).execute("CREATE TABLE t (x)")
    container = ["unshare", "-m", sys.executable, "-c", READ_ONLY, str(name), str(tmp_path)]
    done = subprocess.run(container, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:-1] == ["[] SQLITE_READONLY", "[(1,)]"]


MOUNTED_INSIDE = """
import sqlite3, subprocess, sys
from pathlib import Path
import seawall

folder = Path(f"{sys.argv[1]}-seawall")
for inside in "bases", "segments", "commits":
    for mount in ["-t", "tmpfs", "none", folder / inside], ["--bind", folder / inside, folder / inside]:
        subprocess.run(["mount", *mount], check=True)
        try:
            connection = seawall.connect(sys.argv[1])
            connection.execute("SELECT x FROM t").fetchall()
            print("read")
        except sqlite3.Error as error:
            print(inside in str(error) and "is on another mount" in str(error) or error)
        subprocess.run(["umount", folder / inside], check=True)
"""


@needs_root
def test_a_mount_inside_the_folder_is_refused_at_each_opening(tmp_path: Path) -> None:
    name = tmp_path / "db.sqlite3"
    seawall.connect(name, isolation_level=None).execute("CREATE TABLE t (x)")
    container = ["unshare", "-m", sys.executable, "-c", MOUNTED_INSIDE, str(name)]
    done = subprocess.run(container, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:-1] == ["True"] * 6


@pytest.fixture
def sshfs(tmp_path: Path) -> Iterator[Path]:
    """A folder by sshfs, which gives a file another inode number whenever it is looked up."""
    if not shutil.which("sshfs") or not SFTP_SERVER.exists() or not Path("/dev/fuse").exists() or os.geteuid() != 0:
        pytest.skip("SKIPPED: needs root, sshfs, openssh-sftp-server and /dev/fuse")
    real, mounted, ssh = (tmp_path / part for part in ("real", "mounted", "ssh"))
    real.mkdir()
    mounted.mkdir()
    ssh.write_text(f"#!/bin/sh\nexec {SFTP_SERVER}\n")
    ssh.chmod(0o755)
    subprocess.run(["sshfs", "-o", f"ssh_command={ssh}", f"localhost:{real}", mounted], check=True, timeout=20)
    yield mounted
    subprocess.run(["umount", "-l", mounted], check=True)


def test_a_file_system_without_stable_inode_numbers_is_refused(sshfs: Path) -> None:
    name = sshfs / "db.sqlite3"
    plain(name)
    before = name.read_bytes()
    with pytest.raises(sqlite3.OperationalError, match=r"inode number .*NAME was not touched"):
        seawall.connect(name, isolation_level=None).execute("INSERT INTO t VALUES ('seawall')")
    assert name.read_bytes() == before
    assert [path.name for path in sshfs.iterdir()] == ["db.sqlite3"]
    with sqlite3.connect(name) as stock:
        stock.execute("INSERT INTO t VALUES ('stock')")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB."""
    if os.geteuid() != 0:
        pytest.skip("SKIPPED: needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=False).returncode:
        pytest.skip("SKIPPED: needs the right to mount")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_what_the_doctor_says_of_a_full_disk(small_disk: Path) -> None:
    name = small_disk / "db.sqlite3"
    plain(name)
    room = os.statvfs(small_disk)
    (small_disk / "filler").write_bytes(bytes(room.f_bavail * room.f_frsize))
    command = [sys.executable, "-m", "seawall", "doctor", str(name)]
    report = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    wrong = [line for line in report.splitlines() if line.startswith("PROBLEM")]
    assert {line.split()[1] for line in wrong} == {"space"}, (
        "a full disk says nothing of what the file system can do: " + report
    )
    assert "enlarge the file system" in report and "DELETE and VACUUM are commits" in report
    before = name.read_bytes()
    with pytest.raises(sqlite3.OperationalError, match="full"):
        seawall.connect(name, isolation_level=None).execute("INSERT INTO t VALUES (1)")
    assert name.read_bytes() == before, "an adoption that has no room does not mark it"
    (small_disk / "filler").unlink()
    seawall.connect(name, isolation_level=None).execute("INSERT INTO t VALUES (1)")
