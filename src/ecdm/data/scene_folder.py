"""The embedded scenes as a COCO-captions folder."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ecdm.data.coco import CaptionedImage, write_json, write_split
from ecdm.data.files import in_processes, png_name, save_png
from ecdm.data.scenes import SPLITS, draw_scene

# Ids of a split start at a multiple of this, so that they differ between splits and no count moves another's.
IDS_PER_SPLIT = 100_000_000


def scene_id(split: str, index: int) -> int:
    """The image id of a scene: 100000000 + index in training, then 200000000 and 300000000."""
    return (1 + SPLITS.index(split)) * IDS_PER_SPLIT + index


def write_scenes(folder: Path, seed: int, size: int, counts: Mapping[str, int], workers: int) -> None:
    """Write `counts[split]` scenes of (size, size, 3) pixels for every split.

    Their bytes do not depend on `workers`. `annotations/scenes_<split>.json` tells what each image shows, as
    its id and `Scene.description()`.
    """
    for split, count in counts.items():
        draw = partial(_write_scene, folder / split, seed, split, size)
        drawn = in_processes(draw, range(count), workers, f"scenes, {split}")
        write_split(folder, split, [image for image, _ in drawn])
        shown = {str(image.id): description for image, description in drawn}
        write_json(folder / "annotations" / f"scenes_{split}.json", shown)


def _write_scene(folder: Path, seed: int, split: str, size: int, index: int) -> tuple[CaptionedImage, dict[str, Any]]:
    scene = draw_scene(seed, split, index, size)
    image_id = scene_id(split, index)
    save_png(folder / png_name(image_id), scene.image)
    return CaptionedImage(image_id, png_name(image_id), scene.captions), scene.description()
