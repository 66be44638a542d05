"""Images with masks and prompts made by hand: what they become, what is refused, and those that are committed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ecdm.data.coco import load_image, read_split
from ecdm.data.custom import read_custom, write_custom
from ecdm.data.files import png_name

ROOT = Path(__file__).parents[2]
BUNDLED = ROOT / "assets" / "custom"
ROW = {"image": "images/a.png", "mask": "masks/a.png", "prompt": "a cup"}


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def boxed(height: int, width: int) -> NDArray[np.uint8]:
    """A mask with a hole of half the sides around the middle."""
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] = 255
    return mask


def write(folder: Path, pixels: NDArray[Any] | None = None, hole: NDArray[Any] | None = None, **changes: Any) -> Path:
    """One picture in the form that is read; `changes` of its row."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(64, 64) if pixels is None else pixels).save(folder / "images" / "a.png")
    Image.fromarray(boxed(64, 64) if hole is None else hole).save(folder / "masks" / "a.png")
    (folder / "prompts.json").write_text(json.dumps([{**ROW, **changes}]), encoding="utf-8")
    return folder


def test_images_masks_and_prompts_keep_their_order(tmp_path: Path) -> None:
    write(tmp_path / "in")
    Image.fromarray(noise(32, 32)).save(tmp_path / "in" / "b.jpg")
    rows = [{**ROW, "prompt": "  first\n"}, {"image": "b.jpg", "mask": "b.png", "prompt": "zweite 二"}]
    Image.fromarray(boxed(32, 32)).save(tmp_path / "in" / "b.png")
    (tmp_path / "in" / "prompts.json").write_text(json.dumps(rows), encoding="utf-8")
    write_custom(tmp_path / "data", tmp_path / "in", 32)
    masks = tmp_path / "data" / "masks" / "custom"
    images = read_split(tmp_path / "data", "test")
    assert [(image.id, image.captions) for image in images] == [(1, ("first",)), (2, ("zweite 二",))]
    assert {path.name for path in masks.iterdir()} == {png_name(1), png_name(2)}
    for image in images:
        assert load_image(tmp_path / "data" / "test" / image.file_name).shape == (32, 32, 3)
        mask = np.array(Image.open(masks / png_name(image.id)))
        assert np.array_equal(mask, boxed(32, 32))
    halves = noise(64, 64).astype(float).reshape(32, 2, 32, 2, 3).mean((1, 3))
    first = load_image(tmp_path / "data" / "test" / png_name(1)).astype(float)
    assert np.abs(first - halves).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("shape", [(48, 80), (80, 48)])
def test_image_and_mask_are_cut_alike(tmp_path: Path, shape: tuple[int, int]) -> None:
    """White pixels of the image are those of the mask, before and after."""
    mask = np.zeros(shape, np.uint8)
    mask[shape[0] // 2 - 10 : shape[0] // 2 + 6, shape[1] // 2 - 4 : shape[1] // 2 + 12] = 255
    (custom,) = read_custom(write(tmp_path, np.repeat(mask[..., None], 3, 2), mask), 48)
    assert np.array_equal(custom.hole, custom.image[..., 0] > 127)
    assert custom.hole.sum() == 256


def test_a_turned_photograph_lies_under_its_mask(tmp_path: Path) -> None:
    """A camera's picture is stored lying and shown upright; its mask is drawn on what is shown."""
    folder, exif = write(tmp_path, hole=boxed(64, 40)), Image.Exif()
    exif[0x0112] = 6
    stored = noise(40, 64)
    Image.fromarray(stored).save(folder / "images" / "a.png", exif=exif)
    (custom,) = read_custom(folder, 40)
    assert np.array_equal(custom.image, np.rot90(stored, -1)[12:52])


@pytest.mark.parametrize(("size", "expected"), [(32, 9), (16, 4), (128, 64), (96, 49)])
def test_a_hole_covers_every_pixel_that_it_touches(tmp_path: Path, size: int, expected: int) -> None:
    """A hole of 4 px a side from 17 to 20 in 64: of all sizes it is the smallest that holds it all."""
    mask = np.zeros((64, 64), np.uint8)
    mask[17:21, 17:21] = 255
    (custom,) = read_custom(write(tmp_path, hole=mask), size)
    assert custom.hole.sum() == expected
    rows, _ = np.nonzero(custom.hole)
    assert rows.min() <= 17 * size / 64
    assert rows.max() + 1 >= 21 * size / 64


def test_gray_and_coloured_masks_are_hole_where_they_are_bright(tmp_path: Path) -> None:
    gray = np.full((64, 64), 127, np.uint8)
    gray[:, 32:] = 128
    (custom,) = read_custom(write(tmp_path / "gray", hole=gray), 64)
    assert np.array_equal(custom.hole, gray == 128)
    yellow = np.zeros((64, 64, 4), np.uint8)
    yellow[..., 3] = 255
    yellow[:20, :, :2] = 255
    (custom,) = read_custom(write(tmp_path / "colour", hole=yellow), 64)
    assert np.array_equal(custom.hole, yellow[..., 0] == 255)


def gone(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def text(name: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content)


def resized(folder: Path) -> None:
    Image.fromarray(boxed(64, 63)).save(folder / "masks" / "a.png")


def flat(value: int, inside: int | None = None) -> Callable[[Path], object]:
    """A mask of one value; beside the central square, which is 64 px wide, of the inverse."""

    def spoil(folder: Path) -> None:
        width = 64 if inside is None else 80
        mask = np.full((64, width), value, np.uint8)
        if inside is not None:
            mask[:, 8:72] = inside
        write(folder, noise(64, width), mask)

    return spoil


BAD: dict[str, tuple[Callable[[Path], object], type[Exception], str]] = {
    "no list": (gone("prompts.json"), FileNotFoundError, r"custom/prompts\.json: no such file"),
    "no image": (gone("images/a.png"), FileNotFoundError, r"custom/images/a\.png: no such file \(.*prompts\.json"),
    "no mask": (gone("masks/a.png"), FileNotFoundError, r"custom/masks/a\.png: no such file"),
    "image is text": (text("images/a.png", "x"), ValueError, r"images/a\.png: cannot be decoded"),
    "mask is text": (text("masks/a.png", "x"), ValueError, r"masks/a\.png: cannot be decoded"),
    "mask of another size": (resized, ValueError, r"masks/a\.png: found 63x64 px, expected 64x64 as images/a\.png"),
    "black mask": (flat(0), ValueError, r"masks/a\.png: found no hole in the central square"),
    "white mask": (flat(255), ValueError, r"masks/a\.png: found nothing but hole"),
    "hole beside the square": (flat(255, 0), ValueError, r"masks/a\.png: found no hole"),
    "no JSON": (text("prompts.json", "["), ValueError, r"prompts\.json: .*expected Invalid JSON"),
    "an object": (
        text("prompts.json", "{}"),
        ValueError,
        r"prompts\.json: found '\{\}', expected a valid (array|list)",
    ),
    "an empty list": (text("prompts.json", "[]"), ValueError, r"prompts\.json: found an empty list, expected at"),
    "blank prompt": (lambda f: write(f, prompt=" "), ValueError, r"prompts\.json: 0\.prompt: found ' ', expected text"),
    "prompt is a number": (lambda f: write(f, prompt=3), ValueError, r"prompts\.json: 0\.prompt: found '3'"),
    "another key": (lambda f: write(f, caption="x"), ValueError, r"prompts\.json: 0\.caption: found 'x', expected"),
    "outside": (lambda f: write(f, image="../a.png"), ValueError, r"found '\.\./a\.png', expected a path inside"),
    "absolute": (lambda f: write(f, mask="/a.png"), ValueError, r"found '/a\.png', expected a path inside"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(tmp_path: Path, name: str) -> None:
    spoil, error, message = BAD[name]
    folder = write(tmp_path / "custom")
    spoil(folder)
    for act in (lambda: write_custom(tmp_path / "data", folder, 32), lambda: read_custom(folder, 32)):
        with pytest.raises(error, match=message):
            act()
    assert not (tmp_path / "data" / "annotations").exists()


def test_a_missing_folder_is_named_with_its_key(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=re.escape(f"compare.custom: {tmp_path / 'none'}: no such folder")):
        read_custom(tmp_path / "none", 32)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The committed folder written anew."""
    folder = tmp_path_factory.mktemp("custom")
    script = [sys.executable, str(ROOT / "bench" / "custom_inputs.py"), str(folder)]
    subprocess.run(script, check=True, cwd=ROOT)
    return folder


def test_the_committed_pictures_are_those_of_the_script(written: Path) -> None:
    """Up to one gray level, which is how far processors round differently."""
    names = sorted(path.relative_to(BUNDLED).as_posix() for path in BUNDLED.rglob("*.*"))
    assert names == sorted(path.relative_to(written).as_posix() for path in written.rglob("*.*"))
    assert (BUNDLED / "prompts.json").read_text() == (written / "prompts.json").read_text()
    for name in (name for name in names if name.endswith(".png")):
        one, other = (np.asarray(Image.open(folder / name)).astype(int) for folder in (BUNDLED, written))
        assert np.abs(one - other).max() <= 1, name


def test_the_committed_pictures_stay_small_and_hide_a_part() -> None:
    assert sum(path.stat().st_size for path in BUNDLED.rglob("*.*")) <= 500_000
    for size in (32, 128, 512):
        custom = read_custom(BUNDLED, size)
        assert len(custom) == 6
        assert len({one.prompt for one in custom}) == 6
        assert all(0.02 < one.hole.mean() < 0.6 for one in custom)
