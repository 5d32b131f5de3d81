"""The polls example, as `make demo` runs it."""

import re
import subprocess
import sys
from pathlib import Path


def demo(polls: Path, folder: Path) -> dict[str, int]:
    """Run the demo for a second; what it counted."""
    options = ["--once", "--seconds=1", "--database", str(folder / "polls.sqlite3")]
    command = [sys.executable, str(polls / "demo.py"), *options]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    rows = re.findall(r"^  ([a-z ]+?) +([\d,]+)$", ended.stdout, re.MULTILINE)
    return {name: int(number.replace(",", "")) for name, number in rows}


def test_the_demo_and_a_second_one(polls: Path, tmp_path: Path) -> None:
    for _ in range(2):
        counted = demo(polls, tmp_path)
        assert counted["votes acknowledged"] == counted["votes counted"] > 0
        assert counted["lost"] == counted["failed requests"] == counted["stale pages"] == 0
