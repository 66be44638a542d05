"""The code that a kept result was made by, as one digest: other code, another result."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def sources_digest(names: Sequence[str]) -> str:
    """SHA-256 over the Python files that `names` lists, files or whole folders of the package, with their paths.

    Raises: FileNotFoundError naming an entry that does not exist.
    """
    digest = hashlib.sha256()
    for name in names:
        place = PACKAGE / name
        files = sorted(place.rglob("*.py")) if place.is_dir() else [place]
        for path in files:
            content = path.read_bytes()
            digest.update(f"{path.relative_to(PACKAGE).as_posix()} {len(content)}\n".encode())
            digest.update(content)
    return digest.hexdigest()
