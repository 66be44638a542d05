"""Figures 4 to 6 as pictures: masked input, ground truth and outputs side by side, every pixel as it is."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from ecdm.data.coco import CaptionedImage, load_image, load_like, read_split
from ecdm.data.files import png_name
from ecdm.drawing import drawing, save
from ecdm.reporting.labels import bucket_heading, bucket_title, data_heading, model_title
from ecdm.reporting.scores import PHOTOS, Scores

Pixels = NDArray[np.uint8]

ROWS = 6
# Pixels: side of a tile, gaps, heights of text lines. Dots per inch turn the type size into pixels.
TILE = 256
GAP, MARGIN = 8, 16
HEAD, LINE = 40, 30
DPI = 100
HEAD_SIZE, CAPTION_SIZE = 17.0, 16.0
# Mean advance of the sans face's characters, in ems.
ADVANCE = 0.56
# Columns before those of the outputs.
INPUTS = ("Masked input", "Ground truth")
HOLE, HATCH, EDGE = (222, 222, 222), (190, 190, 190), (60, 60, 60)


@dataclass(frozen=True)
class Sample:
    """One row: caption, truth (h, w, 3), hole (h, w) with True = hole, outputs by column title."""

    caption: str
    truth: Pixels
    hole: NDArray[np.bool_]
    outputs: Mapping[str, Pixels]


@dataclass(frozen=True)
class Grid:
    """A whole picture: its file's name without suffix, heading, rows, footnote, titles of columns before outputs."""

    name: str
    heading: str
    samples: Sequence[Sample]
    note: str
    inputs: tuple[str, str] = INPUTS

    @property
    def titles(self) -> tuple[str, ...]:
        """Titles of all columns."""
        return (*self.inputs, *(self.samples[0].outputs if self.samples else ()))


@dataclass(frozen=True)
class Folders:
    """Where a row's files lie: a COCO-captions folder with its split, masks, outputs by column title."""

    dataset: Path
    split: str
    masks: Path
    outputs: Mapping[str, Path]

    @classmethod
    def of(cls, data: Path, build: Path, dataset: str, bucket: str, variants: Sequence[str], seed: int) -> Folders:
        """The pipeline's folders of one dataset and bucket: test split, pasted outputs of one seed."""
        runs = {name: build / "generate" / f"{name}-{seed}" for name in variants}
        outputs = {model_title(name): run / dataset / bucket / "pasted" for name, run in runs.items()}
        return cls.tested(data, build, dataset, bucket, outputs)

    @classmethod
    def tested(cls, data: Path, build: Path, dataset: str, bucket: str, outputs: Mapping[str, Path]) -> Folders:
        """The test split under one bucket of masks: those that came with the images, else the pipeline's."""
        own = data / dataset / "masks"
        return cls(data / dataset, "test", (own if own.is_dir() else build / "masks" / dataset) / bucket, outputs)


def read_samples(folders: Folders, count: int) -> list[Sample]:
    """Read the first `count` images of the split, by ascending number, with masks and outputs.

    Raises: as `read_split`; ValueError naming a picture that is missing, unreadable or of another size.
    """
    return [_sample(folders, image) for image in read_split(folders.dataset, folders.split)[:count]]


def read_grids(data: Path, build: Path, scores: Scores, seed: int, photos_bucket: str) -> list[Grid]:
    """One grid per bucket of the data set, then the photographs'; without rows where nothing was scored.

    Raises: as `read_samples`.
    """
    cells = {f"ablation_{bucket}": (scores.dataset, bucket) for bucket in scores.buckets_of(scores.dataset)}
    cells["photos"] = PHOTOS, photos_bucket
    return [_grid(name, data, build, cell, scores, seed) for name, cell in cells.items()]


def draw_grid(grid: Grid, path: Path) -> None:
    """Draw one row per sample with its caption below; the note stands under the last row, the heading is left out.

    Images are enlarged by whole factors, pixel by pixel, to at most 256 px; larger ones are reduced.
    Without samples the picture says so.
    """
    samples, titles = grid.samples, grid.titles
    layout = _layout(len(titles), [sample.caption for sample in samples])
    footer = _wrap(grid.note if samples else "No images in this set.", layout.width - 2 * MARGIN)
    height = layout.tops[-1] + LINE * len(footer) + MARGIN
    canvas = np.full((height, layout.width, 3), 255, dtype=np.uint8)
    texts = [(left + TILE / 2, MARGIN, title, "head") for left, title in zip(layout.lefts, titles, strict=True)]
    for sample, lines, top in zip(samples, layout.captions, layout.tops, strict=False):
        for left, tile in zip(layout.lefts, _tiles(sample), strict=True):
            canvas[top : top + TILE, left : left + TILE] = tile
        texts += [(MARGIN, top + TILE + 4 + LINE * i, line, "caption") for i, line in enumerate(lines)]
    texts += [(MARGIN, layout.tops[-1] + LINE * i, line, "note") for i, line in enumerate(footer)]
    _write(canvas, texts, path)


def cut_grid(path: Path, columns: int, captions: Sequence[str], side: int) -> list[list[Pixels]]:
    """The tiles of a picture that `draw_grid` drew of images (side, side, 3), row by row.

    Images come at their own size, pixel by pixel, or at that of a tile where they are larger.
    Raises: ValueError naming a picture that is unreadable or has not so many columns and rows.
    """
    picture, layout = load_image(path), _layout(columns, captions)
    if picture.shape[1] != layout.width or picture.shape[0] < layout.tops[-1]:
        found, expected = (
            f"{picture.shape[1]}x{picture.shape[0]} px",
            f"{layout.width} px and {layout.tops[-1]} or more",
        )
        raise ValueError(f"{path}: found {found}, expected {expected} for {columns} columns and these captions")
    factor = max(TILE // side, 1)
    margin = (TILE - min(side * factor, TILE)) // 2
    inside = [slice(start + margin, start + TILE - margin, factor) for start in layout.lefts]
    rows = [slice(top + margin, top + TILE - margin, factor) for top in layout.tops[:-1]]
    return [[picture[row, column] for column in inside] for row in rows]


@dataclass(frozen=True)
class _Layout:
    """Where a picture's parts stand, in pixels: left edges of columns, upper edges of rows and of the footer."""

    width: int
    lefts: Sequence[int]
    captions: Sequence[Sequence[str]]
    tops: Sequence[int]


def _layout(columns: int, captions: Sequence[str]) -> _Layout:
    lefts = [MARGIN + i * (TILE + GAP) for i in range(columns)]
    width = lefts[-1] + TILE + MARGIN
    lines = [_wrap(caption, width - 2 * MARGIN) for caption in captions]
    heights = [TILE + 4 + LINE * len(one) + 2 * GAP for one in lines]
    return _Layout(width, lefts, lines, list(accumulate(heights, initial=MARGIN + HEAD)))


def _grid(name: str, data: Path, build: Path, cell: tuple[str, str], scores: Scores, seed: int) -> Grid:
    folders = Folders.of(data, build, *cell, scores.variants, seed)
    heading = f"{data_heading(cell[0])}, {bucket_heading(cell[1]).lower()}"
    note = f"Hole: {bucket_title(cell[1])}. Outputs pasted, seed {seed}."
    return Grid(name, heading, read_samples(folders, ROWS) if cell in scores.images else [], note)


def _write(canvas: Pixels, texts: Sequence[tuple[float, float, str, str]], path: Path) -> None:
    """Canvas with texts at pixel positions of their upper edge."""
    height, width = canvas.shape[:2]
    looks: dict[str, dict[str, Any]] = {
        "head": {"ha": "center", "size": HEAD_SIZE, "weight": "bold", "color": "#111111"},
        "caption": {"ha": "left", "size": CAPTION_SIZE, "color": "#333333"},
        "note": {"ha": "left", "size": CAPTION_SIZE, "color": "#666666", "style": "italic"},
    }
    with drawing():
        figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
        figure.figimage(canvas, 0, 0)
        for x, y, text, look in texts:
            # Captions are plain text: a dollar sign must not start a formula.
            figure.text(x / width, 1 - y / height, text, va="top", parse_math=False, **looks[look])
        save(figure, path)


def _tiles(sample: Sample) -> list[Pixels]:
    """The row's pictures at tile size: masked input, truth, outputs."""
    # Known pixels are white here, and so is the margin of an image that does not fill its tile.
    hole = _fit(np.where(sample.hole, 0, 255).astype(np.uint8))[..., 0] < 128
    truth = _fit(sample.truth)
    return [masked_input(truth, hole), truth, *(_fit(image) for image in sample.outputs.values())]


def masked_input(truth: Pixels, hole: NDArray[np.bool_]) -> Pixels:
    """The image (h, w, 3) with its hole (h, w) hatched and outlined."""
    masked = truth.copy()
    y, x = np.indices(hole.shape)
    masked[hole] = HOLE
    masked[hole & ((x + y) % 16 < 3)] = HATCH
    masked[hole & _beside(~hole)] = EDGE
    return masked


def _beside(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels at most two steps from `region`, corners included."""
    padded = np.pad(region, 2)
    height, width = region.shape
    shifts = [padded[i : i + height, j : j + width] for i in range(5) for j in range(5)]
    return np.asarray(np.logical_or.reduce(shifts))


def _fit(image: Pixels) -> Pixels:
    """The image centred on a white tile (TILE, TILE, 3): enlarged by a whole factor or reduced to fit."""
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    factor = TILE // max(image.shape[:2])
    image = image.repeat(factor, axis=0).repeat(factor, axis=1) if factor else reduced(image)
    tile = np.full((TILE, TILE, 3), 255, dtype=np.uint8)
    top, left = (TILE - image.shape[0]) // 2, (TILE - image.shape[1]) // 2
    tile[top : top + image.shape[0], left : left + image.shape[1]] = image
    return tile


def reduced(image: Pixels) -> Pixels:
    """The image with at most `TILE` pixels a side; a smaller one as it is."""
    scale = TILE / max(image.shape[:2])
    if scale >= 1:
        return image
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))


def _wrap(text: str, width: int) -> list[str]:
    """Lines of at most about `width` pixels."""
    return textwrap.wrap(text, max(20, int(width / (ADVANCE * CAPTION_SIZE * DPI / 72))))


def _sample(folders: Folders, image: CaptionedImage) -> Sample:
    name = png_name(image.id)
    truth = load_image(folders.dataset / folders.split / image.file_name)
    hole = load_like(folders.masks / name, truth)[..., 0] >= 128
    outputs = {title: load_like(folder / name, truth) for title, folder in folders.outputs.items()}
    return Sample(image.captions[0], truth, hole, outputs)
