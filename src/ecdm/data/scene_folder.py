"""The embedded scenes as a COCO-captions folder."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ecdm.data.coco import CaptionedImage, write_json, write_split
from ecdm.data.engine import Engine
from ecdm.data.files import png_bytes, png_name
from ecdm.data.scenes import SPLITS, draw_scene
from ecdm.data.shards import PER_SHARD, image_sink

# Ids of a split start at a multiple of this, so that they differ between splits and no count moves another's.
IDS_PER_SPLIT = 100_000_000
PER_JOB = 32

Drawn = tuple[CaptionedImage, dict[str, Any]]


def scene_id(split: str, index: int) -> int:
    """The image id of a scene: 100000000 + index in training, then 200000000 and 300000000."""
    return (1 + SPLITS.index(split)) * IDS_PER_SPLIT + index


def write_scenes(
    folder: Path, seed: int, size: int, counts: Mapping[str, int], engine: Engine, shards: bool = False
) -> None:
    """Write `counts[split]` scenes of (size, size, 3) pixels for every split; `shards` puts those of train into shards.

    Their bytes do not depend on the engine. `annotations/scenes_<split>.json` tells what each image shows, as
    its id and `Scene.description()`.
    """
    for split, count in counts.items():
        sharded = shards and split == "train"
        step = PER_SHARD if sharded else PER_JOB
        jobs = [(part, range(start, min(start + step, count))) for part, start in enumerate(range(0, count, step))]
        work = partial(_write_part, folder, seed, split, size, sharded)
        drawn = [one for part in engine.map(work, jobs, f"scenes, {split}", step) for one in part]
        write_split(folder, split, [image for image, _ in drawn])
        shown = {str(image.id): description for image, description in drawn}
        write_json(folder / "annotations" / f"scenes_{split}.json", shown)


def _write_part(
    folder: Path, seed: int, split: str, size: int, sharded: bool, job: tuple[int, range]
) -> list[Drawn]:  # fmt: skip
    part, indices = job
    drawn = []
    with image_sink(folder, split, part, sharded) as add:
        for index in indices:
            scene, image_id = draw_scene(seed, split, index, size), scene_id(split, index)
            add(png_name(image_id), png_bytes(scene.image))
            image = CaptionedImage(image_id, png_name(image_id), scene.captions)
            drawn.append((image, scene.description()))
    return drawn
