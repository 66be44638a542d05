"""A team's own images: captions of all forms, folders as splits or one folder for all, and faults by name."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_case import noise
from PIL import Image
from pycocotools.coco import COCO
from source_case import settings

from ecdm.data.coco import captions_file, load_image, read_split
from ecdm.data.engine import Engine
from ecdm.data.own_folder import folder_pools
from ecdm.data.sources import write_source

Offered = dict[str, tuple[tuple[str, ...], str | None]]


def images(folder: Path, *names: str) -> None:
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(seed)).save(folder / name)


def offered(folder: Path) -> Offered:
    """Name → captions and flaw of a folder's only pool."""
    (pool,) = folder_pools(folder)
    return {one.name: (one.captions, one.flaw) for one in pool.candidates}


def test_captions_beside_images_one_per_line(tmp_path: Path) -> None:
    images(tmp_path, "a.jpg", "deep/ä.PNG", "silent.webp", "blank.jpg", ".hidden.jpg", "._a.jpg")
    (tmp_path / "a.txt").write_text(" first \n\nsecond\n", encoding="utf-8")
    (tmp_path / "deep" / "ä.txt").write_bytes(b"\xef\xbb\xbf" + "Straße – 街".encode())
    (tmp_path / "blank.txt").write_text(" \n")
    (tmp_path / "notes.txt").write_text("of no image")
    assert offered(tmp_path) == {
        "a.jpg": (("first", "second"), None),
        "blank.jpg": ((), "no caption"),
        "deep/ä.PNG": (("Straße – 街",), None),
        "silent.webp": ((), "no caption"),
    }


def test_metadata_as_json_lines(tmp_path: Path) -> None:
    images(tmp_path, "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    rows = [
        {"file_name": "a.jpg", "text": "one", "licence": 3},
        {"file_name": "./b.jpg", "caption": ["two", " three ", ""]},
        {"file_name": "c.jpg", "captions": ["four"], "text": None},
        {"file_name": "a.jpg", "text": "five"},
        {"file_name": "gone.jpg", "text": "six"},
    ]
    lines = "\n".join(json.dumps(row) for row in rows)
    (tmp_path / "metadata.jsonl").write_text(f"\ufeff{lines}\n\n", encoding="utf-8")
    (tmp_path / "d.txt").write_text("not read beside metadata")
    assert offered(tmp_path) == {
        "a.jpg": (("one", "five"), None),
        "b.jpg": (("two", "three"), None),
        "c.jpg": (("four",), None),
        "d.jpg": ((), "no caption"),
        "gone.jpg": (("six",), None),
    }


def test_metadata_as_csv(tmp_path: Path) -> None:
    images(tmp_path, "a.jpg", "b.jpg")
    text = 'file_name,text,tags\na.jpg,"with, comma and ""quotes""",x\nb.jpg,two\u2028lines,y\na.jpg,another,z\n'
    (tmp_path / "metadata.csv").write_text(f"\ufeff{text}", encoding="utf-8")
    assert offered(tmp_path) == {
        "a.jpg": (('with, comma and "quotes"', "another"), None),
        "b.jpg": (("two\u2028lines",), None),
    }


def test_folders_of_splits_and_ids_over_all(tmp_path: Path) -> None:
    images(tmp_path, "train/a.jpg", "train/b.jpg", "val/a.jpg", "test/a.jpg", "loose.jpg")
    pools = folder_pools(tmp_path)
    assert [(pool.root.name, pool.splits) for pool in pools] == [
        ("test", ("test",)),
        ("val", ("validation",)),
        ("train", ("train",)),
    ]
    ids = {f"{pool.root.name}/{one.name}": one.id for pool in pools for one in pool.candidates}
    assert ids == {"test/a.jpg": 1, "train/a.jpg": 2, "train/b.jpg": 3, "val/a.jpg": 4}


def test_a_split_without_a_folder_is_drawn_out_of_train(tmp_path: Path) -> None:
    images(tmp_path / "some", "train/a.jpg", "test/a.jpg")
    assert [pool.splits for pool in folder_pools(tmp_path / "some")] == [("test",), ("validation", "train")]
    images(tmp_path / "one", "a.jpg")
    assert [pool.splits for pool in folder_pools(tmp_path / "one")] == [("test", "validation", "train")]


def test_test_images_alone_need_no_folder_train(tmp_path: Path) -> None:
    """Of a folder `test`, of train's images where there is none, or of all in one folder; the others are not read."""
    images(tmp_path / "own", "test/a.jpg", "val/b.jpg")
    images(tmp_path / "train", "train/a.jpg")
    images(tmp_path / "one", "a.jpg")
    (tmp_path / "own" / "val" / "metadata.csv").write_text("broken")
    for name, root in (("own", "test"), ("train", "train"), ("one", "one")):
        (pool,) = folder_pools(tmp_path / name, ("test",))
        assert (pool.root.name, pool.splits) == (root, ("test",))
        assert [(one.id, one.name) for one in pool.candidates] == [(1, "a.jpg")]
    with pytest.raises(ValueError, match=r"^data\.second\.path: .*found test, validation, expected train beside"):
        folder_pools(tmp_path / "own", ("test", "train"), "data.second")


def _write(name: str, text: str) -> Any:
    return lambda folder: (folder / name).write_text(text)


BAD = {
    "both kinds": (
        lambda folder: [(folder / f"metadata.{end}").write_text("") for end in ("jsonl", "csv")],
        r"found metadata\.jsonl and metadata\.csv, expected one",
    ),
    "not JSON": (_write("metadata.jsonl", '{"file_name": "a.jpg"}\n{'), r"metadata\.jsonl: line 2: found .*JSON"),
    "no file_name": (_write("metadata.jsonl", '{"text": "x"}'), r"line 1: file_name: .* expected Field required"),
    "caption a number": (
        _write("metadata.jsonl", '{"file_name": "a.jpg", "text": 3}'),
        r"line 1: text\.\S+: found '3'",
    ),
    "other columns": (_write("metadata.csv", "file,text\na.jpg,x\n"), r"found columns file, text, expected file_name"),
    "no captions": (_write("metadata.csv", "file_name\na.jpg\n"), r"expected file_name and text or caption"),
    "comma unquoted": (_write("metadata.csv", "file_name,text\na.jpg,x, y\n"), r"line 2: expected 2 cells"),
    "cell missing": (_write("metadata.csv", "file_name,text\na.jpg\n"), r"line 2: expected 2 cells"),
    "other encoding": (lambda folder: (folder / "metadata.csv").write_bytes(b"file_name,text\n\xff,x\n"), "utf-8"),
    "caption's encoding": (lambda folder: (folder / "a.txt").write_bytes(b"\xff"), r"a\.txt: expected UTF-8 text"),
    "test without train": (lambda folder: (folder / "test").mkdir(), "found test, expected train beside"),
    "two names": (lambda folder: [(folder / n).mkdir() for n in ("val", "validation")], "validation and val, expected"),
    "metadata above": (
        lambda folder: [(folder / "train").mkdir(), (folder / "metadata.csv").write_text("")],
        r"found metadata\.csv beside the folders of splits",
    ),
    "no image": (lambda folder: (folder / "a.jpg").unlink(), "found no image, expected files such as"),
}


@pytest.mark.parametrize("name", BAD)
def test_faults_are_named(tmp_path: Path, name: str) -> None:
    spoil, message = BAD[name]
    images(tmp_path, "a.jpg")
    spoil(tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        folder_pools(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"^data\.path: .*none: no such folder"):
        folder_pools(tmp_path / "none")


def test_one_folder_becomes_three_disjoint_splits(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(12)]
    images(tmp_path / "own", *names)
    for name in names[1:]:
        (tmp_path / "own" / name).with_suffix(".txt").write_text(f"caption of {name}\nfirst stays first\n")
    os.link(tmp_path / "own" / "1.png", tmp_path / "outside.png")
    (tmp_path / "own" / "1.png").unlink()
    (tmp_path / "own" / "1.png").symlink_to("../outside.png")
    (tmp_path / "out").mkdir()
    data = settings("folder", tmp_path / "own", validation=3, test=2, rejects=0.2)
    write_source(tmp_path / "out", data, 0, Engine("local", 1))
    rows = (tmp_path / "out" / "annotations" / "rejects.csv").read_text().splitlines()
    assert {row.partition(",")[2] for row in rows} == {"image,reason", "0.png,no caption", "1.png,outside its folder"}
    ranks = {rank: name for rank, name in enumerate(sorted(names), start=1)}
    seen: list[str] = []
    for split, count in (("test", 2), ("validation", 3), ("train", 5)):
        found = read_split(tmp_path / "out", split)
        assert len(found) == len(COCO(str(captions_file(tmp_path / "out", split))).imgs) == count
        for image in found:
            name = ranks[image.id]
            assert image.captions == (f"caption of {name}", "first stays first")
            pixels = load_image(tmp_path / "out" / split / image.file_name)
            assert np.array_equal(pixels, noise(names.index(name)))
            seen.append(name)
    assert sorted(seen) == sorted(names[2:])
