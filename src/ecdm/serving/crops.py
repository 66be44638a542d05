"""Square crops of a picture that cover its holes, with context around them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

# Side of a crop over the longer side of the hole in it: a sixth of context at either side.
CONTEXT = 1.5

Boxes = NDArray[np.int64]  # (n, 4): top, left, bottom, right; the latter two lie outside


@dataclass(frozen=True, eq=False)
class Crop:
    """A square of `side` pixels, of which `rows` and `columns` lie in the picture and `padding` beyond it.

    `hole`: bool, the part of rows and columns that this crop fills.
    """

    side: int
    rows: slice
    columns: slice
    padding: tuple[tuple[int, int], tuple[int, int]]
    hole: NDArray[np.bool_]


def plan(hole: NDArray[np.bool_], size: int) -> list[Crop]:
    """Crops that together fill every pixel of the hole once, for a model of images of side `size`.

    One crop where all of the hole fits into `size` with context. Else one for each connected part, the largest part
    first; a part that lies within an earlier crop is filled there. A hole wider than the model's images gets a crop
    as much wider.
    """
    rows, columns = np.any(hole, axis=1).nonzero()[0], np.any(hole, axis=0).nonzero()[0]
    whole = np.array([[rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]])
    if CONTEXT * _extents(whole)[0] <= size or max(hole.shape) <= size:
        return [_crop(whole[0], size, hole)]
    count, labels, stats, _ = cv2.connectedComponentsWithStats(hole.astype(np.uint8), connectivity=8)
    left, top, width, height = stats[1:, :4].T.astype(np.int64)
    boxes = np.stack([top, left, top + height, left + width], axis=1)
    crops, open_parts = [], np.ones(count - 1, bool)
    for part in np.argsort(-_extents(boxes), kind="stable"):
        if not open_parts[part]:
            continue
        crop = _crop(boxes[part], size, hole)
        taken = open_parts & _within(boxes, crop)
        open_parts &= ~taken
        chosen = np.concatenate([[False], taken])[labels[crop.rows, crop.columns]]
        crops.append(Crop(crop.side, crop.rows, crop.columns, crop.padding, chosen))
    return crops


def _extents(boxes: Boxes) -> NDArray[np.int64]:
    return np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])


def _within(boxes: Boxes, crop: Crop) -> NDArray[np.bool_]:
    rows, columns = crop.rows, crop.columns
    upper = (boxes[:, 0] >= rows.start) & (boxes[:, 1] >= columns.start)
    return upper & (boxes[:, 2] <= rows.stop) & (boxes[:, 3] <= columns.stop)


def _crop(box: NDArray[np.int64], size: int, hole: NDArray[np.bool_]) -> Crop:
    """The square around a box: as large as the model's images or its context asks, at most as the picture."""
    extent = int(_extents(box[None])[0])
    side = min(max(size, int(np.ceil(CONTEXT * extent))), max(hole.shape))
    spans, padding = zip(*(_span(box[a], box[a + 2], side, hole.shape[a]) for a in (0, 1)), strict=True)
    rows, columns = spans
    return Crop(side, rows, columns, padding, hole[rows, columns])


def _span(start: int, stop: int, side: int, length: int) -> tuple[slice, tuple[int, int]]:
    """`side` pixels around start to stop: moved into the picture, or with the picture in their middle."""
    if side >= length:
        before = (side - length) // 2
        return slice(0, length), (before, side - length - before)
    first = int(np.clip((start + stop - side) // 2, 0, length - side))
    return slice(first, first + side), (0, 0)
