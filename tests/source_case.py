"""Settings of sources that are read, for tests: small images, everything that a source has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from coco_case import SIDE

from ecdm.sections import Data


def settings(source: str, path: Path, **changes: Any) -> Data:
    """The section `data` for images of a source at `path`, with other values on top."""
    counts = {"train": None, "validation": 4, "test": 3}
    rest = {"download": False, "size": SIDE, "smallest": -(-SIDE // 4), "rejects": 0.0, "shards": False, "workers": 1}
    return Data.model_validate({"source": source, "path": str(path), **counts, **rest, **changes})
