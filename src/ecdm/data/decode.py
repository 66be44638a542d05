"""Image files of any kind as squares of 8-bit colours, or the reason why one cannot be used."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ecdm.data.photos import centre_square

# What photographs come as; Pillow would also start other programs, for PostScript for instance.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "JPEG2000", "PPM", "AVIF")


class Refusal(ValueError):
    """Why an image is not used: a kind of fault, maybe with details after a colon."""


def load_square(path: Path, size: int, smallest: int) -> NDArray[np.uint8]:
    """Read the largest central square of an image as (size, size, 3) RGB; all else as `load_upright`."""
    return centre_square(load_upright(path, smallest), size)


def load_upright(path: Path, smallest: int = 1) -> NDArray[np.uint8]:
    """Read an image, turned upright as its EXIF says, as (h, w, 3) RGB.

    Gray, palette and CMYK images are converted, transparent ones laid over white; of 16 bits the upper eight
    are kept. Of several frames the first one counts.
    Raises: Refusal for a file that cannot be decoded or is cut short, for more pixels than Pillow takes to be
    safe, for 32-bit values, whose range nothing tells, and for a side below `smallest` pixels.
    """
    with warnings.catch_warnings():
        # Large but allowed images, and damaged EXIF beside pixels that are whole.
        warnings.simplefilter("ignore")
        try:
            with Image.open(path, formats=FORMATS) as image:
                _check_side(image.size, smallest)
                return _eight_bits(ImageOps.exif_transpose(image))
        except (Refusal, MemoryError):
            raise
        except Image.DecompressionBombError as error:
            limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
            raise Refusal(f"decompression bomb: more than {limit} pixels") from error
        except Exception as error:  # Pillow's readers raise whatever broken bytes lead them to.
            raise Refusal(_fault(error)) from error


def _check_side(found: tuple[int, int], smallest: int) -> None:
    if min(found) < smallest:
        raise Refusal(f"too small: short side of {min(found)} px, expected {smallest} or more")


def _eight_bits(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode in ("I", "F"):
        raise Refusal(f"unknown range: pixels of mode {image.mode}")
    if image.mode.startswith("I;16"):
        # Pillow itself would cut every value above 255; in colours it keeps the upper eight bits.
        gray = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(gray[..., None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def _fault(error: Exception) -> str:
    """Without Pillow's words, which hold paths and differ between its versions."""
    return "truncated" if "truncated" in str(error).lower() else f"cannot be decoded: {type(error).__name__}"
