"""Settings of sources that are read, for tests: small images, everything that a source has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from coco_case import SIDE

from ecdm.sections.data import Data


def settings(source: str, path: Path | None, **changes: Any) -> Data:
    """The section `data` for images of a source at `path`, with other values on top."""
    counts = {"train": None, "validation": 4, "test": 3}
    second = {"source": "shifted", "path": None, "download": False, "test": 3}
    rest = {"download": False, "size": SIDE, "smallest": -(-SIDE // 4), "rejects": 0.0, "shards": False, "workers": 1}
    place = {"source": source, "path": None if path is None else str(path), "second": second}
    return Data.model_validate({**place, **counts, **rest, **changes})
