"""One picture of any size: crops around its holes go through the model, its known pixels stay as they are."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ecdm.data.coco import UNREADABLE, beyond_eight_bits
from ecdm.serving.crops import Crop, plan

# Pixels of a file that are still unpacked; Pillow itself only warns a little above.
LIMIT = 80_000_000

# (RGB (s, s, 3), hole (s, s), generator) → RGB (s, s, 3); s is the side of the model's images.
Fill = Callable[[NDArray[np.uint8], NDArray[np.bool_], torch.Generator], NDArray[np.uint8]]
Progress = Callable[[int, int], None]
Source = Path | IO[bytes]


@dataclass(frozen=True, eq=False)
class Picture:
    """`pixels`: RGB, uint8 (h, w, 3). `alpha`: uint8 (h, w), or None. `profile`: the colours' ICC profile, or None."""

    pixels: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None = None
    profile: bytes | None = None

    @property
    def size(self) -> str:
        """Width x height."""
        return f"{self.pixels.shape[1]}x{self.pixels.shape[0]}"


def load_picture(source: Source, name: str | None = None) -> Picture:
    """Read an image file upright; gray, palette and CMYK become RGB, transparency is kept.

    `name`: what messages call it (default: its path).
    Raises: FileNotFoundError; ValueError naming a file that is no image, too large, or of more than 8 bits.
    """
    image = _open(source, name or str(source))
    profile = image.info.get("icc_profile") if image.mode in ("RGB", "RGBA") else None
    if not image.has_transparency_data:
        return Picture(np.array(image.convert("RGB")), profile=profile)
    pixels = np.array(image.convert("RGBA"))
    return Picture(np.ascontiguousarray(pixels[..., :3]), pixels[..., 3].copy(), profile)


def load_hole(source: Source, picture: Picture, name: str | None = None) -> NDArray[np.bool_]:
    """Read a mask file upright, bool (h, w): hole where its gray value is 128 or more.

    `name` as in `load_picture`.
    Raises: as `load_picture`; ValueError naming the file and both sizes where it differs from the picture's.
    """
    name = name or str(source)
    hole = np.array(_open(source, name).convert("L")) >= 128
    if hole.shape != picture.pixels.shape[:2]:
        height, width = hole.shape
        raise ValueError(f"{name}: found a mask of {width}x{height} px, expected {picture.size} px as the picture has")
    return hole


def _open(source: Source, name: str) -> Image.Image:
    if isinstance(source, Path) and source.is_dir():
        raise ValueError(f"{name}: found a folder, expected an image file")
    try:
        with Image.open(source) as image:
            (width, height), deep = image.size, beyond_eight_bits(image)
            if width * height <= LIMIT and not deep:
                return ImageOps.exif_transpose(image)
    except FileNotFoundError:
        raise
    except UNREADABLE as error:
        # Of a stream Pillow tells only where it lies in memory.
        what = (
            f"a file that cannot be read: {error}" if isinstance(source, Path) else "bytes that cannot be read as one"
        )
        raise ValueError(f"{name}: expected an image, found {what}") from error
    if deep:
        raise ValueError(f"{name}: found pixels of mode {deep}, expected 8 bits per channel")
    raise ValueError(f"{name}: found {width}x{height} px, expected at most {LIMIT:,} pixels")


def inpaint_picture(pipeline: Any, picture: Picture, hole: NDArray[np.bool_], prompt: str, seed: int,
                    steps: int | None = None, guidance: float | None = None,
                    after_crop: Progress | None = None) -> Picture:  # fmt: skip
    """`fill_picture` by an `InpaintPipeline`; `steps` and `guidance` are the pipeline's own where not given."""

    def fill(pixels: NDArray[np.uint8], mask: NDArray[np.bool_], generator: torch.Generator) -> NDArray[np.uint8]:
        settings = {"num_inference_steps": steps, "guidance_scale": guidance, "generator": generator}
        return np.asarray(pipeline(prompt, pixels, mask, **settings).images[0])

    return fill_picture(fill, pipeline.size, picture, hole, seed, after_crop)


def fill_picture(fill: Fill, size: int, picture: Picture, hole: NDArray[np.bool_], seed: int,
                 after_crop: Progress | None = None) -> Picture:  # fmt: skip
    """Fill the hole of a picture, crop by crop, at the picture's own resolution.

    Hole pixels are never read and come out opaque; all others keep their bits. With no hole the picture itself comes
    back. One generator of `seed` serves all crops in turn. `after_crop(done, all)` is told of the progress.
    Raises: ValueError when the hole is of another size.
    """
    if hole.shape != picture.pixels.shape[:2]:
        raise ValueError(f"mask: found {hole.shape[1]}x{hole.shape[0]} px, expected {picture.size} px")
    if not hole.any():
        return picture
    alpha = None if picture.alpha is None else picture.alpha.copy()
    done, rest = replace(picture, pixels=picture.pixels.copy(), alpha=alpha), hole.copy()
    generator = torch.Generator().manual_seed(seed)
    crops = plan(hole, size)
    for number, crop in enumerate(crops, start=1):
        at = crop.rows, crop.columns
        found = _fill_crop(fill, size, _opaque(done, crop), rest[at], crop, generator)
        done.pixels[at][crop.hole] = found[crop.hole]
        rest[at][crop.hole] = False
        if done.alpha is not None:
            done.alpha[at][crop.hole] = 255
        if after_crop:
            after_crop(number, len(crops))
    return done


def _opaque(picture: Picture, crop: Crop) -> NDArray[np.uint8]:
    """What the model sees: transparent pixels on white, whatever colour hides behind them."""
    pixels = picture.pixels[crop.rows, crop.columns]
    if picture.alpha is None:
        return pixels
    share = picture.alpha[crop.rows, crop.columns, None].astype(np.float32) / 255
    return (pixels * share + 255 * (1 - share)).round().astype(np.uint8)


def _fill_crop(fill: Fill, size: int, pixels: NDArray[np.uint8], hole: NDArray[np.bool_], crop: Crop,
               generator: torch.Generator) -> NDArray[np.uint8]:  # fmt: skip
    """The crop's own part of the picture, filled; what lies beyond the picture's border is its mirror image."""
    known = pixels[~hole]
    mean = known.mean(axis=0).round() if len(known) else np.full(3, 128)
    # Resizing mixes neighbours, so the hole's own pixels go first.
    blank = np.where(hole[..., None], mean, pixels).astype(np.uint8)
    square = np.pad(blank, (*crop.padding, (0, 0)), mode="symmetric")
    mask = np.pad(hole, crop.padding, mode="symmetric")
    output = _resized(fill(_resized(square, size), _covered(mask, size), generator), crop.side)
    (top, _), (left, _) = crop.padding
    return output[top : top + hole.shape[0], left : left + hole.shape[1]]


def _resized(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    if pixels.shape[0] == side:
        return pixels
    how = cv2.INTER_AREA if side < pixels.shape[0] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, (side, side), interpolation=how), np.uint8)


def _covered(mask: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """A mask resized so that every pixel that the hole touches is hole."""
    if mask.shape[0] == side:
        return mask
    how = cv2.INTER_AREA if side < mask.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(mask.astype(np.float32), (side, side), interpolation=how)) > 1e-6


def png(picture: Picture) -> bytes:
    """The picture as a PNG file, with alpha where it has it."""
    pixels = picture.pixels if picture.alpha is None else np.dstack([picture.pixels, picture.alpha])
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", icc_profile=picture.profile)
    return buffer.getvalue()


def save_picture(path: Path, picture: Picture) -> None:
    """Write a PNG in one step, with alpha where the picture has it."""
    content = png(picture)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        beside.write_bytes(content)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
