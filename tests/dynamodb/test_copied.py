"""A copied folder whose head is in DynamoDB: the head is the original's."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import seawall

from dynamodb.conftest import Shared


def test_a_copied_folder_is_read_as_far_as_it_has_the_files(shared: Shared, tmp_path: Path) -> None:
    original = shared.connect()
    original.execute("CREATE TABLE t (x)")
    original.execute("INSERT INTO t VALUES ('precious')")
    copies = [tmp_path / name / shared.name.name for name in ("read", "written", "late")]
    for copy in copies:
        copy.parent.mkdir()
        shutil.copy(shared.name, copy)
        shutil.copytree(f"{shared.name}-seawall", f"{copy}-seawall")
    reader = seawall.connect(f"file:{copies[0]}?mode=ro", coordinator=shared.url, isolation_level=None)
    assert reader.execute("SELECT x FROM t").fetchall() == [("precious",)]
    assert seawall.status(copies[0], coordinator=shared.url).is_copy
    seawall.copy(copies[0], tmp_path / "plain.sqlite3", coordinator=shared.url)
    head = shared.head()
    with pytest.raises(seawall.CannotOpen, match="this folder is a copy"):
        seawall.connect(copies[1], coordinator=shared.url).execute("INSERT INTO t VALUES (1)")
    with pytest.raises(seawall.CannotOpen, match="attempt to write a readonly database: this folder is a copy"):
        reader.execute("INSERT INTO t VALUES (1)")
    assert shared.head() == head, "a copy takes no lease"
    # What the original commits now is not in the copies, once it does not fit into the head.
    original.execute("INSERT INTO t VALUES (randomblob(300000))")
    for read in (
        lambda: reader.execute("SELECT x FROM t").fetchall(),
        lambda: seawall.copy(copies[2], tmp_path / "late.sqlite3", coordinator=shared.url),
    ):
        with pytest.raises(seawall.CannotOpen, match=r"the head in dynamodb://.* names is in it.*Read the original"):
            read()
    assert original.execute("SELECT count(*) FROM t").fetchall() == [(2,)]
    reader.close()
