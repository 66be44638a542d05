"""Single items behind holes: the whole item is hidden, nothing is shared with the test images."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ecdm.data.coco import load_image, read_split
from ecdm.data.engine import Engine
from ecdm.data.files import png_name
from ecdm.data.objects import object_hole, object_scene, write_object_masks, write_objects
from ecdm.data.scene_folder import write_scenes
from ecdm.data.scenes import Item, _coverage

ALONE = Engine("local", 1)


def test_the_folder_holds_scenes_of_one_item(tmp_path: Path) -> None:
    write_objects(tmp_path, 3, 32, 4, ALONE)
    shown = json.loads((tmp_path / "annotations" / "scenes_test.json").read_text())
    images = read_split(tmp_path, "test")
    assert len(images) == len(shown) == 4
    for index, image in enumerate(images):
        scene = object_scene(3, index, 32)
        assert len(scene.items) == 1
        assert np.array_equal(load_image(tmp_path / "test" / image.file_name), scene.image)
        assert shown[str(image.id)]["items"] == [json.loads(json.dumps(scene.description()))["items"][0]]
        assert all(scene.items[0].phrase in caption for caption in image.captions)


def test_no_image_and_no_id_is_that_of_a_test_image(tmp_path: Path) -> None:
    write_scenes(tmp_path / "scenes", 0, 32, {"train": 12, "test": 12}, ALONE)
    write_objects(tmp_path / "objects", 0, 32, 12, ALONE)
    images = [load_image(path).tobytes() for path in tmp_path.rglob("*.png")]
    assert len(images) == len(set(images)) == 36
    ids = [image.id for image in read_split(tmp_path / "objects", "test")]
    assert min(ids) == 301_000_000
    assert set(ids).isdisjoint(image.id for image in read_split(tmp_path / "scenes", "test"))


@pytest.mark.parametrize("size", [32, 128, 512])
def test_a_hole_hides_the_whole_item_and_a_margin(size: int) -> None:
    for index in range(30):
        (item,) = object_scene(0, index, 32).items
        hole = object_hole(item.centre, item.radius, size)
        covered = _coverage(item, size) > 0
        # A cross reaches a little beyond its radius, which takes a part of the margin.
        around = cv2.dilate(covered.astype(np.uint8), np.ones((2 * (size // 64) + 1,) * 2, np.uint8)) > 0
        assert hole[around].all()
        assert 0.2 < hole.mean() < 0.6


def test_a_hole_is_a_square_around_the_centre() -> None:
    item = Item("circle", "red", "plain", (0.25, 0.5), 0.125, 0.0)
    hole = object_hole(item.centre, item.radius, 64)
    rows, columns = np.nonzero(hole)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20, 43, 4, 27)
    assert hole.sum() == 24 * 24


def test_masks_are_the_holes_of_the_images(tmp_path: Path) -> None:
    write_objects(tmp_path / "objects", 0, 64, 5, ALONE)
    write_object_masks(tmp_path / "objects", tmp_path / "masks")
    images = read_split(tmp_path / "objects", "test")
    assert {path.name for path in (tmp_path / "masks").iterdir()} == {png_name(image.id) for image in images}
    for index, image in enumerate(images):
        (item,) = object_scene(0, index, 64).items
        mask = np.array(Image.open(tmp_path / "masks" / png_name(image.id)))
        assert mask.dtype == np.uint8
        assert np.array_equal(mask, object_hole(item.centre, item.radius, 64) * np.uint8(255))


def test_an_image_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    write_objects(tmp_path, 0, 32, 2, ALONE)
    path = tmp_path / "test" / png_name(301_000_001)
    path.write_text("no image")
    with pytest.raises(ValueError, match=path.name):
        write_object_masks(tmp_path, tmp_path / "masks")
