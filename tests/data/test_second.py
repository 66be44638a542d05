"""A second set, which nothing is trained on: test images alone, chosen and checked as those of a first set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from coco_case import plain_coco
from source_case import settings

from ecdm.data.coco import read_split
from ecdm.data.engine import Engine
from ecdm.data.sources import write_second, write_source
from ecdm.sections.data import Data

Digests = Callable[[Path], dict[str, str]]
LOCAL = Engine("local", 1)


def second(source: str, path: Path, test: int = 5, **changes: Any) -> Data:
    """Settings under which `path` is the second set, beside scenes."""
    place = {"source": source, "path": str(path), "download": False, "test": test}
    return settings("scenes", None, train=5, second=place, **changes)


def test_a_second_set_has_test_images_alone_under_the_same_rules(tmp_path: Path, digests: Digests) -> None:
    """The images, ids and captions of a first set's test split, without need of what serves other splits."""
    source = plain_coco(tmp_path / "coco", 8, 12)
    for name in ("first", "second", "alone"):
        (tmp_path / name).mkdir()
    write_source(tmp_path / "first", settings("coco", source, test=5), 0, LOCAL)
    write_second(tmp_path / "second", second("coco", source, shards=True), 0, LOCAL)
    (source / "train2017").rename(tmp_path / "elsewhere")
    (source / "annotations" / "captions_train2017.json").unlink()
    write_second(tmp_path / "alone", second("coco", source), 0, LOCAL)
    assert sorted(path.name for path in (tmp_path / "second").iterdir()) == ["annotations", "test"]
    assert digests(tmp_path / "second" / "test") == digests(tmp_path / "first" / "test")
    assert read_split(tmp_path / "second", "test") == read_split(tmp_path / "first", "test")
    assert len(read_split(tmp_path / "second", "test")) == 5
    assert digests(tmp_path / "second") == digests(tmp_path / "alone")
    with pytest.raises(FileNotFoundError, match=r"^data\.path: .*missing train2017, annotations/captions_train2017"):
        write_source(tmp_path / "first", settings("coco", source, test=5), 0, LOCAL)


def test_faults_of_a_second_set_name_its_key(tmp_path: Path) -> None:
    for source, message in (
        ("coco", r"^data\.second\.path: .*missing val2017, .*data\.second\.download: true"),
        ("openimages", r"^data\.second\.path: .*missing validation, .*data\.second\.download: true"),
        ("folder", r"^data\.second\.path: .*none: no such folder"),
    ):
        with pytest.raises(FileNotFoundError, match=message):
            write_second(tmp_path, second(source, tmp_path / "none"), 0, LOCAL)
    with pytest.raises(ValueError, match=r"^data\.second\.source: found shifted, expected one that is read"):
        write_second(tmp_path, settings("coco", tmp_path), 0, LOCAL)


def test_rejects_of_a_second_set_count(tmp_path: Path) -> None:
    source = plain_coco(tmp_path / "coco", 1, 12)
    (tmp_path / "out").mkdir()
    (source / "val2017" / f"{3:012d}.png").write_text("no image")
    with pytest.raises(ValueError, match=r"^data\.rejects: found 1 rejects to 1[12] images"):
        write_second(tmp_path / "out", second("coco", source, 12), 0, LOCAL)
    few = second("coco", source, 12, rejects=0.1)
    with pytest.raises(ValueError, match=r"val2017: split test: found 11 images .* expected 12"):
        write_second(tmp_path / "out", few, 0, LOCAL)
