"""What lies in a folder."""

from __future__ import annotations

import os
from pathlib import Path


def below(folder: Path) -> list[Path]:
    """All that lies in the folder, at any depth. `Path.rglob` of some CPythons (3.11.2) fails at Seawall's symlinks.

    It asks where each of them leads, and their texts are longer than any name may be.
    """
    return [Path(place, name) for place, folders, files in os.walk(folder) for name in [*folders, *files]]
