"""A COCO 2017 folder with everything that real ones and careless ones hold; it knows nothing of the package.

`python tests/coco_case.py FOLDER` writes it.
"""

from __future__ import annotations

import json
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Side of the images, so that the largest central square of this size is the image itself.
SIDE = 32
UNICODE = "Zwölf Öfen — 十二の窯 🔥 «печь»"
CAPTIONS = ("a first caption", "a second one", " a third one\n", "a fourth one", UNICODE)
TURNED: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    # EXIF orientation → what makes the stored pixels upright
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: stored.swapaxes(0, 1)[:, ::-1],
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: stored.swapaxes(0, 1)[::-1],
}


def noise(seed: int, *shape: int, high: int = 256) -> NDArray[Any]:
    """Random whole numbers below `high`."""
    kind = np.uint8 if high <= 256 else np.uint16
    return np.random.default_rng(seed).integers(0, high, shape or (SIDE, SIDE, 3)).astype(kind)


def over_white(colour: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    """Colours (h, w, 3) on white paper, where alpha (h, w) is 255 for paint that hides it."""
    share = alpha[..., None] / 255
    return colour * share + 255 * (1 - share)


def png_file(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG file out of its filtered rows, by the specification."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def write_modes(folder: Path) -> dict[str, NDArray[Any]]:
    """Write images of every kind; file name → the colours that they show, (32, 32, 3) from 0 to 255."""
    colour, alpha, gray = noise(1), noise(2, SIDE, SIDE), noise(3, SIDE, SIDE)
    folder.mkdir(parents=True, exist_ok=True)
    shown = {"rgb.png": colour, "gray.png": np.repeat(gray[..., None], 3, 2)}
    Image.fromarray(colour).save(folder / "rgb.png")
    Image.fromarray(gray).save(folder / "gray.png")
    Image.fromarray(np.dstack([colour, alpha])).save(folder / "alpha.png")
    shown["alpha.png"] = over_white(colour, alpha)
    Image.fromarray(np.dstack([gray, alpha])).save(folder / "gray_alpha.png")
    shown["gray_alpha.png"] = over_white(shown["gray.png"], alpha)
    bilevel = gray > 127
    Image.fromarray(bilevel).save(folder / "bilevel.png")
    shown["bilevel.png"] = np.repeat(bilevel[..., None] * 255, 3, 2)
    shown.update(_palettes(folder))
    shown.update(_cmyk(folder))
    shown.update(_deep(folder))
    shown.update(_turned(folder))
    return shown


def _palettes(folder: Path) -> dict[str, NDArray[Any]]:
    table, index = noise(4, 16, 3), noise(5, SIDE, SIDE, high=16)
    image = Image.frombytes("P", (SIDE, SIDE), index.tobytes())
    image.putpalette(table.ravel().tolist())
    image.save(folder / "palette.png")
    image.save(folder / "palette.gif")
    image.save(folder / "palette_clear.png", transparency=3)
    shown = table[index]
    return {
        "palette.png": shown,
        "palette.gif": shown,
        "palette_clear.png": np.where((index == 3)[..., None], 255, shown),
    }


def _cmyk(folder: Path) -> dict[str, NDArray[Any]]:
    inks = noise(6, SIDE, SIDE, 4)
    Image.frombytes("CMYK", (SIDE, SIDE), inks.tobytes()).save(folder / "cmyk.tif")
    flat = np.broadcast_to(np.array([40, 200, 90, 30], np.uint8), (SIDE, SIDE, 4))
    Image.frombytes("CMYK", (SIDE, SIDE), flat.tobytes()).save(folder / "cmyk.jpg", quality=100)
    light = {name: 255.0 - values for name, values in (("cmyk.tif", inks), ("cmyk.jpg", flat))}
    return {name: values[..., :3] * values[..., 3:] / 255 for name, values in light.items()}


def _deep(folder: Path) -> dict[str, NDArray[Any]]:
    gray, colour = noise(7, SIDE, SIDE, high=65536), noise(8, SIDE, SIDE, 3, high=65536)
    rows = {1: gray[..., None], 3: colour}
    names = {1: ("deep_gray.png", 0), 3: ("deep_colour.png", 2)}
    for channels, values in rows.items():
        name, kind = names[channels]
        lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
        (folder / name).write_bytes(png_file(SIDE, SIDE, 16, kind, lines))
    Image.fromarray(gray).save(folder / "deep_gray.tif")
    shown = np.repeat(gray[..., None] // 256, 3, 2)
    return {"deep_gray.png": shown, "deep_gray.tif": shown, "deep_colour.png": colour // 256}


def _turned(folder: Path) -> dict[str, NDArray[Any]]:
    shown = {}
    for orientation, turn in TURNED.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        # Oblong, so that a picture that was not turned gives another square.
        stored = noise(10 + orientation, SIDE, SIDE + 8, 3)
        name = f"turned_{orientation}.png"
        Image.fromarray(stored).save(folder / name, exif=exif)
        upright = turn(stored)
        top, left = ((side - SIDE) // 2 for side in upright.shape[:2])
        shown[name] = upright[top : top + SIDE, left : left + SIDE]
    return shown


def write_faults(folder: Path) -> dict[str, str]:
    """Write files that are no usable images; file name → the reason."""
    folder.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(noise(20, 64, 64, 3))
    for name in ("cut.jpg", "cut.png"):
        picture.save(folder / name)
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) // 2])
    (folder / "text.jpg").write_text("no image at all")
    (folder / "empty.png").write_bytes(b"")
    (folder / "bomb.png").write_bytes(png_file(20_000, 10_000, 8, 2, b""))
    Image.fromarray(noise(21, SIDE // 4 - 1, 40, 3)).save(folder / "small.png")
    Image.fromarray(noise(22, SIDE, SIDE).astype(np.float32)).save(folder / "float.tif")
    (folder / "folder.png").mkdir()
    picture.save(folder.parent / "outside.png")
    (folder / "link.png").symlink_to("../outside.png")
    return {
        "cut.jpg": "truncated",
        "cut.png": "truncated",
        "text.jpg": "cannot be decoded: UnidentifiedImageError",
        "empty.png": "cannot be decoded: UnidentifiedImageError",
        "bomb.png": "decompression bomb: more than 178956970 pixels",
        "small.png": "too small: short side of 7 px, expected 8 or more",
        "float.tif": "unknown range: pixels of mode F",
        "folder.png": "missing file",
        "gone.png": "missing file",
        "link.png": "outside its folder",
        "../outside.png": "outside its folder",
        "turn/../../outside.png": "outside its folder",
        "/etc/hostname": "outside its folder",
        "C:\\picture.png": "outside its folder",
        f"{'long' * 100}.png": "missing file",
        "nul\0byte.png": "missing file",
    }


class Captions:
    """A captions file in the making, with ids that count up."""

    def __init__(self, first: int) -> None:
        self.next, self.images, self.annotations = first, list[Any](), list[Any]()

    def image(self, name: str, captions: tuple[str, ...] = CAPTIONS, number: int | None = None) -> int:
        """Add an image with its captions; its id."""
        number = self.next if number is None else number
        self.next += 1
        self.images.append({"id": number, "file_name": name, "width": 0, "height": 0, "license": 1})
        for caption in captions:
            self.annotation(number, caption)
        return number

    def annotation(self, image: int, caption: str) -> int:
        """Add a caption of an image; its id."""
        number = 1000 - len(self.annotations)
        self.annotations.append({"id": number, "image_id": image, "caption": caption})
        return number

    def text(self) -> str:
        """The file's text, as COCO has it."""
        return json.dumps({"info": {"year": 2017}, "images": self.images, "annotations": self.annotations})

    def save(self, path: Path) -> None:
        """Write the file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.text(), encoding="utf-8")


def plain_coco(folder: Path, train: int, test: int) -> Path:
    """Write a COCO folder of so many images, `noise` of their ids, from 100 and from 1 on; the folder."""
    for name, count, first in (("train2017", train, 100), ("val2017", test, 1)):
        (folder / name).mkdir(parents=True)
        captions = Captions(first)
        for number in range(count):
            Image.fromarray(noise(first + number)).save(folder / name / f"{first + number:012d}.png")
            captions.image(f"{first + number:012d}.png")
        captions.save(folder / "annotations" / f"captions_{name}.json")
    return folder


def write_odd_coco(folder: Path, tests: int = 4) -> set[tuple[str, str, str]]:
    """Write the folder with so many test images; the rejects, as (split, image, reason), when all images are used."""
    val, train = Captions(1), Captions(100)
    (folder / "val2017").mkdir(parents=True)
    for number in range(tests):
        Image.fromarray(noise(30 + number, SIDE, SIDE + number, 3)).save(folder / "val2017" / f"{number}.jpg")
        val.image(f"{number}.jpg")
    for name in write_modes(folder / "train2017"):
        train.image(name)
    Image.fromarray(noise(40)).save(folder / "train2017" / 'ünï 猫,"1".png')
    train.image('ünï 猫,"1".png', ("", UNICODE))
    rejects = {("train", name, reason) for name, reason in write_faults(folder / "train2017").items()}
    for _, name, _ in sorted(rejects):
        train.image(name)
    for name, captions in (("silent.png", ()), ("blank.png", ("", " \n"))):
        Image.fromarray(noise(41)).save(folder / "train2017" / name)
        train.image(name, captions)
        rejects.add(("train", name, "no caption"))
    for name, number in (("again.png", 100), ("tested.png", 1)):
        Image.fromarray(noise(42)).save(folder / "train2017" / name)
        train.image(name, (), number)
        rejects.add(("train", name, f"duplicate: image id {number}"))
    train.image("./rgb.png")
    rejects.add(("train", "rgb.png", "duplicate: file_name"))
    stray = train.annotation(99_999, "of no image")
    rejects.add(("train", f"annotation {stray}", "caption of an unknown image: image_id 99999"))
    val.save(folder / "annotations" / "captions_val2017.json")
    train.save(folder / "annotations" / "captions_train2017.json")
    return rejects


if __name__ == "__main__":
    for line in sorted(write_odd_coco(Path(sys.argv[1]))):
        print(*line, sep="\t")
