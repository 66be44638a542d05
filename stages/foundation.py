"""Bring the frozen networks to build/foundation: the bundled ones, freshly trained ones, or a folder's."""

from __future__ import annotations

from pathlib import Path

from ecdm.config import load_params
from ecdm.stage import run
from ecdm.training.bundle import Bundle, copy_foundation
from ecdm.training.progress import Progress

WORK, TARGET = Path("build/pretrain"), Path("build/foundation")


def main() -> None:
    """foundation.source → build/foundation, checked by loading it."""
    params = load_params()
    if params.foundation.source == "train":
        with Progress() as progress:
            settings, data = params.pretrain, params.data
            folder = Bundle(settings, params.canny, data.size, data.workers, WORK, progress.report).train()
    else:
        folder = Path(params.foundation.path)
    copy_foundation(folder, TARGET)


if __name__ == "__main__":
    run("foundation", main)
