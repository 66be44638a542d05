"""Where the project lies."""

from __future__ import annotations

from pathlib import Path

PARAMS, PROFILES = "params.yaml", "profiles"


def find_root() -> Path:
    """The project: the nearest folder with a params.yaml, from the working directory upwards."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / PARAMS).is_file():
            return folder
    raise FileNotFoundError(f"{PARAMS}: found neither in {here} nor above it; run `ecdm` inside the project")
