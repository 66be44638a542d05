"""Images of every kind against the colours they were made of, and files that are refused, with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_case import SIDE, noise, write_faults, write_modes
from numpy.typing import NDArray
from PIL import Image

from ecdm.data.decode import FORMATS, Refusal, load_square

# Pillow rounds where colours are mixed, and JPEG where it stores them.
ROUNDED = {"alpha.png": 1, "gray_alpha.png": 1, "cmyk.tif": 1, "cmyk.jpg": 2}

SMALLEST = SIDE // 4


@pytest.fixture(scope="module")
def modes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, NDArray[Any]]]:
    folder = tmp_path_factory.mktemp("modes")
    return folder, write_modes(folder)


def test_every_kind_of_image_shows_its_colours(modes: tuple[Path, dict[str, NDArray[Any]]]) -> None:
    folder, shown = modes
    assert len(shown) == 21
    for name, expected in shown.items():
        found = load_square(folder / name, SIDE, SMALLEST)
        assert (found.shape, found.dtype) == ((SIDE, SIDE, 3), np.uint8), name
        assert np.abs(found.astype(float) - expected).max() <= ROUNDED.get(name, 0), name


def test_the_modes_are_those_they_claim(modes: tuple[Path, dict[str, NDArray[Any]]]) -> None:
    folder, _ = modes
    expected = {
        "gray.png": "L",
        "alpha.png": "RGBA",
        "gray_alpha.png": "LA",
        "bilevel.png": "1",
        "palette_clear.png": "P",
        "cmyk.jpg": "CMYK",
        "deep_gray.tif": "I;16",
    }
    for name, mode in expected.items():
        with Image.open(folder / name) as image:
            assert image.mode == mode
    with Image.open(folder / "turned_6.png") as image:
        assert image.size == (SIDE + 8, SIDE)


def test_unusable_files_are_refused_with_the_reason(tmp_path: Path) -> None:
    reasons = write_faults(tmp_path / "images")
    own = [name for name, reason in reasons.items() if not reason.startswith(("outside", "missing"))]
    assert len(own) == 7
    for name in own:
        with pytest.raises(Refusal) as caught:
            load_square(tmp_path / "images" / name, SIDE, SMALLEST)
        assert str(caught.value) == reasons[name]


def test_a_small_image_is_enlarged_but_not_any(tmp_path: Path) -> None:
    Image.fromarray(noise(0, 8, 40, 3)).save(tmp_path / "a.png")
    assert load_square(tmp_path / "a.png", SIDE, SMALLEST).shape == (SIDE, SIDE, 3)
    with pytest.raises(Refusal, match="short side of 8 px, expected 9 or more"):
        load_square(tmp_path / "a.png", SIDE, SMALLEST + 1)


def test_the_square_is_reduced_by_averaging(tmp_path: Path) -> None:
    pixels = noise(0, 2 * SIDE, 2 * SIDE, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    means = pixels.reshape(SIDE, 2, SIDE, 2, 3).mean((1, 3))
    assert np.abs(load_square(tmp_path / "a.png", SIDE, SMALLEST) - means).max() <= 0.5 + 1e-6


@pytest.mark.parametrize(("ending", "kind"), [("tif", "TIFF"), ("webp", "WEBP"), ("jpg", "MPO")])
def test_of_several_frames_the_first_counts(tmp_path: Path, ending: str, kind: str) -> None:
    frames = [Image.new("RGB", (SIDE, SIDE), colour) for colour in ("navy", "orange")]
    exact = {"lossless": True} if kind == "WEBP" else {"quality": 100}
    frames[0].save(tmp_path / f"a.{ending}", kind, save_all=True, append_images=frames[1:], **exact)
    found = load_square(tmp_path / f"a.{ending}", SIDE, SMALLEST).astype(int)
    assert np.abs(found - (0, 0, 128)).max() <= 1


def test_every_format_has_a_reader() -> None:
    Image.init()
    assert set(FORMATS) <= set(Image.OPEN)


def test_large_images_within_the_limit_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(noise(1)).save(tmp_path / "a.png")
    for limit, refused in ((SIDE * SIDE - 1, False), (SIDE * SIDE // 2 - 1, True)):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        if refused:
            with pytest.raises(Refusal, match=f"decompression bomb: more than {2 * limit} pixels"):
                load_square(tmp_path / "a.png", SIDE, SMALLEST)
        else:
            assert load_square(tmp_path / "a.png", SIDE, SMALLEST).shape == (SIDE, SIDE, 3)


def test_formats_that_start_programs_are_not_opened(tmp_path: Path) -> None:
    Image.fromarray(noise(1)).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.jpg")
    with pytest.raises(Refusal, match="cannot be decoded: UnidentifiedImageError"):
        load_square(tmp_path / "a.jpg", SIDE, SMALLEST)
