"""The one folder format of all data: images by split and their captions as COCO has them.

<split>/<file_name>                     an image; or, of a sharded split,
<split>-<part>.tar                      some of its images, members <file_name>
annotations/captions_<split>.json       COCO captions: images, annotations
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from ecdm.data.paths import climbs_out
from ecdm.data.shards import SplitFiles

# What Pillow raises for files that are no image, are cut short, or unpack to absurd sizes.
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
EIGHT_BIT_MODES = ("RGB", "L", "P", "1", "RGBA", "LA", "CMYK", "YCbCr")
DEEP = re.compile(r"\w+;16[BLN]")


@dataclass(frozen=True)
class CaptionedImage:
    """One image of a split: its id, its file under the split's folder, and its captions, at least one."""

    id: int
    file_name: str
    captions: tuple[str, ...]


def captions_file(folder: Path, split: str) -> Path:
    """Where the captions of a split stand."""
    return folder / "annotations" / f"captions_{split}.json"


def write_json(path: Path, content: Any) -> None:
    """Write compact JSON with sorted keys: equal content, equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    path.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """The content of a JSON file; FileNotFoundError without it, ValueError naming a file that is no JSON."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON: {error}") from error


def write_split(folder: Path, split: str, images: Iterable[CaptionedImage], side: int | None = None) -> None:
    """Write the captions file of a split whose image files already stand in `folder/split` or in its shards.

    Width and height, in pixels, are read from the files; where all are squares of `side`, files are only looked for.
    Captions keep their order: annotation ids count up.
    Raises: ValueError for no images, a duplicate id, an image without captions, a file_name that leaves the split's
    folder, and a missing or unreadable file; then nothing is written.
    """
    ordered = sorted(images, key=lambda image: image.id)
    path = captions_file(folder, split)
    if not ordered:
        raise ValueError(f"{path}: found no images, expected at least one")
    files = SplitFiles(folder, split)
    rows: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image in ordered:
        if rows and rows[-1]["id"] == image.id:
            raise ValueError(f"{path}: image id {image.id}: found twice, expected once")
        if not image.captions:
            raise ValueError(f"{path}: image id {image.id}: found no captions, expected at least one")
        name = _checked_name(path, files, image.id, image.file_name)
        width, height = image_size(*files.locate(name)) if side is None else (side, side)
        rows.append({"id": image.id, "file_name": name, "width": width, "height": height})
        for caption in image.captions:
            annotations.append({"id": len(annotations) + 1, "image_id": image.id, "caption": caption})
    write_json(path, {"info": {}, "licenses": [], "images": rows, "annotations": annotations})


def read_split(folder: Path, split: str, files: SplitFiles | None = None) -> list[CaptionedImage]:
    """Read the images of a split, sorted by id, with their captions in the order of their annotation ids.

    Captions lose surrounding white space; blank ones do not count. Image files are looked for, not opened:
    among `files`, which are those of the split, where the caller has them at hand.
    Raises: FileNotFoundError without the captions file; ValueError, naming file and id, for content of
    another form, duplicate ids, captions of an unknown image, an image without captions, a file_name that
    leaves the split's folder and a missing image file; as `SplitFiles`.
    """
    path = captions_file(folder, split)
    content = _load(path)
    stored = SplitFiles(folder, split) if files is None else files
    names: dict[int, str] = {}
    for row in _rows(path, content, "images"):
        image_id, name = _integer(path, "images", row, "id"), _text(path, "images", row, "file_name")
        if image_id in names:
            raise ValueError(f"{path}: image id {image_id}: found twice, expected once")
        names[image_id] = _checked_name(path, stored, image_id, name)
    if not names:
        raise ValueError(f"{path}: images: found none, expected at least one")
    captions = _captions(path, _rows(path, content, "annotations"), names)
    return [CaptionedImage(image_id, names[image_id], captions[image_id]) for image_id in sorted(names)]


def load_image(path: Path, data: bytes | None = None) -> NDArray[np.uint8]:
    """Read an image as RGB, uint8 (h, w, 3); gray, palette, CMYK and transparent ones are converted.

    `data`: the file's bytes where it does not stand at `path`, which then only names it.
    Raises: ValueError naming the file when it is missing, no image, cut short, or of more than 8 bits.
    """
    try:
        with Image.open(path if data is None else BytesIO(data)) as image:
            deep = beyond_eight_bits(image)
            pixels = None if deep else np.array(image.convert("RGB"))
    except UNREADABLE as error:
        raise ValueError(f"{path}: expected an image, found one that cannot be read: {error}") from error
    if pixels is None:
        raise ValueError(f"{path}: found pixels of mode {deep}, expected 8 bits per channel")
    return pixels


def beyond_eight_bits(image: ImageFile.ImageFile) -> str | None:
    """The pixel mode of an image, opened but not loaded yet, that may have more than 8 bits per channel; else None."""
    # Pillow calls 16-bit colour RGB or RGBA and drops the lower bytes; only its decoder's arguments tell.
    found = DEEP.search(str([tile.args for tile in image.tile]))
    if found:
        return found[0]
    return None if image.mode in EIGHT_BIT_MODES else image.mode


def load_like(path: Path, like: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Read an image as `load_image` does; ValueError naming the file too when its size is not that of `like`."""
    pixels = load_image(path)
    if pixels.shape != like.shape:
        found, expected = ("x".join(map(str, shape[1::-1])) for shape in (pixels.shape, like.shape))
        raise ValueError(f"{path}: found {found} px, expected {expected} as its ground truth")
    return pixels


def image_size(path: Path, data: bytes | None = None) -> tuple[int, int]:
    """The width and height of an image in pixels, from its header; arguments and errors are those of `load_image`."""
    try:
        with Image.open(path if data is None else BytesIO(data)) as image:
            return image.size
    except UNREADABLE as error:
        raise ValueError(f"{path}: expected an image, found one that cannot be read: {error}") from error


def _load(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: found a {type(content).__name__}, expected an object in COCO's form")
    return content


def _rows(path: Path, content: dict[str, Any], key: str) -> list[dict[str, Any]]:
    rows = content.get(key)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        found = "nothing" if rows is None else f"a {type(rows).__name__}"
        raise ValueError(f"{path}: {key}: found {found}, expected a list of objects")
    return rows


def _integer(path: Path, kind: str, row: dict[str, Any], key: str) -> int:
    value = row.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{path}: {kind}: {key}: found {value!r}, expected an integer of 0 or more")
    return value


def _text(path: Path, kind: str, row: dict[str, Any], key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{path}: {kind} id {row.get('id')}: {key}: found {value!r}, expected text")
    return value


def _checked_name(path: Path, files: SplitFiles, image_id: int, name: str) -> str:
    """The name, if it names one of the files."""
    # By its parts alone: a data version tool may link the files of the folder to its cache elsewhere.
    if climbs_out(name):
        raise ValueError(f"{path}: image id {image_id}: file_name {name!r}: expected a path inside {files.root}")
    if name not in files:
        raise ValueError(f"{path}: image id {image_id}: {files.root / name}: no such file")
    return name


def _captions(path: Path, rows: list[dict[str, Any]], files: dict[int, str]) -> dict[int, tuple[str, ...]]:
    """Captions by image id."""
    found: dict[int, dict[int, str]] = {image_id: {} for image_id in files}
    seen: set[int] = set()
    for row in rows:
        key, image_id = (
            _integer(path, "annotations", row, "id"),
            _integer(path, "annotations", row, "image_id"),
        )
        if key in seen:
            raise ValueError(f"{path}: annotation id {key}: found twice, expected once")
        if image_id not in found:
            raise ValueError(f"{path}: annotation id {key}: image_id {image_id}: expected the id of an image")
        seen.add(key)
        caption = _text(path, "annotations", row, "caption").strip()
        if caption:
            found[image_id][key] = caption
    for image_id, captions in found.items():
        if not captions:
            raise ValueError(f"{path}: image id {image_id}: found no captions, expected at least one")
    return {image_id: tuple(captions[key] for key in sorted(captions)) for image_id, captions in found.items()}
