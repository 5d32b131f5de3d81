"""What the project's pages say of the project itself: the commands are there, and each dependency has its reason."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()


def section(page: str, title: str) -> str:
    return page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def cells(section: str) -> Iterator[list[str]]:
    """The rows of the tables, without their heads."""
    for line in section.splitlines():
        if line.startswith("| ") and not line.startswith("| ---"):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


ROWS = [row for row in cells(section(PAGE, "How to run what")) if row[1] != "command"]
COMMANDS = [command for row in ROWS for command in re.findall("`([^`]+)`", row[1])]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_runs_what_is_there(command: str) -> None:
    words = command.split()
    if words[0] == "make":
        assert re.search(f"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for word in words:
        if "/" in word and not word.startswith(".venv/"):
            assert (ROOT / word).exists(), word
    if "cargo" in words:
        assert "--locked" in words
        crate = ROOT / "crates" / words[words.index("-p") + 1]
        assert (crate / "Cargo.toml").is_file()
        if "--test" in words:
            assert (crate / "tests" / f"{words[words.index('--test') + 1]}.rs").is_file()


def test_each_area_has_a_command() -> None:
    assert len(COMMANDS) > 15
    run = {word for command in COMMANDS for word in command.split()}
    areas = {str(test.parent.relative_to(ROOT)) for test in (ROOT / "tests").glob("*/test_*.py")}
    assert areas <= run
    tested = {path.parents[1].name for path in (ROOT / "crates").glob("*/tests/*.rs")}
    assert tested <= run


def test_these_tests_need_only_pytest(tmp_path: Path) -> None:
    for absent in ("boto3", "botocore", "django", "pysqlite3"):
        (tmp_path / f"{absent}.py").write_text("raise ImportError('blocked by the test')")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-qq", "tests/python"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "page", ["CONTRIBUTING.md", "SECURITY.md", "docs/adding-a-coordinator.md", "docs/platforms.md", "docs/questions.md"]
)
def test_what_a_page_names_is_there(page: str) -> None:
    text = (ROOT / page).read_text()
    paths = set(re.findall(r"`((?:crates|tests|python|fuzz|deploy|docs|tools|\.ci|\.cargo|\.github)/[\w./-]+)`", text))
    links = {(ROOT / page).parent / link.partition("#")[0] for link in re.findall(r"\]\((?!https?:|#)([^)]+)\)", text)}
    assert paths or links
    absent = [str(path) for path in links | {ROOT / path for path in paths} if not path.exists()]
    assert not absent


DEPENDENCIES = (ROOT / "docs" / "dependencies.md").read_text()
CRATES = {
    "The engine (`crates/seawall`)": ["crates/seawall"],
    "The DynamoDB coordinator (`crates/seawall-dynamodb`)": ["crates/seawall-dynamodb"],
    "The command line (`crates/seawall-cli`)": ["crates/seawall-cli"],
    "The simulator (`crates/seawall-sim`)": ["crates/seawall-sim"],
    "The SQLite edge and the Python module": ["crates/seawall-sqlite", "crates/seawall-python"],
    "Fuzzing (`fuzz/`, outside of the workspace)": ["fuzz"],
}


def named(title: str) -> set[str]:
    """The dependencies that a section's table has a reason for."""
    rows = list(cells(section(DEPENDENCIES, title)))
    assert rows, title
    names = set()
    for dependencies, reason in rows:
        assert len(reason) > 2, dependencies
        names |= {name.strip().lower() for name in re.sub(r"\(.*?\)", "", dependencies).split(",")}
    return names - {"crate", "package"}


@pytest.mark.parametrize("title", CRATES)
def test_each_crate_has_a_reason(title: str) -> None:
    declared = set()
    for folder in CRATES[title]:
        manifest = tomllib.loads((ROOT / folder / "Cargo.toml").read_text())
        for kind in ("dependencies", "dev-dependencies", "build-dependencies"):
            declared |= {name for name in manifest.get(kind, {}) if not name.startswith("seawall")}
    assert declared == named(title)


def test_each_manifest_was_looked_at() -> None:
    manifests = {
        str(path.parent.relative_to(ROOT)) for path in [*ROOT.glob("crates/*/Cargo.toml"), ROOT / "fuzz/Cargo.toml"]
    }
    assert manifests == {folder for folders in CRATES.values() for folder in folders}


def test_each_python_package_has_a_reason() -> None:
    chosen = [*ROOT.glob("*.in"), *(ROOT / "deploy").rglob("*.in"), *(ROOT / "tests").rglob("*.in")]
    # The one list that is written by hand, hashes and all.
    lists = [*chosen, ROOT / "tests" / "real_input" / "requirements.txt"]
    assert len(lists) >= 4
    lines = [line for path in lists for line in path.read_text().splitlines()]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lines += project["build-system"]["requires"] + project["project"].get("dependencies", [])
    lines += [line for extra in project["project"]["optional-dependencies"].values() for line in extra]
    declared = {found[0].lower() for line in lines if (found := re.match(r"[A-Za-z0-9][\w.-]*", line))}
    assert declared == named("Python")
