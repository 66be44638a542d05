"""Pictures inside the page: every tile on its own, so that captions stay text and a phone can scroll a row."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image

from ecdm.reporting.grids import INPUTS, Grid, Pixels, Sample, masked_input, reduced

# Bytes of all pictures of a page, before base64 adds a third, and WebP qualities to try until they fit.
BUDGET = 3_000_000
QUALITIES = (95, 90, 80, 65, 50, 30, 10)


@dataclass(frozen=True)
class Tile:
    """One picture: what it shows, as data URI, its size in pixels."""

    alt: str
    source: str
    width: int
    height: int


@dataclass(frozen=True)
class TileRow:
    """The pictures of one image, with its caption."""

    caption: str
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Gallery:
    """A grid in the page, as `Grid` with its pictures encoded."""

    name: str
    heading: str
    titles: tuple[str, ...]
    rows: tuple[TileRow, ...]
    note: str


def galleries(grids: Sequence[Grid], budget: int = BUDGET) -> tuple[list[Gallery], int]:
    """All grids that have rows, and the WebP quality, the best at which together they keep to `budget` bytes.

    Raises: ValueError when none does.
    """
    shown = [grid for grid in grids if grid.samples]
    pictures = [picture for grid in shown for sample in grid.samples for picture in _pictures(sample)]
    for quality in QUALITIES:
        encoded = [_webp(picture, quality) for picture in pictures]
        if sum(map(len, encoded)) <= budget:
            waiting = iter(encoded)
            return [_gallery(grid, waiting) for grid in shown], quality
    raise ValueError(f"grids: found {len(pictures)} pictures that take more than {budget} bytes, expected fewer")


def _gallery(grid: Grid, encoded: Iterator[bytes]) -> Gallery:
    titles = (*INPUTS, *grid.samples[0].outputs)
    rows = tuple(_row(sample, titles, encoded) for sample in grid.samples)
    return Gallery(grid.name, grid.heading, titles, rows, grid.note)


def _row(sample: Sample, titles: Sequence[str], encoded: Iterator[bytes]) -> TileRow:
    shown = zip(titles, _pictures(sample), strict=True)
    tiles = (_tile(f"{title}: {sample.caption}", pixels, next(encoded)) for title, pixels in shown)
    return TileRow(sample.caption, tuple(tiles))


def _tile(alt: str, pixels: Pixels, content: bytes) -> Tile:
    source = f"data:image/webp;base64,{base64.b64encode(content).decode()}"
    return Tile(alt, source, pixels.shape[1], pixels.shape[0])


def _pictures(sample: Sample) -> list[Pixels]:
    """Masked input, truth and outputs at their own size, at most that of a grid's tile."""
    masked = masked_input(sample.truth, sample.hole)
    return [reduced(image) for image in (masked, sample.truth, *sample.outputs.values())]


def _webp(image: Pixels, quality: int) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, format="WEBP", quality=quality, method=6)
    return content.getvalue()
