"""What is built and installed is what was looked at: lock files, and a hash for each file of each Python package."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PINNED = sorted(
    path
    for path in ROOT.rglob("requirements*.txt")
    if not {"build", "target", ".venv"} & set(path.relative_to(ROOT).parts)
)


@pytest.mark.parametrize("path", PINNED, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_package_has_one_version_and_hashes(path: Path) -> None:
    lines = path.read_text().replace("\\\n", " ").splitlines()
    packages = [line for line in lines if line.strip() and not line.strip().startswith("#")]
    assert packages
    for package in packages:
        assert re.fullmatch(
            r"[\w.-]+(\[[\w,]+\])?==[\w.!+]+(\s*;[^#]*?)?(\s+--hash=sha256:[0-9a-f]{64})+\s*", package
        ), package


def test_each_list_that_is_chosen_from_is_pinned() -> None:
    chosen = {path.with_suffix(".txt") for path in ROOT.glob("*.in")} | {
        path.with_suffix(".txt") for folder in ("deploy", "tests") for path in (ROOT / folder).rglob("requirements.in")
    }
    assert len(chosen) == 3
    assert chosen <= set(PINNED)


@pytest.mark.parametrize("name", ["Makefile", "build_backend.py", ".ci/run"])
def test_cargo_builds_what_the_lock_file_says(name: str) -> None:
    text = (ROOT / name).read_text()
    calls = re.findall(r'\bcargo(?: \+\w+|", ")? ?(?:build|test|run|clippy|doc|install)\b.*', text)
    assert calls or name == ".ci/run"
    for call in calls:
        assert "--locked" in call, call
