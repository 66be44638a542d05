"""Pictures inside the page: every tile on its own, so that captions stay text and a phone can scroll a row."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image

from ecdm.reporting.grids import Grid, Pixels, Sample, masked_input, reduced

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

    @classmethod
    def of(cls, alt: str, content: bytes, width: int, height: int) -> Tile:
        """From a WebP file's content."""
        return cls(alt, f"data:image/webp;base64,{base64.b64encode(content).decode()}", width, height)


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


@dataclass(frozen=True)
class Sheet:
    """A grid whose pictures are pixels: name, heading, titles of columns, captions with the pictures of a row, note."""

    name: str
    heading: str
    titles: tuple[str, ...]
    rows: Sequence[tuple[str, Sequence[Pixels]]]
    note: str


def galleries(grids: Sequence[Grid], budget: int = BUDGET) -> tuple[list[Gallery], int]:
    """All grids that have rows, as `encoded`; pictures at their own size, at most that of a grid's tile."""
    return encoded([_sheet(grid) for grid in grids], budget)


def encoded(sheets: Sequence[Sheet], budget: int) -> tuple[list[Gallery], int]:
    """All sheets that have rows, and the WebP quality, the best at which together they keep to `budget` bytes.

    Raises: ValueError when none does.
    """
    shown = [sheet for sheet in sheets if sheet.rows]
    pictures = [Image.fromarray(picture) for sheet in shown for _, row in sheet.rows for picture in row]
    for quality in QUALITIES:
        contents = [webp(picture, quality) for picture in pictures]
        if sum(map(len, contents)) <= budget:
            waiting = iter(contents)
            return [_gallery(sheet, waiting) for sheet in shown], quality
    raise ValueError(f"grids: found {len(pictures)} pictures that take more than {budget} bytes, expected fewer")


def _sheet(grid: Grid) -> Sheet:
    rows = [(sample.caption, _pictures(sample)) for sample in grid.samples]
    return Sheet(grid.name, grid.heading, grid.titles, rows, grid.note)


def _gallery(sheet: Sheet, contents: Iterator[bytes]) -> Gallery:
    rows = []
    for caption, pictures in sheet.rows:
        shown = zip(sheet.titles, pictures, strict=True)
        tiles = [Tile.of(f"{title}: {caption}", next(contents), *pixels.shape[1::-1]) for title, pixels in shown]
        rows.append(TileRow(caption, tuple(tiles)))
    return Gallery(sheet.name, sheet.heading, sheet.titles, tuple(rows), sheet.note)


def _pictures(sample: Sample) -> list[Pixels]:
    """Masked input, truth and outputs at their own size, at most that of a grid's tile."""
    masked = masked_input(sample.truth, sample.hole)
    return [reduced(image) for image in (masked, sample.truth, *sample.outputs.values())]


def webp(image: Image.Image, quality: int) -> bytes:
    """A picture as WebP; quality 0 to 100."""
    content = io.BytesIO()
    image.save(content, format="WEBP", quality=quality, method=6)
    return content.getvalue()
