"""A small test-only set: five photographs out of scikit-image's package, with captions written by hand."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.data import data_dir

from ecdm.data.coco import CaptionedImage, load_image, write_split
from ecdm.data.files import png_name, save_png

PHOTOS: dict[str, tuple[str, ...]] = {
    "astronaut.png": (
        "a smiling woman in an orange space suit with a white helmet in front of her",
        "an astronaut between a flag on the left and a model of a space shuttle on the right",
        "a portrait of a woman with short hair in an orange flight suit",
    ),
    "chelsea.png": (
        "the face of a brown tabby cat with green eyes",
        "a close view of a cat that looks to the right",
        "a striped cat with an orange nose and white whiskers",
    ),
    "coffee.png": (
        "a red cup of coffee on a red saucer with a spoon on the right",
        "an espresso in a cup that is white inside, on a wooden table",
        "a cup half full of brown coffee seen from above",
    ),
    "rocket.jpg": (
        "a white rocket on a launch pad between two towers under a dark blue sky",
        "a tall rocket at night with bright lamps at its foot",
        "a rocket that waits for its launch, lit from below",
    ),
    "motorcycle_left.png": (
        "a red motorcycle with a black seat in a garage",
        "a parked motorcycle in front of a shelf full of boxes",
        "a red motorbike on a concrete floor, seen from the right",
    ),
}


def centre_square(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The largest central square of (h, w, 3) uint8 as (size, size, 3).

    Reduced by averaging over areas, enlarged by cubic interpolation.
    """
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = np.ascontiguousarray(image[top : top + side, left : left + side])
    method = cv2.INTER_AREA if size <= side else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(square, (size, size), interpolation=method), dtype=np.uint8)


def write_photos(folder: Path, size: int) -> None:
    """Write the photographs, (size, size, 3) pixels each, as split `test` of such a folder; ids from 1."""
    images = []
    for image_id, (name, captions) in enumerate(PHOTOS.items(), start=1):
        file_name = png_name(image_id)
        save_png(folder / "test" / file_name, centre_square(load_image(Path(data_dir) / name), size))
        images.append(CaptionedImage(image_id, file_name, captions))
    write_split(folder, "test", images)
