"""Two machines whose file locks do not reach each other: one stops in the middle of a commit, the other one reads.

This is what django-sqlite-efs was written for, by its README: file systems "that lack proper file locking".
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .peer import ROOT, SEAWALL, SEED, Application, Failed
from .site import BEGIN, END, Site

sys.path.append(str(ROOT / "bench"))
import slowfs

NAME = Path("db.sqlite3")
CHOICES, VOTES = 2000, 100
WHOLE = CHOICES * VOTES
FILL = f"""
Choice.objects.bulk_create(Choice(question_id=1, choice_text="x" * 4000, votes={VOTES}) for _ in range({CHOICES}))
"""
MOVE = f"""
Choice.objects.filter(pk__gt=2, pk__lte={CHOICES // 2 + 2}).update(votes=F("votes") + 1)
Choice.objects.filter(pk__gt={CHOICES // 2 + 2}).update(votes=F("votes") - 1)
"""
SUM = "Choice.objects.aggregate(sum=Sum('votes'))['sum']"
FIRST = "Choice.objects.get(pk=3).votes"


@pytest.fixture
def machines(tmp_path: Path, plain: Path) -> Iterator[list[Path]]:
    """Two machines' mounts of one folder with the database in it."""
    try:
        with slowfs.machines(tmp_path, 2, locks="local") as mounts:
            shutil.copy(plain, mounts[0].path / NAME)
            yield [mount.path for mount in mounts]
    except slowfs.Absent as absent:
        pytest.skip(f"SKIPPED: {absent}")


def begin_to_commit(writer: Application, reader: Application) -> None:
    """The writer moves votes, so that their sum stays as it is, and begins to commit that."""
    reader.do("connection.close()")
    assert reader.do(FIRST) >= VOTES
    writer.do(BEGIN)
    writer.do(MOVE)
    writer.ask(END)


def test_the_seeds_reader_tears_a_transaction_apart(
    sites: Callable[..., Site], dynamodb: str, table: str, machines: list[Path], tmp_path: Path
) -> None:
    seed = sites(SEED, NAME, dynamodb, table)
    writer, reader = (seed.start(machine=machine) for machine in machines)
    writer.do(FILL)
    for _ in range(10):
        read_in_the_middle_of_a_commit(writer, reader, tmp_path / "backing" / NAME)
        if seed.start(machine=machines[1]).do(SUM) != WHOLE:
            return
    pytest.fail("ten times nothing was torn")


def read_in_the_middle_of_a_commit(writer: Application, reader: Application, file: Path) -> None:
    before = file.stat().st_mtime_ns
    begin_to_commit(writer, reader)
    while file.stat().st_mtime_ns == before and writer.process.poll() is None:
        pass  # Nothing of the transaction is in the database yet.
    writer.freeze()
    # The other machine takes the journal for one that a dead writer left behind, and plays it back.
    assert reader.do(SUM) == WHOLE
    writer.thaw()
    with pytest.raises(Failed, match="disk I/O error"):
        writer.answer()


@pytest.mark.parametrize("coordinator", ["fs", "dynamodb"])
def test_seawalls_readers_see_whole_transactions(
    request: pytest.FixtureRequest, sites: Callable[..., Site], machines: list[Path], coordinator: str
) -> None:
    service = [request.getfixturevalue(part) for part in ("dynamodb", "table")] if coordinator == "dynamodb" else []
    seawall = sites(SEAWALL, NAME, *service)
    writer, reader = (seawall.start(machine=machine) for machine in machines)
    writer.do(FILL)
    for moved in range(10):
        begin_to_commit(writer, reader)
        time.sleep(moved / 200)
        writer.freeze()
        assert reader.do(f"{SUM}, {FIRST} in ({VOTES + moved}, {VOTES + moved + 1})") == [WHOLE, True]
        writer.thaw()
        writer.answer()
        assert reader.do(f"{SUM}, {FIRST}") == writer.do(f"{SUM}, {FIRST}") == [WHOLE, VOTES + moved + 1]
    assert reader.do("connection.cursor().execute('PRAGMA integrity_check').fetchall()") == [["ok"]]
