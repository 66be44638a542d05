"""Bring the images with masks and prompts made by hand into the pipeline's form."""

from __future__ import annotations

from pathlib import Path

from ecdm.config import load_params
from ecdm.data.custom import write_custom
from ecdm.data.files import fresh_folder
from ecdm.stage import run

TARGET = Path("data/custom")


def main() -> None:
    """compare.custom → data/custom, images with their masks."""
    params = load_params()
    with fresh_folder(TARGET) as folder:
        write_custom(folder, Path(params.compare.custom), params.data.size)


if __name__ == "__main__":
    run("custom", main)
