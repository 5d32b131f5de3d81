"""The samples in docs/command-line.md: run as a module, this writes them again (`make samples`).

Each block ```console has commands, each with what it prints. All of them run one after the other, on one database.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "command-line.md"
SEAWALL = [sys.executable, "-m", "seawall"]
FOLDER = "/srv/app"
"""What the page shows instead of the folder that the samples run in."""

_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MAKE = """
import seawall
connection = seawall.connect("db.sqlite3", isolation_level=None, upkeep=False)
connection.execute("CREATE TABLE visit (at TEXT, note BLOB)")
for n in range(100):
    connection.execute("INSERT INTO visit VALUES (datetime(), randomblob(2000))")
connection.close()
"""


def commands(page: str) -> list[list[str]]:
    """The commands of each block."""
    return [re.findall(r"^\$ (.*)$", block, re.MULTILINE) for block in _BLOCK.findall(page)]


def samples(page: str) -> list[str]:
    """The blocks, as they are on the page."""
    return _BLOCK.findall(page)


def run(page: str) -> list[str]:
    """The blocks, as running their commands makes them."""
    with tempfile.TemporaryDirectory() as made:
        folder = os.path.realpath(made)
        subprocess.run([sys.executable, "-c", _MAKE], cwd=folder, check=True)
        return ["".join(_answer(command, folder) for command in block) for block in commands(page)]


def _answer(command: str, folder: str) -> str:
    program, *arguments = command.split()
    assert program == "seawall", command
    done = subprocess.run(
        [*SEAWALL, *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return f"$ {command}\n{done.stdout.replace(folder, FOLDER)}"


def shape(block: str) -> str:
    """A block without what differs from run to run: ids, numbers, times, sizes, the file system."""
    block = re.sub(r"\b[0-9a-f]{32}\b", "ID", block)
    block = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "TIME", block)
    block = re.sub(r"\d+ (s|min|h|days)\b( ago)?", r"LONG\2", block)
    block = re.sub(r"[\d.]+ (B|KiB|MiB|GiB|TiB)\b", "SIZE", block)
    block = re.sub(r"[\d.]+", "N", block)
    return re.sub(r"fs:, on \S+.*", "fs:, on FILESYSTEM", block)


def rewrite() -> None:
    """Write the page's samples again."""
    page = PAGE.read_text()
    blocks = iter(run(page))
    PAGE.write_text(_BLOCK.sub(lambda _: f"```console\n{next(blocks)}```", page))


if __name__ == "__main__":
    rewrite()
