"""Sources as COCO-captions folders: an odd COCO folder with exactly its rejects, seeded choices, and failures."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_case import CAPTIONS, SIDE, UNICODE, noise, plain_coco, write_modes, write_odd_coco
from pycocotools.coco import COCO
from source_case import settings

from ecdm.data import files
from ecdm.data.candidates import Candidate, Pool, caption_drawn, in_seeded_order
from ecdm.data.coco import captions_file, load_image, read_split
from ecdm.data.dataset import CaptionedFolder
from ecdm.data.engine import Engine
from ecdm.data.selection import Target, write_splits
from ecdm.data.sources import write_source
from ecdm.sections.data import Data

ROOT = Path(__file__).parents[2]
Digests = Callable[[Path], dict[str, str]]
LOCAL = Engine("local", 1)


def odd_settings(path: Path, **changes: Any) -> Data:
    return settings("coco", path, **{"rejects": 0.6, **changes})


def table(folder: Path, name: str) -> list[list[str]]:
    with (folder / "annotations" / name).open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, set[tuple[str, str, str]]]:
    """An odd COCO folder, what is made of it, and the rejects that its writer expects."""
    root = tmp_path_factory.mktemp("odd")
    expected = write_odd_coco(root / "coco")
    (root / "out").mkdir()
    write_source(root / "out", odd_settings(root / "coco"), 0, LOCAL)
    return root / "coco", root / "out", expected


def test_an_odd_folder_gives_exactly_the_expected_rejects(odd: tuple[Path, Path, set[tuple[str, str, str]]]) -> None:
    _, out, expected = odd
    header, *rows = table(out, "rejects.csv")
    assert header == ["split", "image", "reason"]
    assert rows == sorted(rows)
    # Which split an image would have gone to, the seed decides; entries that are no images are train's.
    assert {(image, reason) for _, image, reason in rows} == {(image, reason) for _, image, reason in expected}
    assert len(rows) == len(expected) == 22
    assert {split for split, _, _ in rows} <= {"train", "validation"}


def test_all_other_images_come_through_with_their_colours(
    odd: tuple[Path, Path, set[tuple[str, str, str]]], tmp_path: Path
) -> None:
    _, out, _ = odd
    shown = write_modes(tmp_path)
    header, *rows = table(out, "origins.csv")
    assert header == ["split", "id", "image"]
    drawn = {image: (split, int(number)) for split, number, image in rows if split != "test"}
    assert set(drawn) == {*shown, 'ünï 猫,"1".png'}
    assert sorted(split for split, _ in drawn.values()).count("validation") == 4
    for name, colours in shown.items():
        split, number = drawn[name]
        found = load_image(out / split / f"{number:012d}.png").astype(float)
        assert np.abs(found - colours).max() <= 2, name


def test_pycocotools_and_the_package_read_the_folder(odd: tuple[Path, Path, set[tuple[str, str, str]]]) -> None:
    _, out, _ = odd
    for split, count in (("train", 18), ("validation", 4), ("test", 3)):
        coco = COCO(str(captions_file(out, split)))
        images = read_split(out, split)
        assert sorted(coco.getImgIds()) == [image.id for image in images]
        assert len(images) == count
        for image in images:
            texts = [row["caption"] for row in coco.loadAnns(coco.getAnnIds(imgIds=[image.id]))]
            assert tuple(texts) == image.captions
            assert (coco.imgs[image.id]["width"], coco.imgs[image.id]["height"]) == (SIDE, SIDE)


def test_captions_are_all_kept_with_a_drawn_one_in_front(odd: tuple[Path, Path, set[tuple[str, str, str]]]) -> None:
    _, out, _ = odd
    images = [image for split in ("train", "validation", "test") for image in read_split(out, split)]
    whole = [image for image in images if len(image.captions) > 1]
    assert len(whole) == len(images) - 1
    assert {image.captions for image in images if len(image.captions) == 1} == {(UNICODE,)}
    by_annotation_id = tuple(caption.strip() for caption in reversed(CAPTIONS))
    for image in whole:
        rest = tuple(caption for caption in by_annotation_id if caption != image.captions[0])
        assert image.captions[1:] == rest
        assert image.captions == caption_drawn(by_annotation_id, 0, image.id)
    assert len({image.captions[0] for image in whole}) == 5


def test_workers_do_not_matter(
    odd: tuple[Path, Path, set[tuple[str, str, str]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    digests: Digests,
) -> None:
    source, out, _ = odd
    monkeypatch.setattr(files, "JOBS_PER_WORKER", 1)
    monkeypatch.setattr("ecdm.data.selection.PER_JOB", 5)
    write_source(tmp_path, odd_settings(source, workers=2), 0, Engine("local", 2))
    assert digests(tmp_path) == digests(out)


def test_shards_hold_the_training_images(
    odd: tuple[Path, Path, set[tuple[str, str, str]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out, _ = odd
    monkeypatch.setattr("ecdm.data.selection.PER_SHARD", 16)
    write_source(tmp_path, odd_settings(source, shards=True), 0, LOCAL)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["annotations", "test", "train-000000.tar", "train-000001.tar", "train-000002.tar", "validation"]
    loose, sharded = CaptionedFolder(out, "train"), CaptionedFolder(tmp_path, "train")
    assert loose.images == sharded.images
    for index in range(len(loose)):
        assert np.array_equal(loose[index].image, sharded[index].image)
    for name in ("captions_train.json", "origins.csv", "rejects.csv"):
        assert (tmp_path / "annotations" / name).read_bytes() == (out / "annotations" / name).read_bytes()


def test_too_many_rejects_are_counted_by_reason(
    odd: tuple[Path, Path, set[tuple[str, str, str]]], tmp_path: Path
) -> None:
    source, _, _ = odd
    share = 22 / (22 + 25)
    (tmp_path / "within").mkdir()
    write_source(tmp_path / "within", odd_settings(source, rejects=share + 1e-6), 0, LOCAL)
    (tmp_path / "past").mkdir()
    with pytest.raises(ValueError, match=r"^data\.rejects: found 22 rejects to 25 images") as caught:
        write_source(tmp_path / "past", odd_settings(source, rejects=share - 1e-6), 0, LOCAL)
    for part in ("a share of 0.4681", "expected 0.468084 at most", "5 × outside its folder", "3 × duplicate"):
        assert part in str(caught.value)


def test_splits_are_seeded_disjoint_and_keep_coco_ids(tmp_path: Path) -> None:
    source = plain_coco(tmp_path / "coco", 30, 12)
    chosen = []
    for name, seed, changes in (("a", 0, {}), ("b", 0, {"train": 9}), ("c", 1, {})):
        (tmp_path / name).mkdir()
        write_source(tmp_path / name, settings("coco", source, test=5, **changes), seed, LOCAL)
        splits = ("test", "validation", "train")
        chosen.append([{image.id for image in read_split(tmp_path / name, split)} for split in splits])
    first, fewer, other = chosen
    assert [len(ids) for ids in first] == [5, 4, 26]
    assert first[0] < set(range(1, 13))
    assert first[1] | first[2] == set(range(100, 130))
    assert not first[1] & first[2]
    assert fewer[:2] == first[:2]
    assert len(fewer[2]) == 9
    assert fewer[2] < first[2]
    assert other[0] != first[0]
    assert other[1] != first[1]
    for number in first[0]:
        assert np.array_equal(load_image(tmp_path / "a" / "test" / f"{number:012d}.png"), noise(number))
    assert table(tmp_path / "a", "rejects.csv") == [["split", "image", "reason"]]


def test_a_rejected_image_is_replaced_by_the_next_one(tmp_path: Path) -> None:
    source = plain_coco(tmp_path / "coco", 12, 3)
    (tmp_path / "before").mkdir()
    write_source(tmp_path / "before", odd_settings(source, train=3), 0, LOCAL)
    before = [{image.id for image in read_split(tmp_path / "before", split)} for split in ("validation", "train")]
    gone = min(before[0])
    (source / "train2017" / f"{gone:012d}.png").unlink()
    (tmp_path / "after").mkdir()
    write_source(tmp_path / "after", odd_settings(source, train=3, rejects=0.1), 0, LOCAL)
    after = [{image.id for image in read_split(tmp_path / "after", split)} for split in ("validation", "train")]
    assert [len(ids) for ids in after] == [4, 3]
    assert before[0] - after[0] == {gone}
    assert len(before[1] - after[1]) <= 1
    assert table(tmp_path / "after", "rejects.csv")[1:] == [["validation", f"{gone:012d}.png", "missing file"]]


def test_a_split_that_cannot_be_filled_is_named(tmp_path: Path) -> None:
    source = plain_coco(tmp_path / "coco", 8, 3)
    for changes, message in (
        ({"test": 4}, r"val2017: split test: found 3 images .* expected 4"),
        ({"validation": 9}, r"train2017: split validation: found 8 images .* expected 9"),
        ({"train": 5}, r"train2017: split train: found 4 images .* expected 5"),
        ({"validation": 8}, r"train2017: split train: found 0 images .* expected 1"),
    ):
        with pytest.raises(ValueError, match=message):
            write_source(tmp_path, odd_settings(source, **changes), 0, LOCAL)


def test_one_image_more_leaves_the_order_of_the_others() -> None:
    few = [Candidate(number, f"{number}.png", ("x",)) for number in range(50)]
    many = [*few, *(Candidate(number, f"{number}.png", ("x",)) for number in range(50, 60))]
    order = in_seeded_order(few, 3)
    assert [one for one in in_seeded_order(reversed(many), 3) if one in few] == order
    assert order != few
    assert order != in_seeded_order(few, 4)


def test_too_many_rejects_end_the_work_as_soon_as_nothing_can_help(tmp_path: Path) -> None:
    asked: list[int] = []
    bad = [Candidate(number, f"{number}.png", (), "no caption") for number in range(100)]
    pool = Pool(tmp_path, ("test", "train"), bad, fetch=lambda names: asked.append(len(names)))
    target = Target(tmp_path, {"test": 10, "train": 10}, SIDE, 8, False, 0.3)
    with pytest.raises(ValueError, match=r"found 10 rejects to 20 images, a share of 0\.3333, expected 0\.3 at most"):
        write_splits([pool], target, 0, LOCAL)
    assert asked == [0]
    with pytest.raises(ValueError, match="found 20 rejects to 20 images"):
        write_splits([pool], replace(target, rejects=0.4), 0, LOCAL)


BAD: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "images missing": (lambda c: c.pop("images"), r"captions_train2017\.json: images: .*expected Field required"),
    "id is text": (lambda c: c["images"][0].update(id="7"), r"images\.0\.id: found '7', expected a valid integer"),
    "id below 0": (lambda c: c["images"][0].update(id=-1), r"images\.0\.id: found '-1', expected greater than"),
    "no file_name": (lambda c: c["images"][0].pop("file_name"), r"images\.0\.file_name: .*expected Field required"),
    "caption is null": (lambda c: c["annotations"][2].update(caption=None), r"annotations\.2\.caption: found 'None'"),
}


@pytest.mark.parametrize("name", BAD)
def test_captions_of_another_form_are_named(tmp_path: Path, name: str) -> None:
    change, message = BAD[name]
    source = plain_coco(tmp_path / "coco", 8, 3)
    path = source / "annotations" / "captions_train2017.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        write_source(tmp_path, odd_settings(source), 0, LOCAL)


def test_what_is_missing_is_named_with_the_way_to_get_it(tmp_path: Path) -> None:
    source = plain_coco(tmp_path / "coco", 2, 2)
    (source / "val2017").rename(source / "val2014")
    (source / "annotations" / "captions_train2017.json").unlink()
    message = r"coco: missing val2017, annotations/captions_train2017\.json, .*data\.download: true"
    with pytest.raises(FileNotFoundError, match=message):
        write_source(tmp_path, odd_settings(source), 0, LOCAL)


def test_the_stage_prepares_another_source_or_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_params: Any, load_stage: Any
) -> None:
    plain_coco(tmp_path / "raw", 8, 3)
    monkeypatch.chdir(tmp_path)
    values = {"source": "coco", "path": "raw", "train": None, "validation": 2, "test": 3, "smallest": 16}
    write_params(tmp_path, data=values)
    load_stage("prepare").main()
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["coco", "objects", "photos", "shifted"]
    assert len(read_split(tmp_path / "data" / "coco", "train")) == 6
    (tmp_path / "raw" / "val2017" / f"{1:012d}.png").write_text("no image")
    for path in (tmp_path / "data").iterdir():
        path.rename(tmp_path / path.name)
    with pytest.raises(ValueError, match=r"data\.rejects: found 1 rejects"):
        load_stage("prepare").main()
    assert list((tmp_path / "data").iterdir()) == []
