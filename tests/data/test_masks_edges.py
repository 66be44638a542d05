"""Masks and edges per image: keyed by the image alone, as large as the image, errors by parameter name."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ecdm.data import files
from ecdm.data.coco import CaptionedImage, load_image, write_split
from ecdm.data.edges import write_edges
from ecdm.data.engine import Engine
from ecdm.data.files import png_name, save_png
from ecdm.data.masks import write_masks

BUCKETS = ["10-20", "50-60", "wide", "narrow"]
ALONE, PAIR = Engine("local", 1), Engine("local", 2)


def make(folder: Path, ids: list[int]) -> Path:
    for image_id in ids:
        pixels = np.random.default_rng(image_id).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        save_png(folder / "test" / f"{image_id}.png", np.asarray(cv2.GaussianBlur(pixels, (0, 0), 2), np.uint8))
    write_split(folder, "test", [CaptionedImage(image_id, f"{image_id}.png", ("x",)) for image_id in ids])
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}


def test_masks_fill_their_buckets_at_the_size_of_their_image(tmp_path: Path) -> None:
    write_masks(make(tmp_path / "data", [1, 2, 3]), "test", "scenes", BUCKETS, tmp_path / "m", 0, ALONE)
    assert set(contents(tmp_path / "m")) == {f"{b}/{png_name(i)}" for b in BUCKETS for i in (1, 2, 3)}
    for bucket, bounds in (("10-20", (0.1, 0.2)), ("50-60", (0.5, 0.6))):
        for path in (tmp_path / "m" / bucket).iterdir():
            mask = np.array(Image.open(path))
            assert mask.shape == (48, 64)
            assert set(np.unique(mask)) == {0, 255}
            assert bounds[0] <= (mask == 255).mean() <= bounds[1]


def test_a_mask_depends_on_seed_name_image_and_bucket_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "JOBS_PER_WORKER", 1)
    monkeypatch.setattr(files, "CHUNK", 1)
    few, many = make(tmp_path / "few", [2]), make(tmp_path / "many", [1, 2, 3])
    write_masks(few, "test", "scenes", BUCKETS, tmp_path / "one", 0, ALONE)
    write_masks(many, "test", "scenes", BUCKETS[::-1], tmp_path / "two", 0, PAIR)
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert len(one) == 4
    assert one.items() < two.items()
    assert len(set(two.values())) == 12


@pytest.mark.parametrize(("name", "seed"), [("scenes", 1), ("photos", 0)])
def test_another_seed_or_dataset_draws_other_masks(tmp_path: Path, name: str, seed: int) -> None:
    data = make(tmp_path / "data", [1])
    write_masks(data, "test", "scenes", BUCKETS, tmp_path / "one", 0, ALONE)
    write_masks(data, "test", name, BUCKETS, tmp_path / "two", seed, ALONE)
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert one.keys() == two.keys()
    assert all(one[key] != two[key] for key in one)


def test_a_bucket_that_no_mask_fills_names_the_parameter(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    save_png(folder / "test" / "a.png", np.zeros((8, 8, 3), np.uint8))
    write_split(folder, "test", [CaptionedImage(1, "a.png", ("x",))])
    with pytest.raises(ValueError, match=r"^masks\.buckets: '0-1' cannot be filled: "):
        write_masks(folder, "test", "scenes", ["0-1"], tmp_path / "m", 0, ALONE)


def test_edges_are_those_of_opencv_on_the_gray_image(tmp_path: Path) -> None:
    data = make(tmp_path / "data", [1, 2])
    write_edges(data, "test", tmp_path / "edges", 40, 90, ALONE)
    assert set(contents(tmp_path / "edges")) == {f"test/{png_name(i)}" for i in (1, 2)}
    gray = cv2.cvtColor(load_image(data / "test" / "2.png"), cv2.COLOR_RGB2GRAY)
    found = np.array(Image.open(tmp_path / "edges" / "test" / png_name(2)))
    assert 0 < (found == 255).mean() < 0.5
    assert np.array_equal(found, cv2.Canny(gray, 40, 90))
