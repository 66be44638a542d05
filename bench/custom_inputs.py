"""Write the pictures of `assets/custom`: held-out scenes and two photographs, with masks and prompts made by hand."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.data import data_dir

from ecdm.data.coco import load_image
from ecdm.data.custom import LIST
from ecdm.data.files import save_png
from ecdm.data.photos import centre_square
from ecdm.data.scenes import draw_scene

SIDE = 256
# Held-out scenes that neither test images nor the sets of single items reach.
FIRST = 3_000_000

Pixels = NDArray[np.uint8]
Point = tuple[int, int]


@dataclass(frozen=True)
class Picture:
    """A picture of 256 px a side, how its mask is drawn, in place, and what is to stand in the hole."""

    name: str
    image: Callable[[], Pixels]
    draw: Callable[[Pixels], object]
    prompt: str


def scene(index: int, items: int) -> Callable[[], Pixels]:
    """A held-out scene of so many items."""
    return lambda: draw_scene(0, "test", FIRST + index, SIDE, items).image


def photo(name: str) -> Callable[[], Pixels]:
    """A photograph of scikit-image's, its largest central square."""
    return lambda: centre_square(load_image(Path(data_dir) / name), SIDE)


def box(start: Point, end: Point) -> Callable[[Pixels], object]:
    """A filled box between two corners."""
    return lambda canvas: cv2.rectangle(canvas, start, end, 255, -1)


def ellipse(centre: Point, axes: Point) -> Callable[[Pixels], object]:
    """A filled ellipse of two half axes."""
    return lambda canvas: cv2.ellipse(canvas, centre, axes, 0, 0, 360, 255, -1)


def lasso(points: Sequence[Point]) -> Callable[[Pixels], object]:
    """A filled polygon."""
    return lambda canvas: cv2.fillPoly(canvas, [np.array(points, np.int32)], 255)


def brush(points: Sequence[Point], width: int) -> Callable[[Pixels], object]:
    """A stroke along a line."""
    return lambda canvas: cv2.polylines(canvas, [np.array(points, np.int32)], False, 255, width)


PICTURES = (
    Picture(
        "bricks",
        scene(59, 1),
        box((90, 58), (234, 212)),
        "a blue striped circle on the right on a teal brick background",
    ),
    Picture(
        "wood",
        scene(7, 1),
        ellipse((129, 128), (84, 80)),
        "a red plain diamond in the middle on a gray wooden background",
    ),
    Picture(
        "stripes",
        scene(7, 2),
        lasso([(136, 96), (176, 66), (216, 74), (244, 128), (238, 176), (200, 190), (148, 180), (130, 140)]),
        "a green striped circle on the left and a yellow plain square on the right on a brown striped background",
    ),
    Picture(
        "ramp",
        scene(31, 1),
        brush([(96, 44), (200, 84), (112, 132), (216, 158), (128, 206)], 26),
        "a blue striped circle on the right on a brown gradient background",
    ),
    Picture(
        "coffee",
        photo("coffee.png"),
        ellipse((122, 73), (77, 64)),
        "a purple checked circle at the top on a brown wooden background",
    ),
    Picture(
        "cat",
        photo("chelsea.png"),
        lasso([(44, 92), (58, 68), (86, 64), (112, 82), (122, 112), (108, 130), (76, 128), (52, 114)]),
        "the face of a brown tabby cat with green eyes",
    ),
)


def write_pictures(folder: Path) -> None:
    """Write images, masks and their list into a folder, in the form that `compare.custom` takes."""
    rows = []
    for picture in PICTURES:
        image, mask = f"images/{picture.name}.png", f"masks/{picture.name}.png"
        canvas = np.zeros((SIDE, SIDE), np.uint8)
        picture.draw(canvas)
        save_png(folder / image, picture.image())
        save_png(folder / mask, canvas)
        rows.append({"image": image, "mask": mask, "prompt": picture.prompt})
    (folder / LIST).write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """The files below the folder named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("assets/custom"))
    write_pictures(parser.parse_args().folder)


if __name__ == "__main__":
    main()
