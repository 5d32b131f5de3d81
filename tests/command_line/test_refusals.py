"""What commands say where there is no database, where files are damaged, and where a file is not what it has to be."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import pytest
import seawall

from .commands import answered, run

GOOD, PROBLEM, NO_DATABASE, NEEDS_RECOVERY = 0, 1, 10, 13
ON_FILES = ["recover", "snapshot --refresh", "detach --yes", "adopt", "restore --from x", "move --to fs:"]


@pytest.fixture
def name(tmp_path: Path) -> Path:
    """A database with a base."""
    name = tmp_path / "db.sqlite3"
    with seawall.connect(name, upkeep=False) as connection:
        connection.execute("CREATE TABLE votes (choice TEXT)")
        connection.execute("INSERT INTO votes VALUES ('a')")
    seawall.checkpoint(name)
    with connection:
        connection.execute("INSERT INTO votes VALUES ('b')")
    connection.close()
    return name


def votes(name: Path) -> list[str]:
    connection = seawall.connect(name)
    found = [choice for (choice,) in connection.execute("SELECT choice FROM votes ORDER BY rowid")]
    connection.close()
    return found


@pytest.mark.parametrize("command", ON_FILES)
def test_where_no_database_is_the_exit_code_says_so_and_the_text_what_is_there(command: str, tmp_path: Path) -> None:
    word, *rest = command.split()
    (tmp_path / "text").write_text("no database at all, but a text that is long enough for a header" * 9)
    (tmp_path / "folder").mkdir()
    with sqlite3.connect(tmp_path / "stock") as stock:
        stock.execute("CREATE TABLE t (x)")
    stock.close()
    cases = {"none": "does not exist", "folder": "is no file", "text": "not a SQLite database"}
    if word != "adopt":
        cases["stock"] = "is not a Seawall database yet: it is a plain SQLite file"
    before = (tmp_path / "stock").read_bytes()
    for case, why in cases.items():
        code, failed = answered(word, tmp_path / case, *rest)
        assert code == NO_DATABASE and why in failed["error"]["text"], failed
        assert "opened read-only" not in failed["error"]["text"] and "committed before is kept" not in str(failed)
    assert (tmp_path / "stock").read_bytes() == before


def test_a_copy_without_its_folder_is_named_as_what_it_is(name: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.sqlite3"
    shutil.copyfile(name, alone)
    for command in ["recover", "snapshot --refresh", "detach --yes", "restore --from x"]:
        word, *rest = command.split()
        code, _, err = run(word, alone, *rest)
        assert code == PROBLEM and "the copy of some version" in err and "seawall adopt NAME" in err, err


def test_a_head_of_a_newer_format_asks_for_a_newer_seawall_and_nothing_else(name: Path) -> None:
    commits = Path(f"{name}-seawall/commits")
    numbers = [int(link.name) for link in commits.iterdir() if link.name.isdigit()]
    newest = commits / str(max(numbers))
    newest.unlink()
    newest.symlink_to("seawall2 of the future")
    for command in ["status", "gc", "checkpoint"]:
        code, failed = answered(command, name)
        assert (code, failed["error"]["kind"]) == (PROBLEM, "CannotOpen"), failed
        assert "use a newer Seawall" in failed["error"]["text"] and "recover" not in failed["error"]["text"]


@pytest.mark.parametrize("what", ["base", "sums", "short base", "segment"])
def test_status_and_doctor_look_for_what_the_newest_version_stands_on(name: Path, what: str) -> None:
    assert answered("status", name)[1]["healthy"] and run("doctor", name)[0] == GOOD
    bases, segments = Path(f"{name}-seawall/bases"), Path(f"{name}-seawall/segments")
    match what:
        case "segment":
            # The commit is in the page cache of nobody: opening fails, and says more.
            for segment in segments.iterdir():
                segment.unlink()
            assert run("status", name)[0] == NEEDS_RECOVERY and run("doctor", name)[0] == PROBLEM
            return
        case "base":
            next(bases.glob("*.sqlite3")).unlink()
        case "sums":
            next(bases.glob("*.sums")).unlink()
        case _:
            base = next(bases.glob("*.sqlite3"))
            os.truncate(base, base.stat().st_size - 1)
    code, status = answered("status", name)
    assert code == PROBLEM and not status["healthy"]
    assert any("the newest version needs it" in problem or "needs" in problem for problem in status["problems"]), status
    code, out, _ = run("doctor", name)
    assert code == PROBLEM and "bases/" in out and f"seawall recover {name}" in out, out


def test_a_name_that_was_cut_short_is_a_problem_and_a_finding(name: Path) -> None:
    os.truncate(name, name.stat().st_size - 4096)
    code, out, _ = run("doctor", name)
    assert code == PROBLEM and f"seawall snapshot {name} --refresh" in out, out
    code, found = answered("verify", name)
    (finding,) = found["findings"]
    assert code == PROBLEM and finding["file"] == "NAME" and "cut short" in finding["why"], finding
    assert "seawall snapshot NAME --refresh" in finding["why"]
    assert run("snapshot", name, "--refresh")[0] == GOOD
    assert run("doctor", name)[0] == GOOD and run("verify", name)[0] == GOOD


def test_a_file_that_is_no_backup_is_refused_in_plain_words(name: Path, tmp_path: Path) -> None:
    cases: dict[str, tuple[Path, str]] = {
        "device": (Path("/dev/zero"), "is not a regular file"),
        "folder": (tmp_path, "is not a regular file"),
        "pipe": (tmp_path / "pipe", "is not a regular file"),
        "empty": (tmp_path / "empty", "is empty"),
        "short": (tmp_path / "short", "has only 5 bytes"),
        "text": (tmp_path / "text", "is not a SQLite database"),
        "nothing": (tmp_path / "nothing", "No such file"),
    }
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").touch()
    (tmp_path / "short").write_text("12345")
    (tmp_path / "text").write_text("x" * 200)
    for file, why in cases.values():
        code, _, err = run("restore", name, "--from", file)
        assert code == PROBLEM and why in err and "Nothing was changed" in err, err
    assert votes(name) == ["a", "b"]


def test_a_copy_as_of_a_checkpoint_is_no_backup(name: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.sqlite3"
    shutil.copyfile(name, backup)
    for file in [name, backup]:
        code, _, err = run("restore", name, "--from", file)
        assert code == PROBLEM and "as of a checkpoint" in err and "seawall.copy" in err, err
        assert "Nothing was changed" in err and votes(name) == ["a", "b"]
    # What the error says works.
    assert f"sqlite3 {backup} \"VACUUM INTO 'plain.sqlite3'\"" in run("restore", name, "--from", backup)[2]
    plain = tmp_path / "plain.sqlite3"
    stock = sqlite3.connect(f"file:{backup}", uri=True, isolation_level=None)
    stock.execute(f"VACUUM INTO '{plain}'")
    stock.close()
    assert run("restore", name, "--from", plain)[0] == GOOD and votes(name) == ["a"]


def test_gc_and_verify_say_the_same_of_a_milestone_that_cannot_be_read(name: Path) -> None:
    assert run("gc", name)[0] == GOOD
    milestone = next(Path(f"{name}-seawall").glob("milestone.*"))
    milestone.write_text("nonsense")
    code, failed = answered("gc", name)
    text = failed["error"]["text"]
    assert code == PROBLEM and "Nothing was deleted. Remove it: it is only evidence" in text and "backup" not in text
    code, found = answered("verify", name)
    assert code == PROBLEM and "Remove it: it is only evidence" in found["findings"][0]["why"], found
    milestone.unlink()
    assert run("gc", name)[0] == run("verify", name)[0] == GOOD


def test_what_touched_name_is_told_in_whole_sentences(name: Path) -> None:
    name.write_text("mine")
    code, _, err = run("status", name)
    assert code == PROBLEM
    for way in ["seawall snapshot NAME --refresh. To", "seawall restore NAME --from FILE. To", "seawall.remove"]:
        assert way in err, err


def test_version_0_has_no_time_and_a_pin_ends_when_it_was_asked_to(name: Path) -> None:
    code, found = answered("verify", name, "--at", "0")
    assert (code, found["version"], found["time"]) == (GOOD, 0, None)
    code, out, _ = run("verify", name, "--at", "0")
    assert code == GOOD and "version 0, the beginning" in out and "1970" not in out, out
    for day in ["9999-12-31", "2999-12-24"]:
        code, pinned = answered("pin", name, "far", "--for", day)
        assert (code, pinned["pin"]["until"]) == (GOOD, f"{day}T00:00:00.000Z")
        assert f"until   {day} 00:00:00 UTC" in run("pin", name, "far", "--for", day)[1]


def test_people_do_not_take_the_names_of_seawalls_own_pins(name: Path) -> None:
    with pytest.raises(ValueError, match="Choose another name"):
        seawall.pin(name, "checkpoint-mine")
    assert run("unpin", name, "checkpoint-mine")[0] == PROBLEM, "one that is left over can be given up"


def test_init_says_what_it_is_for() -> None:
    code, out, err = run("init", "--coordinator", "fs:")
    assert code == PROBLEM and out == "" and "dynamodb://TABLE?region=REGION" in err and "fs::" not in err, err
