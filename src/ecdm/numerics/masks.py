"""Free-form masks, hole-fraction buckets and masked images (eq. 6); 1 or True is hole, else known."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Canvas = NDArray[np.uint8]
Hole = NDArray[np.bool_]


@dataclass(frozen=True)
class StrokeStyle:
    """How free-form strokes are drawn; ranges are inclusive, lengths in pixels at `reference` x `reference`.

    A stroke is a chain of `segments`, as wide as one draw from `width`, each turned by one draw from `angle`
    (radians), mirrored at every other vertex; a whole stroke is reflected at random along both axes.
    `length_law`: uniform over `length`, or normal around its middle with a quarter of its span as deviation,
    clipped to it.
    """

    reference: int
    strokes: tuple[int, int]
    segments: tuple[int, int]
    width: tuple[float, float]
    length: tuple[float, float]
    angle: tuple[float, float]
    length_law: Literal["uniform", "normal"] = "uniform"


_YU_ANGLE, _YU_SPREAD, _YU_LENGTH = 2 * math.pi / 5, 2 * math.pi / 15, 256 * math.sqrt(2) / 8

STYLES: dict[str, StrokeStyle] = {
    # Yu et al. 2019, free-form inpainting: 4-12 vertices are 3-11 segments.
    "yu": StrokeStyle(
        reference=256,
        strokes=(1, 4),
        segments=(3, 11),
        width=(12, 40),
        length=(0, 2 * _YU_LENGTH),
        angle=(_YU_ANGLE - _YU_SPREAD, _YU_ANGLE + _YU_SPREAD),
        length_law="normal",
    ),
    # Suvorov et al. 2022 (LaMa), the irregular part of the three 512 px settings.
    "lama_thin": StrokeStyle(512, (4, 70), (1, 5), (5, 25), (10, 110), (0.01, 4)),
    "lama_medium": StrokeStyle(512, (4, 10), (1, 5), (5, 105), (10, 210), (0.01, 4)),
    "lama_thick": StrokeStyle(512, (1, 5), (1, 5), (5, 255), (10, 460), (0.01, 4)),
}
ALL_STYLES = tuple(STYLES)
SETS: dict[str, tuple[str, ...]] = {"wide": ("lama_thick",), "narrow": ("lama_thin",)}
SET_BOUNDS = (0.1, 0.6)
# A training mask's hole fraction lies this near to its target.
TARGET_TOLERANCE = 0.02
# So many layers of strokes of one style may be put on top of each other before a new start.
LAYERS = 12


def mask_rng(seed: int, *key: str | int) -> np.random.Generator:
    """Return the generator of one mask, keyed by seed and for instance dataset, image id and bucket.

    The key's parts are compared as text (image id 7 is "7"); nothing but them decides the draws, so masks do
    not depend on how many processes draw them, nor in which order.
    """
    text = json.dumps([str(part) for part in (seed, *key)])
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()))


def _draw(canvas: Canvas, rng: np.random.Generator, style: StrokeStyle) -> None:
    """Draw one layer of strokes into the canvas, in place: within this module the canvas is scratch space."""
    scale = math.sqrt(canvas.size) / style.reference
    count = int(rng.integers(*style.strokes, endpoint=True))
    segments = rng.integers(*style.segments, count, endpoint=True).tolist()
    thickness = np.maximum(1, np.rint(scale * rng.uniform(*style.width, count))).astype(int).tolist()
    vertices = _vertices(rng, style, count, scale, canvas.shape)
    for index in range(count):
        cv2.polylines(canvas, [vertices[index, : segments[index] + 1]], False, 1, thickness[index])


def _vertices(
    rng: np.random.Generator, style: StrokeStyle, count: int, scale: float, shape: tuple[int, ...]
) -> NDArray[np.int32]:
    """Vertices (count, most segments + 1, 2) as x and y in pixels, for all strokes of a layer at once."""
    size = (count, style.segments[1])
    low, high = style.length
    if style.length_law == "normal":
        length = np.clip(rng.normal((low + high) / 2, (high - low) / 4, size), low, high)
    else:
        length = rng.uniform(low, high, size)
    angle = rng.uniform(*style.angle, size)
    angle[:, 1::2] *= -1
    steps = scale * length[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    steps *= rng.choice((-1, 1), (count, 1, 2))
    limit = np.array((shape[1] - 1, shape[0] - 1))
    points = np.empty((count, size[1] + 1, 2))
    points[:, 0] = rng.uniform(0, limit, (count, 2))
    # Clipped vertex by vertex: a stroke follows the border instead of leaving the image.
    for index in range(size[1]):
        points[:, index + 1] = np.clip(points[:, index] + steps[:, index], 0, limit)
    return np.rint(points).astype(np.int32)


def draw_bucket(
    rng: np.random.Generator,
    height: int,
    width: int,
    lower: float,
    upper: float,
    *,
    styles: Sequence[str] = ALL_STYLES,
    max_draws: int = 2000,
) -> Hole:
    """Draw a mask, bool (height, width), whose hole fraction lies in [lower, upper].

    One of `styles` is picked at random and drawn layer upon layer until the fraction reaches `lower`; when it
    then exceeds `upper`, everything starts anew. Every style can therefore serve every bucket. ValueError for
    bounds that no number of pixels meets, for an unknown style and when `max_draws` layers do not suffice.
    """
    _check_bounds(height, width, lower, upper)
    chosen = [_style(name) for name in styles]
    canvas = np.zeros((height, width), np.uint8)
    layers = 0
    style = chosen[0]
    for _ in range(max_draws):
        if not layers:
            canvas[:] = 0
            style = chosen[rng.integers(len(chosen))]
        _draw(canvas, rng, style)
        fraction = cv2.countNonZero(canvas) / canvas.size
        if lower <= fraction <= upper and fraction > 0:
            return canvas.astype(bool)
        layers = (layers + 1) % LAYERS if fraction < lower else 0
    raise ValueError(
        f"bucket: no mask of {height}x{width} px with a hole fraction in [{lower:g}, {upper:g}] found "
        f"in {max_draws} draws of {', '.join(styles)}"
    )


def _check_bounds(height: int, width: int, lower: float, upper: float) -> None:
    if not 0 <= lower <= upper <= 1:
        raise ValueError(f"bucket: expected 0 <= lower <= upper <= 1, found [{lower:g}, {upper:g}]")
    pixels = height * width
    if math.floor(upper * pixels) < max(1, math.ceil(lower * pixels)):
        raise ValueError(
            f"bucket: no number of hole pixels of {height}x{width} gives a fraction in [{lower:g}, {upper:g}]"
        )


def _style(name: str) -> StrokeStyle:
    if name not in STYLES:
        raise ValueError(f"style: expected one of {', '.join(STYLES)}, found {name!r}")
    return STYLES[name]


def draw_set(rng: np.random.Generator, height: int, width: int, name: str) -> Hole:
    """Draw a mask of the set `wide` (few thick strokes) or `narrow` (many thin ones), bool (height, width).

    The hole fraction lies in `SET_BOUNDS`. ValueError for another name.
    """
    if name not in SETS:
        raise ValueError(f"mask set: expected one of {', '.join(SETS)}, found {name!r}")
    return draw_bucket(rng, height, width, *SET_BOUNDS, styles=SETS[name])


def draw_training(rng: np.random.Generator, height: int, width: int, lower: float = 0.1, upper: float = 0.6) -> Hole:
    """Draw a training mask, bool (height, width), from the generators of the test masks.

    A target is uniform in [lower, upper]; the hole fraction lies within `TARGET_TOLERANCE` of it and in that
    range.
    """
    target = rng.uniform(lower, upper)
    return draw_bucket(rng, height, width, max(lower, target - TARGET_TOLERANCE), min(upper, target + TARGET_TOLERANCE))


def is_hole(mask: Tensor) -> Tensor:
    """Return a mask of any dtype as bool, hole where its value exceeds 0.5."""
    return mask if mask.dtype == torch.bool else mask > 0.5


def masked_image(image: Tensor, mask: Tensor, fill: float = 0.0) -> Tensor:
    """Replace the hole by `fill`: image * (1 - mask) + fill * mask (eq. 6).

    `image`: (b, c, h, w); `mask`: (b, 1, h, w), bool or 0 and 1. A fill of -1 gives the hint of ControlNet's
    inpainting model. The hole is selected, not multiplied, so that nothing of its pixels remains, not even a
    NaN or a sign.
    """
    return torch.where(is_hole(mask), image.new_tensor(fill), image)


def mean_filled(images: Tensor, masks: Tensor) -> Tensor:
    """Images (b, c, h, w) with the hole in the mean colour of each one's known pixels; 0.5 where nothing is known."""
    hole = is_hole(masks)
    known = (~hole).sum(dim=(-2, -1), keepdim=True)
    total = masked_image(images, masks).sum(dim=(-2, -1), keepdim=True)
    mean = torch.where(known > 0, total / known.clamp(min=1), torch.full_like(total, 0.5))
    return torch.where(hole, mean, images)


def latent_mask(mask: Tensor, factor: int, spared: float = 0.0) -> Tensor:
    """Reduce a mask (b, 1, h, w) to (b, 1, h / factor, w / factor): hole where more than `spared` of a cell is.

    `spared` in [0, 1): with 0 a cell that touches the hole is hole. The result keeps a floating dtype, else it is
    float32. ValueError when `factor` does not divide both sizes.
    """
    height, width = mask.shape[-2:]
    if factor < 1 or height % factor or width % factor:
        raise ValueError(f"mask: expected sizes divisible by {factor}, found {height}x{width}")
    dtype: Any = mask.dtype if mask.is_floating_point() else torch.float32
    return (F.avg_pool2d(is_hole(mask).float(), factor) > spared).to(dtype)
