"""Bring the frozen networks to build/foundation: bundled, freshly trained, a folder's, or pretrained ones."""

from __future__ import annotations

from pathlib import Path

from ecdm.config import load_params
from ecdm.models.weights import write_pretrained
from ecdm.stage import run
from ecdm.training.bundle import Bundle, copy_foundation
from ecdm.training.progress import Progress

WORK, TARGET = Path("build/pretrain"), Path("build/foundation")


def main() -> None:
    """foundation.source → build/foundation, checked."""
    params = load_params()
    if params.foundation.source == "pretrained":
        write_pretrained(params.foundation, TARGET)
        return
    if params.foundation.source == "train":
        with Progress() as progress:
            size, workers = params.data.size, params.data.workers
            folder = Bundle(params.pretrain, params.canny, size, workers, WORK, progress.report).train()
    else:
        folder = Path(params.foundation.path)
    copy_foundation(folder, TARGET)


if __name__ == "__main__":
    run("foundation", main)
