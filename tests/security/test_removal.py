"""Removing a database: by a user who may not, and when the system refuses in the middle."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import seawall
from tree import below

from .people import COLLEAGUE, OWNER, TEAM, as_user, everything, folder_of, needs_root
from .test_users import make_plain, run

pytestmark = needs_root


def adopted(place: Path, mode: int = 0o660) -> Path:
    """Make the owner's database, which the team uses."""
    name = place / "db.sqlite3"
    make_plain(name, mode)
    os.chown(name, OWNER, TEAM)
    assert insert(OWNER, name) is None
    return name


def insert(user: int, name: Path) -> str | None:
    """Write as this user. Return the error."""
    return as_user(user, lambda: run(name, "INSERT INTO t VALUES (1)"), groups=[TEAM]).error


def remove(user: int, name: Path) -> str | None:
    """Remove it as this user. Return the error."""
    return as_user(user, lambda: seawall.remove(name), groups=[TEAM]).error


def test_a_colleague_in_a_sticky_folder_removes_nothing(tmp_path: Path) -> None:
    name = adopted(folder_of(0, tmp_path / "sticky", 0o1777))
    assert insert(COLLEAGUE, name) is None
    before = sorted(path.name for path in below(name.parent))
    error = remove(COLLEAGUE, name)
    assert error is not None
    assert "PermissionDenied" in error and "sticky" in error and str(OWNER) in error
    assert sorted(path.name for path in below(name.parent)) == before
    for user in (OWNER, COLLEAGUE):
        assert insert(user, name) is None, "no user is locked out"
    assert remove(OWNER, name) is None
    assert list(name.parent.iterdir()) == []


def test_a_user_who_may_not_write_the_parent_removes_nothing(tmp_path: Path) -> None:
    place = folder_of(OWNER, tmp_path / "place")
    name = adopted(place)
    os.chown(place, 0, 0)
    error = remove(OWNER, name)
    assert error is not None
    assert "PermissionDenied" in error and "Nothing was written" in error and str(place) in error
    assert insert(OWNER, name) is None
    assert remove(0, name) is None


def test_a_part_of_the_folder_that_is_anothers_is_seen_before_the_first_change(tmp_path: Path) -> None:
    name = adopted(folder_of(OWNER, tmp_path / "place"))
    segments = Path(f"{name}-seawall/segments")
    os.chown(segments, 0, 0)
    segments.chmod(0o755)
    error = remove(OWNER, name)
    assert error is not None
    assert "PermissionDenied" in error and f"lies in {segments}" in error and "root" in error
    assert run(name, "SELECT count(*) FROM t") == [(2,)]


def test_a_mount_in_the_folder_is_seen_before_the_first_change(tmp_path: Path) -> None:
    name = adopted(folder_of(OWNER, tmp_path / "place"))
    bases = Path(f"{name}-seawall/bases")
    if subprocess.run(["mount", "--bind", bases, bases], check=False).returncode:
        pytest.skip("SKIPPED: needs the right to mount")
    try:
        error = remove(0, name)
    finally:
        subprocess.run(["umount", bases], check=True)
    assert error is not None
    assert "another mount" in error and "Nothing was changed" in error
    assert run(name, "SELECT count(*) FROM t") == [(2,)]
    assert remove(0, name) is None


REMOVES = "import sys, seawall\nseawall.remove(sys.argv[1])"


@pytest.mark.parametrize("call", ["renameat", "unlinkat", "fsync", "getdents64"])
def test_a_removal_says_what_it_did(tmp_path: Path, call: str) -> None:
    if not shutil.which("strace"):
        pytest.skip("SKIPPED: needs strace")
    said_cut_short = 0
    for number in itertools.count(1):
        place = tmp_path / str(number)
        place.mkdir()
        name = place / "db.sqlite3"
        run(name, "CREATE TABLE t (x)")
        folders = [path for path in everything(place) if path.is_dir()]
        inject = [argument for folder in folders for argument in ("-P", str(folder))]
        inject += ["-e", f"inject={call}:error=EIO:when={number}", "-e", f"trace={call}"]
        command = ["strace", "-f", "-qq", "-o", "/dev/null", *inject, sys.executable, "-c", REMOVES, str(name)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        there = name.exists() and Path(f"{name}-seawall/id").exists()
        if done.returncode == 0:
            assert list(place.iterdir()) == []
            break
        if "cut short" in done.stderr:
            said_cut_short += 1
            assert not there
        else:
            assert "Nothing was" in done.stderr and there, done.stderr
            assert run(name, "SELECT count(*) FROM t") == [(0,)]
        seawall.remove(name)
        assert list(place.iterdir()) == [], "another removal takes all away"
    assert said_cut_short or call == "renameat"
