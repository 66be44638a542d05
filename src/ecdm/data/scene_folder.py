"""The embedded scenes as a COCO-captions folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ecdm.data.coco import CaptionedImage, write_json, write_split
from ecdm.data.engine import Engine
from ecdm.data.files import png_bytes, png_name
from ecdm.data.scenes import SPLITS, Scene, draw_scene
from ecdm.data.shards import PER_SHARD, image_sink
from ecdm.data.shifted import shifted

# Ids of a split start at a multiple of this, so that they differ between splits and no count moves another's.
IDS_PER_SPLIT = 100_000_000
PER_JOB = 32

Drawn = tuple[CaptionedImage, dict[str, Any]]
# From the place of a scene among those of its split, its image id and the scene.
Draw = Callable[[int], tuple[int, Scene]]


def scene_id(split: str, index: int) -> int:
    """The image id of a scene: 100000000 + index in training, then 200000000 and 300000000."""
    return (1 + SPLITS.index(split)) * IDS_PER_SPLIT + index


def shifted_id(index: int) -> int:
    """The image id of a shifted scene: 400000000 + index, which no embedded one has."""
    return (1 + len(SPLITS)) * IDS_PER_SPLIT + index


def write_scenes(
    folder: Path, seed: int, size: int, counts: Mapping[str, int], engine: Engine, shards: bool = False
) -> None:
    """Write `counts[split]` scenes of (size, size, 3) pixels for every split; `shards` puts those of train into shards.

    Their bytes do not depend on the engine. `annotations/scenes_<split>.json` tells what each image shows, as
    its id and `Scene.description()`.
    """
    for split, count in counts.items():
        draw = partial(_embedded, seed, split, size)
        write_drawn(folder, split, count, draw, engine, shards and split == "train")


def write_shifted(folder: Path, seed: int, size: int, count: int, engine: Engine) -> None:
    """Write so many scenes of the shifted distribution as split `test`; all else as `write_scenes`."""
    write_drawn(folder, "test", count, partial(_shifted, seed, size), engine)


def write_drawn(folder: Path, split: str, count: int, draw: Draw, engine: Engine, sharded: bool = False) -> None:
    """Write the split's first `count` scenes, images, captions and descriptions, by a function that has a name."""
    step = PER_SHARD if sharded else PER_JOB
    jobs = [(part, range(start, min(start + step, count))) for part, start in enumerate(range(0, count, step))]
    work = partial(_write_part, folder, split, draw, sharded)
    drawn = [one for part in engine.map(work, jobs, f"scenes, {split}", step) for one in part]
    write_split(folder, split, [image for image, _ in drawn])
    shown = {str(image.id): description for image, description in drawn}
    write_json(folder / "annotations" / f"scenes_{split}.json", shown)


def _embedded(seed: int, split: str, size: int, index: int) -> tuple[int, Scene]:
    return scene_id(split, index), draw_scene(seed, split, index, size)


def _shifted(seed: int, size: int, index: int) -> tuple[int, Scene]:
    return shifted_id(index), draw_scene(seed, "test", index, size, distribution=shifted())


def _write_part(folder: Path, split: str, draw: Draw, sharded: bool, job: tuple[int, range]) -> list[Drawn]:
    part, indices = job
    drawn = []
    with image_sink(folder, split, part, sharded) as add:
        for index in indices:
            image_id, scene = draw(index)
            add(png_name(image_id), png_bytes(scene.image))
            image = CaptionedImage(image_id, png_name(image_id), scene.captions)
            drawn.append((image, scene.description()))
    return drawn
