"""The stages prepare, masks, canny and variants on tiny data, through their own main functions."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML

from ecdm.config import load_variant
from ecdm.data import files
from ecdm.data.coco import captions_file, read_split
from ecdm.data.files import png_name
from ecdm.models.variants import VARIANTS

ROOT = Path(__file__).parents[2]
BUCKETS = ["10-20", "30-40", "50-60", "wide", "narrow"]


def stage_main(name: str) -> Callable[[], None]:
    spec = importlib.util.spec_from_file_location(f"stage_{name}", ROOT / "stages" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    main: Callable[[], None] = module.main
    return main


def write_params(folder: Path, **changes: Any) -> None:
    """Write the project's own params.yaml with other values, keys such as data.size given as data__size."""
    yaml = YAML()
    content = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    tiny: dict[str, Any] = {
        "data__size": 32,
        "data__train": 5,
        "data__validation": 3,
        "data__test": 4,
        "data__workers": 1,
    }
    second = {"source": "shifted", "path": None, "download": False, "test": 3}
    tiny |= {"data__second": second, "compare__objects": 4, "compare__custom": str(ROOT / "assets" / "custom")}
    for key, value in {**tiny, **changes}.items():
        section, _, name = key.partition("__")
        if name:
            content[section][name] = value
        else:
            content[section] = value
    with (folder / "params.yaml").open("w", encoding="utf-8") as file:
        yaml.dump(content, file)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path)
    return tmp_path


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_prepare_writes_a_folder_for_each_set(place: Path) -> None:
    for name in ("prepare", "custom"):
        stage_main(name)()
    names = sorted(path.name for path in (place / "data").iterdir())
    assert names == ["custom", "objects", "photos", "scenes", "shifted"]
    sizes = {name: len(read_split(place / "data" / name, "test")) for name in names}
    assert sizes == {"custom": 6, "objects": 4, "photos": 5, "scenes": 4, "shifted": 3}
    counts = {split: len(read_split(place / "data" / "scenes", split)) for split in ("train", "validation", "test")}
    assert counts == {"train": 5, "validation": 3, "test": 4}
    photos = read_split(place / "data" / "photos", "test")
    assert len(photos) == 5
    assert Image.open(place / "data" / "photos" / "test" / photos[0].file_name).size == (32, 32)


def test_stages_do_not_depend_on_workers(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "JOBS_PER_WORKER", 1)
    found = []
    for workers in (1, 2):
        write_params(place, data__workers=workers)
        for name in ("prepare", "canny"):
            stage_main(name)()
        found.append({**digests(place / "data"), **digests(place / "build")})
    assert len(found[0]) == (18 + 5 + 6 + 6) + 17
    assert found[0] == found[1]


def test_a_second_run_leaves_nothing_of_the_first(place: Path) -> None:
    stage_main("prepare")()
    write_params(place, data__test=2)
    stage_main("prepare")()
    assert len(list((place / "data" / "scenes" / "test").iterdir())) == 2


def test_masks_and_edges_cover_the_images(place: Path) -> None:
    for name in ("prepare", "masks", "canny", "custom"):
        stage_main(name)()
    build, by_hand = place / "build", place / "data/custom/masks"
    for name, dataset, split in (
        ("scenes", "scenes", "test"),
        ("shifted", "shifted", "test"),
        ("photos", "photos", "test"),
        ("validation", "scenes", "validation"),
    ):
        expected = {png_name(image.id) for image in read_split(place / "data" / dataset, split)}
        for bucket in BUCKETS:
            assert {path.name for path in (build / "masks" / name / bucket).iterdir()} == expected
    for name, bucket, masks in (("objects", "object", build / "masks/objects"), ("custom", "custom", by_hand)):
        expected = {png_name(image.id) for image in read_split(place / "data" / name, "test")}
        assert {path.name for path in masks.iterdir()} == {bucket}
        assert {path.name for path in (masks / bucket).iterdir()} == expected
    for dataset, split in (
        ("scenes", "train"),
        ("scenes", "validation"),
        ("scenes", "test"),
        ("photos", "test"),
    ):
        expected = {png_name(image.id) for image in read_split(place / "data" / dataset, split)}
        assert {path.name for path in (build / "edges" / dataset / split).iterdir()} == expected
    edges = [np.array(Image.open(path)) for path in (build / "edges" / "scenes").rglob("*.png")]
    assert {value for image in edges for value in np.unique(image)} == {0, 255}


def test_variants_write_what_each_uses(place: Path) -> None:
    write_params(place, variants=["sail", "ours", "baseline"])
    stage_main("variants")()
    settings = {path.stem: load_variant(path) for path in (place / "build" / "variants").iterdir()}
    assert set(settings) == {"sail", "ours", "baseline"}
    for name, found in settings.items():
        assert found.name == name
        assert (found.sail is not None, found.acda is not None) == (VARIANTS[name].sail, VARIANTS[name].acda)


@pytest.mark.parametrize(
    ("change", "users"),
    [({"sail__lambda": 0.7}, {"sail", "ours"}), ({"acda__radius": 6.0}, {"acda", "ours"})],
)
def test_a_setting_changes_its_users_and_no_other(place: Path, change: dict[str, Any], users: set[str]) -> None:
    stage_main("variants")()
    before = digests(place / "build" / "variants")
    write_params(place, **change)
    stage_main("variants")()
    after = digests(place / "build" / "variants")
    assert {Path(name).stem for name in after if after[name] != before[name]} == users


def _cut_an_image(place: Path) -> str:
    path = place / "data" / "photos" / "test" / png_name(3)
    path.write_bytes(path.read_bytes()[:20])
    return str(path.relative_to(place))


def _drop_the_captions(place: Path) -> str:
    path = captions_file(place / "data" / "photos", "test")
    path.write_text('{"images": [{"id": 1, "file_name": "000000000001.png"}], "annotations": []}')
    return str(path.relative_to(place))


@pytest.mark.parametrize("stage", ["masks", "canny"])
@pytest.mark.parametrize("spoil", [_cut_an_image, _drop_the_captions])
def test_bad_data_is_named_and_leaves_no_output(place: Path, stage: str, spoil: Callable[[Path], str]) -> None:
    stage_main("prepare")()
    name = spoil(place)
    with pytest.raises(ValueError, match=re.escape(name)):
        stage_main(stage)()
    assert list((place / "build").iterdir()) == []


@pytest.mark.parametrize("stage", ["masks", "canny"])
def test_missing_data_is_named(place: Path, stage: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"data/scenes/annotations/captions_\w+\.json"):
        stage_main(stage)()
    assert list((place / "build").iterdir()) == []


def test_a_bucket_that_cannot_be_filled_leaves_no_output(place: Path) -> None:
    stage_main("prepare")()
    write_params(place, masks__buckets=["10-20", "0-1"])
    with pytest.raises(ValueError, match=r"^masks\.buckets: '0-1' cannot be filled"):
        stage_main("masks")()
    assert list((place / "build").iterdir()) == []


def test_a_failure_late_in_prepare_leaves_no_output(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecdm.data.photos.PHOTOS", {"astronaut.png": ("x",), "no-such-photo.png": ("x",)})
    with pytest.raises(ValueError, match=r"no-such-photo\.png"):
        stage_main("prepare")()
    assert list((place / "data").iterdir()) == []


def test_pictures_made_by_hand_that_do_not_fit_leave_no_output(place: Path) -> None:
    (place / "data").mkdir()
    shutil.copytree(ROOT / "assets" / "custom", place / "own")
    (place / "own" / "masks" / "cat.png").unlink()
    write_params(place, compare__custom="own")
    before = digests(place)
    with pytest.raises(FileNotFoundError, match=r"own/masks/cat\.png: no such file"):
        stage_main("custom")()
    assert digests(place) == before
    assert list((place / "data").iterdir()) == []


def test_images_of_a_folder_stand_where_the_shifted_scenes_stood(place: Path) -> None:
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 256, (70, 80, 3), dtype=np.uint8)
        (place / "own").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(place / "own" / f"{number}.png")
        (place / "own" / f"{number}.txt").write_text(f"picture {number}")
    second = {"source": "folder", "path": "own", "download": False, "test": 3}
    write_params(place, data__second=second, data__shards=True)
    for name in ("prepare", "masks"):
        stage_main(name)()
    names = ["folder", "objects", "photos", "scenes"]
    assert sorted(path.name for path in (place / "data").iterdir()) == names
    assert sorted(path.name for path in (place / "data" / "folder").iterdir()) == ["annotations", "test"]
    images = read_split(place / "data" / "folder", "test")
    assert len(images) == 3
    for bucket in BUCKETS:
        masks = {path.name for path in (place / "build" / "masks" / "folder" / bucket).iterdir()}
        assert masks == {png_name(image.id) for image in images}


@pytest.mark.parametrize("stage", ["prepare", "masks", "canny", "variants"])
def test_bad_parameters_stop_every_stage(place: Path, stage: str) -> None:
    write_params(place, sail__lambda=-1.0)
    with pytest.raises(ValueError, match=r"params\.yaml: sail\.lambda: found -1\.0"):
        stage_main(stage)()
    assert [path.name for path in place.iterdir()] == ["params.yaml"]
