"""The COCO-captions folder: what is written reads back, here and in pycocotools; bad content is named."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from ecdm.data import coco
from ecdm.data.coco import CaptionedImage, captions_file, load_image, load_like, read_split, write_split
from ecdm.data.files import save_png

Content = dict[str, Any]


def pixels(height: int = 6, width: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = [
        CaptionedImage(12, "b.png", ("zwei Kreise: ○ ○",)),
        CaptionedImage(7, "a.png", ("a red circle", "another caption")),
    ]
    save_png(tmp_path / "val2017" / "a.png", pixels())
    save_png(tmp_path / "val2017" / "b.png", pixels(5, 9))
    write_split(tmp_path, "val2017", images)
    return tmp_path


def edited(folder: Path, change: Callable[[Content], None]) -> Path:
    path = captions_file(folder, "val2017")
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_round_trip_is_sorted_by_id_and_keeps_caption_order(folder: Path) -> None:
    assert read_split(folder, "val2017") == [
        CaptionedImage(7, "a.png", ("a red circle", "another caption")),
        CaptionedImage(12, "b.png", ("zwei Kreise: ○ ○",)),
    ]


def test_pycocotools_reads_what_is_written(folder: Path) -> None:
    coco = COCO(str(captions_file(folder, "val2017")))
    assert sorted(coco.getImgIds()) == [7, 12]
    image = coco.loadImgs(12)[0]
    assert (image["file_name"], image["width"], image["height"]) == ("b.png", 9, 5)
    captions = [row["caption"] for row in coco.loadAnns(coco.getAnnIds(imgIds=[7]))]
    assert captions == ["a red circle", "another caption"]


def test_captions_follow_annotation_ids_and_blank_ones_do_not_count(folder: Path) -> None:
    def change(content: Content) -> None:
        content["annotations"] = [
            {"id": 9, "image_id": 7, "caption": " later\n"},
            {"id": 3, "image_id": 7, "caption": "earlier"},
            {"id": 4, "image_id": 7, "caption": "  "},
            {"id": 5, "image_id": 12, "caption": "other"},
        ]

    edited(folder, change)
    assert [image.captions for image in read_split(folder, "val2017")] == [("earlier", "later"), ("other",)]


def _drop_captions(content: Content) -> None:
    content["annotations"] = [row for row in content["annotations"] if row["image_id"] != 12]


BAD: dict[str, tuple[Callable[[Content], None], str]] = {
    "no caption for one image": (_drop_captions, "image id 12: found no captions"),
    "blank captions only": (
        lambda c: c.update(annotations=[{**row, "caption": " "} for row in c["annotations"]]),
        "image id 7: found no captions",
    ),
    "no captions at all": (lambda c: c.update(annotations=[]), "found no captions"),
    "no annotations key": (lambda c: c.pop("annotations") and None, "annotations: found nothing"),
    "no images": (lambda c: c.update(images=[]), "images: found none"),
    "images not a list": (lambda c: c.update(images={}), "images: found a dict"),
    "unknown image": (lambda c: c["annotations"][0].update(image_id=99), "image_id 99"),
    "image twice": (lambda c: c["images"].append(c["images"][0]), "image id 7: found twice"),
    "annotation twice": (
        lambda c: c["annotations"].append(c["annotations"][0]),
        "annotation id 1: found twice",
    ),
    "id as text": (lambda c: c["images"][0].update(id="7"), "id: found '7'"),
    "id missing": (lambda c: c["images"][0].pop("id") and None, "id: found None"),
    "caption not text": (lambda c: c["annotations"][0].update(caption=None), "caption: found None"),
    "climbing out": (lambda c: c["images"][0].update(file_name="../a.png"), "image id 7: file_name"),
    "climbing inside": (lambda c: c["images"][0].update(file_name="x/../../a.png"), "image id 7: file_name"),
    "absolute": (lambda c: c["images"][0].update(file_name="/etc/passwd"), "image id 7: file_name"),
    "backslashes": (lambda c: c["images"][0].update(file_name="..\\a.png"), "image id 7: file_name"),
    "file not there": (lambda c: c["images"][0].update(file_name="c.png"), "c.png: no such file"),
    "file name empty": (lambda c: c["images"][0].update(file_name=""), "image id 7"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_content_is_refused_with_file_and_key(folder: Path, name: str) -> None:
    change, message = BAD[name]
    path = edited(folder, change)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        read_split(folder, "val2017")
    assert str(path) in str(caught.value)


def test_other_text_is_refused(folder: Path) -> None:
    path = captions_file(folder, "val2017")
    for text, message in (("{", "not valid JSON"), ("[]", "found a list")):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_split(folder, "val2017")


def test_a_missing_captions_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"captions_test\.json"):
        read_split(tmp_path, "test")


def test_files_linked_to_a_cache_outside_are_inside(folder: Path, tmp_path: Path) -> None:
    inside, outside = folder / "val2017" / "a.png", tmp_path / "cache"
    inside.rename(outside)
    inside.symlink_to(outside)
    assert len(read_split(folder, "val2017")) == 2


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "found no images"),
        ([CaptionedImage(1, "a.png", ())], "image id 1: found no captions"),
        ([CaptionedImage(1, "a.png", ("x",))] * 2, "image id 1: found twice"),
        ([CaptionedImage(1, "none.png", ("x",))], r"none\.png"),
        ([CaptionedImage(1, "../test/a.png", ("x",))], r"file_name '\.\./test/a\.png': expected a path inside"),
    ],
)
@pytest.mark.parametrize("side", [None, 6])
def test_a_bad_split_is_not_written(
    tmp_path: Path, images: list[CaptionedImage], message: str, side: int | None
) -> None:
    save_png(tmp_path / "test" / "a.png", pixels())
    with pytest.raises(ValueError, match=message):
        write_split(tmp_path, "test", images, side)
    assert not captions_file(tmp_path, "test").exists()


def test_squares_of_a_known_side_are_not_read_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [CaptionedImage(1, "a.png", ("x",))]
    save_png(tmp_path / "test" / "a.png", pixels(6, 6))
    write_split(tmp_path, "test", images)
    expected = captions_file(tmp_path, "test").read_bytes()
    monkeypatch.delattr(coco, "image_size")
    write_split(tmp_path, "test", images, 6)
    assert captions_file(tmp_path, "test").read_bytes() == expected


def test_load_image_gives_the_pixels(tmp_path: Path) -> None:
    save_png(tmp_path / "a.png", pixels())
    assert np.array_equal(load_image(tmp_path / "a.png"), pixels())


def test_load_like_takes_only_a_picture_of_the_others_size(tmp_path: Path) -> None:
    save_png(tmp_path / "a.png", pixels())
    assert np.array_equal(load_like(tmp_path / "a.png", pixels(seed=1)), pixels())
    with pytest.raises(ValueError, match=r"a\.png: found 4x6 px, expected 6x4 as its ground truth"):
        load_like(tmp_path / "a.png", pixels(4, 6))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_load_image_converts_eight_bit_modes(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.fromarray(pixels()).convert(mode).save(path)
    image = load_image(path)
    assert image.shape == (6, 4, 3)
    assert image.dtype == np.uint8


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_load_image_refuses_16_bit_colours(tmp_path: Path, channels: int, ending: str) -> None:
    path = tmp_path / f"deep.{ending}"
    cv2.imwrite(str(path), np.full((4, 4, channels), 40000, np.uint16))
    with pytest.raises(ValueError, match=r"deep\.\w+: found pixels of mode RGBA?;16., expected 8 bits per channel"):
        load_image(path)


def test_unreadable_images_are_named(tmp_path: Path) -> None:
    save_png(tmp_path / "whole.png", pixels(64, 64))
    whole = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "head.png").write_bytes(whole[:20])
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.png").write_bytes(b"")
    Image.fromarray(np.full((4, 4), 40000, np.uint16)).save(tmp_path / "deep.png")
    for name in ("cut", "head", "text", "empty", "deep", "missing"):
        with pytest.raises(ValueError, match=rf"{name}\.png"):
            load_image(tmp_path / f"{name}.png")
