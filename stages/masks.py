"""Draw the masks of the test images and of the source's validation images."""

from __future__ import annotations

from pathlib import Path

from ecdm.config import load_params
from ecdm.data.engine import Engine
from ecdm.data.files import fresh_folder
from ecdm.data.masks import write_masks
from ecdm.stage import run

DATA, MASKS = Path("data"), Path("build/masks")


def main() -> None:
    """data/ → build/masks/{<source>,photos,validation}/<bucket>/<id>.png."""
    params = load_params()
    engine, source = Engine(params.prepare.engine, params.data.workers), params.data.source
    buckets = [*params.masks.buckets, *params.masks.sets]
    with fresh_folder(MASKS) as folder:
        for name, dataset, split in (
            (source, source, "test"),
            ("photos", "photos", "test"),
            ("validation", source, "validation"),
        ):
            write_masks(DATA / dataset, split, name, buckets, folder / name, params.seed, engine)


if __name__ == "__main__":
    run("masks", main)
