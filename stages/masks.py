"""Draw the masks of the test images and of the scenes' validation images."""

from __future__ import annotations

from pathlib import Path

from ecdm.config import load_params
from ecdm.data.files import fresh_folder
from ecdm.data.masks import write_masks
from ecdm.stage import run

DATA, MASKS = Path("data"), Path("build/masks")


def main() -> None:
    """data/ → build/masks/{scenes,photos,validation}/<bucket>/<id>.png."""
    params = load_params()
    buckets = [*params.masks.buckets, *params.masks.sets]
    with fresh_folder(MASKS) as folder:
        for name, dataset, split in (
            ("scenes", "scenes", "test"),
            ("photos", "photos", "test"),
            ("validation", "scenes", "validation"),
        ):
            write_masks(DATA / dataset, split, name, buckets, folder / name, params.seed, params.data.workers)


if __name__ == "__main__":
    run("masks", main)
