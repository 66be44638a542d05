"""Edge maps of the images of a split, stored as the images are: one file per image, or shards of the same parts."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from pathlib import Path

from ecdm.data.coco import CaptionedImage, load_image, read_split
from ecdm.data.engine import Engine
from ecdm.data.files import png_bytes, png_name, save_png
from ecdm.data.shards import PER_SHARD, SplitFiles, image_sink, shard_files
from ecdm.numerics.canny import canny


def write_edges(dataset: Path, split: str, folder: Path, low: float, high: float, engine: Engine) -> None:
    """Write the edges of each image of a split, 255 = edge.

    `folder/<split>/<id>.png` for an image in a loose file; for one in `<split>-<part>.tar`, member `<id>.png` of
    `folder/<split>-<part>.tar`.
    """
    files = SplitFiles(dataset, split)
    images = read_split(dataset, split, files)
    if not files.sharded:
        engine.map(partial(_write_edges, dataset / split, folder / split, low, high), images, f"edges, {split}")
        return
    ids: dict[int, dict[str, int]] = defaultdict(dict)
    for image in images:
        ids[files.members[image.file_name].part][image.file_name] = image.id
    jobs = [(part, files.shards[part], ids[part]) for part in sorted(ids)]
    engine.map(partial(_write_shard, split, folder, low, high), jobs, f"edges, {split}", PER_SHARD)


def _write_edges(source: Path, folder: Path, low: float, high: float, image: CaptionedImage) -> None:
    save_png(folder / png_name(image.id), canny(load_image(source / image.file_name), low, high))


def _write_shard(split: str, folder: Path, low: float, high: float, job: tuple[int, Path, dict[str, int]]) -> None:
    part, path, ids = job
    with image_sink(folder, split, part, shards=True) as add:
        for name, data in shard_files(path):
            if name in ids:
                add(png_name(ids[name]), png_bytes(canny(load_image(path / name, data), low, high)))
