"""The build: maturin's, with the loadable extension beside the module.

The extension for the `sqlite3` shell is a library of its own, free of Python. It is built here, and put where maturin
takes up the package's files.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import maturin  # type: ignore[import-untyped]

ROOT = Path(__file__).parent
EXTENSION = ROOT / "python" / "seawall" / "libseawall.so"
PROFILE = os.environ.get("SEAWALL_PROFILE", "release")
"""Cargo's; `make build` takes one that links faster."""

# Without build isolation, maturin's program is beside the interpreter, in an environment that need not be active.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

build_sdist = maturin.build_sdist
get_requires_for_build_sdist = maturin.get_requires_for_build_sdist
get_requires_for_build_wheel = maturin.get_requires_for_build_wheel
get_requires_for_build_editable = maturin.get_requires_for_build_editable
prepare_metadata_for_build_wheel = maturin.prepare_metadata_for_build_wheel
prepare_metadata_for_build_editable = maturin.prepare_metadata_for_build_editable


def build_extension() -> None:
    """Build `libseawall.so` into the package."""
    subprocess.run(
        ["cargo", "build", "--locked", "--profile", PROFILE, "--package", "seawall-sqlite"], cwd=ROOT, check=True
    )
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    built = target / os.environ.get("CARGO_BUILD_TARGET", "") / PROFILE / "libseawall_sqlite.so"
    shutil.copyfile(built, EXTENSION)


def build_wheel(wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    """Build a wheel that has both libraries."""
    build_extension()
    name: str = maturin.build_wheel(wheel_directory, config_settings, metadata_directory)
    return name


def build_editable(wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    """Build an editable wheel; the extension is in the package's folder."""
    build_extension()
    name: str = maturin.build_editable(wheel_directory, config_settings, metadata_directory)
    return name


if __name__ == "__main__":
    build_extension()
