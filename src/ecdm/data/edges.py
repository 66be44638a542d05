"""Edge maps of the images of a split, one file per image."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ecdm.data.coco import CaptionedImage, load_image, read_split
from ecdm.data.files import in_processes, png_name, save_png
from ecdm.numerics.canny import canny


def write_edges(dataset: Path, split: str, folder: Path, low: float, high: float, workers: int) -> None:
    """Write the edges of each image of a split, `folder/<split>/<id>.png`, 255 = edge."""
    write = partial(_write_edges, dataset / split, folder / split, low, high)
    in_processes(write, read_split(dataset, split), workers, f"edges, {split}")


def _write_edges(source: Path, folder: Path, low: float, high: float, image: CaptionedImage) -> None:
    save_png(folder / png_name(image.id), canny(load_image(source / image.file_name), low, high))
