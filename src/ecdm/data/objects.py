"""Held-out scenes of one item, and holes that hide the whole item: what is there again, the caption alone decides."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecdm.data.coco import image_size, read_json, read_split
from ecdm.data.engine import Engine
from ecdm.data.files import png_name, save_png
from ecdm.data.scene_folder import scene_id, write_drawn
from ecdm.data.scenes import Scene, draw_scene

# From indices of the test split that the test images do not reach.
FIRST = 1_000_000
MARGIN = 1 / 16


def object_scene(seed: int, index: int, size: int) -> Scene:
    """The held-out scene of one item with this index, from 0 on, (size, size, 3) pixels."""
    return draw_scene(seed, "test", FIRST + index, size, items=1)


def object_hole(centre: tuple[float, float], radius: float, size: int) -> NDArray[np.bool_]:
    """A square hole (size, size) around an item, with a margin of a sixteenth of the side; arguments as of `Item`."""
    axis = (np.arange(size) + 0.5) / size
    columns, rows = (np.abs(axis - middle) <= radius + MARGIN for middle in centre)
    return np.outer(rows, columns)


def write_objects(folder: Path, seed: int, size: int, count: int, engine: Engine) -> None:
    """Write so many of these scenes as split `test`, with ids that the test images do not have; as `write_scenes`."""
    write_drawn(folder, "test", count, partial(_numbered, seed, size), engine)


def write_object_masks(dataset: Path, folder: Path) -> None:
    """Write `folder/<id>.png`, 255 = hole and 0 = known, for all images that `write_objects` wrote to `dataset`.

    Raises: as `read_split` and `read_json`; ValueError naming the file of an image that cannot be read.
    """
    shown = read_json(dataset / "annotations" / "scenes_test.json")
    for image in read_split(dataset, "test"):
        (item,) = shown[str(image.id)]["items"]
        width, _ = image_size(dataset / "test" / image.file_name)
        hole = object_hole(tuple(item["centre"]), item["radius"], width)
        save_png(folder / png_name(image.id), hole.astype(np.uint8) * np.uint8(255))


def _numbered(seed: int, size: int, index: int) -> tuple[int, Scene]:
    return scene_id("test", FIRST + index), object_scene(seed, index, size)
