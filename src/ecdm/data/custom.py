"""Images with masks and prompts made by hand, out of a folder, as a COCO-captions folder with its masks.

prompts.json        [{"image": "images/cup.png", "mask": "masks/cup.png", "prompt": "a blue cup"}, …]
images, masks       files as the list names them, of any size; a mask is as large as its image, white = hole
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, RootModel

from ecdm.data.coco import CaptionedImage, write_split
from ecdm.data.decode import Refusal, load_upright
from ecdm.data.files import png_name, save_png
from ecdm.data.paths import climbs_out
from ecdm.data.photos import centre_square
from ecdm.data.rows import json_file

LIST = "prompts.json"


class _Row(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    image: str
    mask: str
    prompt: str


class _Rows(RootModel[list[_Row]]):
    pass


@dataclass(frozen=True)
class Custom:
    """An image (size, size, 3) uint8, its hole (size, size) and the text that says what is to stand there."""

    image: NDArray[np.uint8]
    hole: NDArray[np.bool_]
    prompt: str


def read_custom(folder: Path, size: int) -> list[Custom]:
    """Read the images of such a folder in the order of its list, each as its largest central square.

    Whatever part of a pixel the hole covers, the pixel belongs to it.
    Raises: FileNotFoundError naming a missing folder, list, image or mask; ValueError naming a list of another form or
    without entries, an empty prompt, a name that leads out of the folder, a file that cannot be read, a mask of another
    size than its image, and one that leaves the square without a hole or with nothing else.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"compare.custom: {folder}: no such folder")
    rows = json_file(_Rows, folder / LIST).root
    if not rows:
        raise ValueError(f"{folder / LIST}: found an empty list, expected at least one image")
    return [_custom(folder, number, row, size) for number, row in enumerate(rows)]


def write_custom(folder: Path, source: Path, size: int) -> None:
    """Write the images of `source` and their prompts as split `test`, their holes as masks/custom/<id>.png.

    Ids count from 1; in a mask 255 = hole and 0 = known. Raises: as `read_custom`.
    """
    images = []
    for image_id, custom in enumerate(read_custom(source, size), start=1):
        save_png(folder / "test" / png_name(image_id), custom.image)
        save_png(folder / "masks" / "custom" / png_name(image_id), custom.hole.astype(np.uint8) * np.uint8(255))
        images.append(CaptionedImage(image_id, png_name(image_id), (custom.prompt,)))
    write_split(folder, "test", images)


def _custom(folder: Path, number: int, row: _Row, size: int) -> Custom:
    if not row.prompt.strip():
        raise ValueError(f"{folder / LIST}: {number}.prompt: found {row.prompt!r}, expected text")
    image, mask = _read(folder, row.image), _read(folder, row.mask)
    if mask.shape != image.shape:
        found, expected = ("x".join(map(str, one.shape[1::-1])) for one in (mask, image))
        raise ValueError(f"{folder / row.mask}: found {found} px, expected {expected} as {row.image}")
    hole = _hole(mask, size)
    if hole.all() or not hole.any():
        found = "nothing but hole" if hole.all() else "no hole"
        raise ValueError(f"{folder / row.mask}: found {found} in the central square, expected white for a part of it")
    return Custom(centre_square(image, size), hole, row.prompt.strip())


def _read(folder: Path, name: str) -> NDArray[np.uint8]:
    if climbs_out(name):
        raise ValueError(f"{folder / LIST}: found {name!r}, expected a path inside {folder}")
    if not (folder / name).is_file():
        raise FileNotFoundError(f"{folder / name}: no such file ({folder / LIST} names it)")
    try:
        return load_upright(folder / name)
    except Refusal as refusal:
        raise ValueError(f"{folder / name}: {refusal}") from refusal


def _hole(mask: NDArray[np.uint8], size: int) -> NDArray[np.bool_]:
    """Pixels (size, size) that the bright half of a mask's central square covers at least in part."""
    side = min(mask.shape[:2])
    gray = np.asarray(Image.fromarray(centre_square(mask, side)).convert("L"))
    new, old = np.arange(size)[:, None], np.arange(side)
    # New pixels against old ones along an axis: 1 where they overlap. Whole numbers, so that nothing is rounded.
    overlap = ((old * size < (new + 1) * side) & ((old + 1) * size > new * side)).astype(np.float32)
    return np.asarray(overlap @ (gray >= 128).astype(np.float32) @ overlap.T > 0)
