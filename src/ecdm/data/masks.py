"""Masks for the images of a split, one file per image and bucket."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from ecdm.data.coco import CaptionedImage, image_size, read_split
from ecdm.data.engine import Engine
from ecdm.data.files import png_name, save_png
from ecdm.numerics.buckets import bucket_bounds
from ecdm.numerics.masks import SETS, draw_bucket, draw_set, mask_rng


def write_masks(
    dataset: Path, split: str, name: str, buckets: list[str], folder: Path, seed: int, engine: Engine
) -> None:
    """Write `folder/<bucket>/<id>.png`, 255 = hole and 0 = known, as large as the image, for all `buckets`.

    `buckets`: hole shares such as `10-20` and the sets `wide` and `narrow`. A mask depends on (seed, `name`,
    image id, bucket) and its size alone. The images stand in loose files.
    Raises: as `read_split`; ValueError that names `masks.buckets` or `masks.sets` and the bucket when no mask
    fills it.
    """
    images = read_split(dataset, split)
    jobs = [(image, bucket) for bucket in buckets for image in images]
    write = partial(_write_mask, dataset / split, folder, seed, name)
    engine.map(write, jobs, f"masks, {name}")


def _write_mask(source: Path, folder: Path, seed: int, name: str, job: tuple[CaptionedImage, str]) -> None:
    image, bucket = job
    width, height = image_size(source / image.file_name)
    rng = mask_rng(seed, name, image.id, bucket)
    try:
        if bucket in SETS:
            hole = draw_set(rng, height, width, bucket)
        else:
            hole = draw_bucket(rng, height, width, *bucket_bounds(bucket))
    except ValueError as error:
        key = "masks.sets" if bucket in SETS else "masks.buckets"
        raise ValueError(f"{key}: {bucket!r} cannot be filled: {error}") from error
    save_png(folder / bucket / png_name(image.id), hole.astype(np.uint8) * np.uint8(255))
