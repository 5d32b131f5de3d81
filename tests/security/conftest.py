"""The fixtures of these tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder that every user may enter; pytest's own is root's alone."""
    path = Path(tempfile.mkdtemp(prefix="seawall-security-")).resolve()
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)
