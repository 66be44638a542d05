"""The photographs: read from the installed package, cropped, reduced and captioned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data

from ecdm.data.coco import load_image, read_split
from ecdm.data.photos import centre_square, write_photos


def test_five_captioned_squares(tmp_path: Path) -> None:
    write_photos(tmp_path, 64)
    images = read_split(tmp_path, "test")
    assert [image.id for image in images] == [1, 2, 3, 4, 5]
    shown = [load_image(tmp_path / "test" / image.file_name) for image in images]
    assert {image.shape for image in shown} == {(64, 64, 3)}
    assert len({image.tobytes() for image in shown}) == 5
    captions = [caption for image in images for caption in image.captions]
    assert len(set(captions)) == 15
    assert all(caption == caption.lower() and len(caption.split()) > 4 for caption in captions)
    assert [word in images[row].captions[0] for row, word in enumerate(("space suit", "cat", "coffee"))] == [True] * 3


def test_reduction_is_the_mean_over_areas(tmp_path: Path) -> None:
    write_photos(tmp_path, 128)
    astronaut = skimage.data.astronaut().astype(float)
    means = astronaut.reshape(128, 4, 128, 4, 3).mean((1, 3))
    found = load_image(tmp_path / "test" / "000000000001.png").astype(float)
    assert np.abs(found - means).max() <= 0.5 + 1e-6


@pytest.mark.parametrize(("height", "width"), [(6, 10), (10, 6), (7, 10), (6, 6)])
def test_the_square_is_central(height: int, width: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    assert np.array_equal(centre_square(image, side), image[top : top + side, left : left + side])


def test_a_larger_size_enlarges() -> None:
    image = np.full((6, 8, 3), 77, np.uint8)
    assert np.array_equal(centre_square(image, 16), np.full((16, 16, 3), 77, np.uint8))
