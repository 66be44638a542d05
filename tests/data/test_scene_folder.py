"""The embedded scenes as a folder: reproducible, disjoint splits, and textures worth the method."""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from ecdm.data import files, scene_folder, textures
from ecdm.data.coco import load_image, read_split
from ecdm.data.engine import Engine
from ecdm.data.scene_folder import scene_id, write_scenes
from ecdm.data.scenes import SPLITS, draw_scene
from ecdm.numerics.frequency import spectral_share

COUNTS = {"train": 6, "validation": 5, "test": 5}
ALONE = Engine("local", 1)


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_two_processes_write_the_bytes_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "JOBS_PER_WORKER", 1)
    monkeypatch.setattr(files, "CHUNK", 1)
    monkeypatch.setattr(scene_folder, "PER_JOB", 1)
    for workers in (1, 2):
        write_scenes(tmp_path / str(workers), 3, 32, {"train": 6, "test": 2}, Engine("local", workers))
    one, two = digests(tmp_path / "1"), digests(tmp_path / "2")
    assert len(one) == 6 + 2 + 4
    assert one == two


def test_images_captions_and_descriptions_are_the_scenes(tmp_path: Path) -> None:
    write_scenes(tmp_path, 3, 32, COUNTS, ALONE)
    for split in SPLITS:
        images = read_split(tmp_path, split)
        shown = json.loads((tmp_path / "annotations" / f"scenes_{split}.json").read_text())
        assert [image.id for image in images] == [scene_id(split, index) for index in range(COUNTS[split])]
        for index, image in enumerate(images):
            scene = draw_scene(3, split, index, 32)
            assert np.array_equal(load_image(tmp_path / split / image.file_name), scene.image)
            assert image.captions == scene.captions
            assert shown[str(image.id)] == json.loads(json.dumps(scene.description()))


def test_splits_share_no_image_and_no_id(tmp_path: Path) -> None:
    write_scenes(tmp_path, 0, 32, {split: 40 for split in SPLITS}, ALONE)
    images = [hashlib.sha256(load_image(path).tobytes()).hexdigest() for path in tmp_path.rglob("*.png")]
    assert len(images) == len(set(images)) == 120
    ids = [image.id for split in SPLITS for image in read_split(tmp_path, split)]
    assert len(set(ids)) == 120


def test_a_longer_split_keeps_its_beginning(tmp_path: Path) -> None:
    write_scenes(tmp_path / "short", 0, 32, {"test": 2}, ALONE)
    write_scenes(tmp_path / "long", 0, 32, {"test": 3}, ALONE)
    short, long = digests(tmp_path / "short" / "test"), digests(tmp_path / "long" / "test")
    assert short.items() < long.items()


def test_the_seed_matters(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_scenes(tmp_path / str(seed), seed, 32, {"test": 2}, ALONE)
    first, second = (set(digests(tmp_path / str(seed) / "test").values()) for seed in (0, 1))
    assert not first & second


@pytest.mark.parametrize("split", SPLITS)
def test_photographed_textures_stay_in_the_columns_of_their_split(split: str, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = np.broadcast_to(np.arange(512, dtype=np.float32), (512, 512))
    monkeypatch.setattr(textures, "_photo", lambda name: columns)
    rng = np.random.default_rng(0)
    cut = [textures.photographed("brick")(rng, 128, split) for _ in range(200)]
    left, right = textures.PHOTO_COLUMNS[split]
    assert left <= min(patch.min() for patch in cut)
    assert max(patch.max() for patch in cut) <= right - 1


def test_columns_of_the_splits_do_not_overlap() -> None:
    spans = sorted(textures.PHOTO_COLUMNS[split] for split in SPLITS)
    assert all(left < right for left, right in spans)
    assert all(first[1] <= second[0] for first, second in pairwise(spans))


def test_half_of_the_power_is_texture() -> None:
    images = np.stack([draw_scene(0, "test", index, 128).image for index in range(96)])
    tensor = torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32) / 255)
    assert float(spectral_share(tensor, 4).mean()) >= 0.5
