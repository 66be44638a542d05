"""Open Images with Localized Narratives: read from a folder or fetched, image by image as they are drawn."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_case import noise
from PIL import Image
from source_case import settings
from web_case import Web, web

from ecdm.data import download, openimages
from ecdm.data.coco import load_image, read_split
from ecdm.data.engine import Engine
from ecdm.data.openimages import openimages_pools
from ecdm.data.sources import write_second, write_source
from ecdm.sections.data import Data

VALIDATION = {f"{number:016x}": number for number in range(1, 9)}
TRAIN = {f"f{number:015x}": number for number in range(20, 40)}
LARGE = "open_images_train_v6_localized_narratives-0000{}-of-00010.jsonl"


def narratives(images: Mapping[str, int], **more: Any) -> str:
    rows = [{"image_id": image, "caption": f"caption of {number}. ", **more} for image, number in images.items()]
    return "".join(json.dumps(row) + "\n" for row in rows)


def jpeg(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(noise(number)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """All validation images, half of the train images, and one that has no captions."""
    path = tmp_path / "images"
    for name, images in (("validation", VALIDATION), ("train", dict(list(TRAIN.items())[:10]))):
        (path / name).mkdir(parents=True)
        for image, number in images.items():
            (path / name / f"{image}.jpg").write_bytes(jpeg(number))
    (path / "train" / "ffffffffffffffff.jpg").write_bytes(jpeg(0))
    (path / "open_images_validation_captions.jsonl").write_text(narratives(VALIDATION))
    first, second = dict(list(TRAIN.items())[:7]), dict(list(TRAIN.items())[7:])
    (path / LARGE.format(0)).write_text(narratives(first, annotator_id=3, traces=[[{"x": 0.5, "y": 0.5, "t": 0.1}]]))
    (path / LARGE.format(1)).write_text(narratives(second, voice_recording="x.ogg"))
    return path


def written(out: Path, data: Data) -> dict[str, dict[str, tuple[int, tuple[str, ...]]]]:
    """Split → the source's image id → id and captions."""
    out.mkdir()
    write_source(out, data, 0, Engine("local", 1))
    rows = (out / "annotations" / "origins.csv").read_text().splitlines()[1:]
    names = {int(number): image.removesuffix(".jpg") for _, number, image in (row.split(",") for row in rows)}
    return {
        split: {names[image.id]: (image.id, image.captions) for image in read_split(out, split)}
        for split in ("test", "validation", "train")
    }


def test_splits_come_from_the_images_that_are_there(folder: Path, tmp_path: Path) -> None:
    found = written(tmp_path / "out", settings("openimages", folder))
    assert set(found["test"]) < set(VALIDATION)
    assert {*found["validation"], *found["train"]} == set(list(TRAIN)[:10])
    assert [len(found[split]) for split in ("test", "validation", "train")] == [3, 4, 6]
    ranks = {image: rank for rank, image in enumerate(sorted({*VALIDATION, *TRAIN}), start=1)}
    for images in found.values():
        for image, (number, captions) in images.items():
            assert number == ranks[image]
            assert captions == (f"caption of {({**VALIDATION, **TRAIN})[image]}.",)


def test_several_narratives_of_an_image_are_its_captions(folder: Path) -> None:
    path = folder / "open_images_validation_captions.jsonl"
    again = "".join(json.dumps({"image_id": image, "caption": f" {n}"}) + "\n" for image in VALIDATION for n in "abc")
    path.write_text(narratives(VALIDATION) + again)
    pool, _ = openimages_pools(folder, 0, False)
    for one in pool.candidates:
        number = VALIDATION[one.name.removesuffix(".jpg")]
        assert sorted(one.captions) == ["a", "b", "c", f"caption of {number}."]
    assert len({one.captions[0] for one in pool.candidates if len(one.captions[0]) == 1}) > 1


def test_an_image_of_both_lists_stays_with_the_test_images(folder: Path) -> None:
    shared = dict(list(VALIDATION.items())[:2])
    with (folder / LARGE.format(0)).open("a") as file:
        file.write(narratives(shared))
    for image in shared:
        (folder / "train" / f"{image}.jpg").write_bytes(jpeg(0))
    pools = openimages_pools(folder, 0, False)
    assert [len(pool.candidates) for pool in pools] == [8, 10]


def test_test_images_alone_need_nothing_of_train(folder: Path) -> None:
    (folder / "train").rename(folder / "elsewhere")
    (folder / LARGE.format(0)).write_text("broken")
    (pool,) = openimages_pools(folder, 0, False, ("test",))
    assert pool.splits == ("test",)
    assert [one.id for one in pool.candidates] == list(range(1, 9))
    assert {one.name for one in pool.candidates} == {f"{image}.jpg" for image in VALIDATION}


def test_rejects_of_the_lists_and_of_the_files(folder: Path, tmp_path: Path) -> None:
    with (folder / "open_images_validation_captions.jsonl").open("a") as file:
        file.write(narratives({"../../climbing": 0, "00000000000000aa": 0}))
        file.write(json.dumps({"image_id": "00000000000000bb", "caption": " "}) + "\n")
    found = written(tmp_path / "out", settings("openimages", folder, test=8, rejects=0.5))
    assert set(found["test"]) == set(VALIDATION)
    expected = {
        "test,../../climbing.jpg,outside its folder",
        "test,00000000000000aa.jpg,missing file",
        "test,00000000000000bb.jpg,no caption",
    }
    rows = (tmp_path / "out" / "annotations" / "rejects.csv").read_text().splitlines()[1:]
    assert set(rows) <= expected


def test_what_is_missing_and_bad_lines_are_named(folder: Path) -> None:
    for name in ("validation", "train"):
        (folder / name).rename(folder / f"{name}_")
    (folder / "open_images_validation_captions.jsonl").unlink()
    message = r"missing validation, train, open_images_validation_captions\.jsonl or .*data\.download: true fetches it"
    with pytest.raises(FileNotFoundError, match=message):
        openimages_pools(folder, 0, False)
    (folder / "open_images_validation_localized_narratives.jsonl").write_text('\n{"image_id": 3, "caption": "x"}\n')
    with pytest.raises(ValueError, match=r"validation_localized_narratives\.jsonl: line 2: image_id: found '3'"):
        openimages_pools(folder, 0, False)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setattr(download, "PAUSE", 0.001)
    with web() as state:
        for name in ("CAPTIONS", "IMAGES"):
            monkeypatch.setattr(openimages, name, f"{state.address}/{name}")
        for name, images in (("validation", VALIDATION), ("train", TRAIN)):
            state.files[f"/CAPTIONS/{openimages.FILES[name][0]}"] = narratives(images).encode()
            state.files.update({f"/IMAGES/{name}/{image}.jpg": jpeg(number) for image, number in images.items()})
        yield state


def test_of_a_second_set_test_captions_and_images_alone_are_fetched(site: Web, tmp_path: Path) -> None:
    place = {"source": "openimages", "path": str(tmp_path / "raw"), "download": True, "test": 4}
    (tmp_path / "out").mkdir()
    write_second(tmp_path / "out", settings("scenes", None, train=5, second=place), 0, Engine("local", 1))
    assert len(site.asked) == 1 + 4
    assert not any("train" in path for path in map(str, site.asked))
    assert len(read_split(tmp_path / "out", "test")) == 4


def test_captions_and_only_the_drawn_images_are_fetched(site: Web, tmp_path: Path) -> None:
    first = next(
        iter(written(tmp_path / "once", settings("openimages", tmp_path / "raw", download=True, train=5))["test"])
    )
    assert len(site.asked) == 2 + 3 + 4 + 5
    assert {path.name for path in (tmp_path / "raw" / "validation").iterdir()} > {f"{first}.jpg"}
    del site.files[f"/IMAGES/validation/{first}.jpg"]
    again = settings("openimages", tmp_path / "new", download=True, train=5, rejects=0.1)
    found = written(tmp_path / "again", again)
    assert [len(found[split]) for split in ("test", "validation", "train")] == [3, 4, 5]
    assert first not in found["test"]
    rows = (tmp_path / "again" / "annotations" / "rejects.csv").read_text().splitlines()[1:]
    assert rows == [f"test,{first}.jpg,missing file"]
    image, (number, _) = next(iter(found["train"].items()))
    stored = load_image(tmp_path / "again" / "train" / f"{number:012d}.png")
    assert np.array_equal(stored, np.asarray(Image.open(io.BytesIO(jpeg(TRAIN[image])))))
