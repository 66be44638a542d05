"""Tar shards: reproducible, readable by the library and by name, all or nothing, told apart from loose files."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import webdataset

from ecdm.data import scene_folder
from ecdm.data.coco import captions_file, load_image, read_split
from ecdm.data.dataset import CaptionedFolder
from ecdm.data.edges import write_edges
from ecdm.data.engine import Engine
from ecdm.data.files import png_bytes, png_name
from ecdm.data.scene_folder import write_scenes
from ecdm.data.shards import SplitFiles, image_sink, shard_files, shard_path

ALONE = Engine("local", 1)
FILES = {png_name(number): bytes([number]) * 700 * number for number in (5, 3, 90)}


def write(folder: Path, part: int = 0, names: list[str] | None = None, *, shards: bool = True) -> Path:
    with image_sink(folder, "train", part, shards) as add:
        for name in FILES if names is None else names:
            add(name, FILES[name])
    return shard_path(folder, "train", part)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same seven scenes and their edges, loose and in shards of three."""
    root = tmp_path_factory.mktemp("pair")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene_folder, "PER_SHARD", 3)
        for name, shards in (("loose", False), ("sharded", True)):
            write_scenes(root / name, 0, 32, {"train": 7}, ALONE, shards)
            write_edges(root / name, "train", root / name / "edges", 100, 200, ALONE)
    return root


def test_a_shard_is_the_same_file_each_time(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a"), write(tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["train-000000.tar"]
    with tarfile.open(first) as tar:
        assert tar.getnames() == list(FILES)
        told = {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in tar.getmembers()}
    assert told == {(0, 0, 0, "", "", 0o444)}


def test_files_come_back_by_name_in_order_and_by_the_library(tmp_path: Path) -> None:
    path, other = write(tmp_path, 0, list(FILES)[:2]), write(tmp_path, 12, list(FILES)[2:])
    assert list(shard_files(path)) == list(FILES.items())[:2]
    files = SplitFiles(tmp_path, "train")
    assert {name: files.locate(name)[1] for name in FILES} == FILES
    assert files.locate(png_name(90))[0] == other / png_name(90)
    assert {name: member.part for name, member in files.members.items()} == dict(zip(FILES, (0, 0, 12), strict=True))
    stored = [str(path), str(other)]
    read = {one["__key__"] + ".png": one["png"] for one in webdataset.WebDataset(stored, shardshuffle=False)}
    assert read == FILES


def test_loose_files_stand_by_themselves(tmp_path: Path) -> None:
    write(tmp_path, shards=False)
    assert {path.name: path.read_bytes() for path in (tmp_path / "train").iterdir()} == FILES
    files = SplitFiles(tmp_path, "train")
    assert not files.sharded
    assert png_name(5) in files
    assert png_name(6) not in files
    assert files.locate(png_name(5)) == (tmp_path / "train" / png_name(5), None)


def test_a_failure_leaves_no_shard(tmp_path: Path) -> None:
    (tmp_path / ".train-000000.tar.partial").write_bytes(b"of a killed process")

    def fail() -> None:
        with image_sink(tmp_path, "train", 0, shards=True) as add:
            add(png_name(1), b"x")
            raise ValueError("broken off")

    with pytest.raises(ValueError, match="broken off"):
        fail()
    assert not list(tmp_path.iterdir())


def test_shards_of_another_split_are_not_taken(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "train-extra-000001.tar").write_bytes(b"")
    assert not SplitFiles(tmp_path, "test").sharded
    assert list(SplitFiles(tmp_path, "train").shards) == [0]


def test_loose_files_beside_shards_are_refused(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "train").mkdir()
    with pytest.raises(ValueError, match=r"train: found loose files beside .*train-\*\.tar, expected one of the two"):
        SplitFiles(tmp_path, "train")


def test_a_name_in_two_shards_is_refused(tmp_path: Path) -> None:
    write(tmp_path, 0)
    write(tmp_path, 1, [png_name(3)])
    with pytest.raises(ValueError, match=rf"train-000001\.tar: {png_name(3)}: found again"):
        _ = SplitFiles(tmp_path, "train").members


@pytest.mark.parametrize("cut", [100, 900])
@pytest.mark.parametrize(
    "read", [lambda path: SplitFiles(path.parent, "train").members, lambda path: [*shard_files(path)]]
)
def test_a_shard_that_was_cut_is_named(tmp_path: Path, cut: int, read: Callable[[Path], object]) -> None:
    path = write(tmp_path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"train-000000\.tar: expected a tar file, found one that cannot be read"):
        read(path)


def test_a_sharded_split_has_the_images_and_edges_of_the_loose_one(pair: Path) -> None:
    assert read_split(pair / "sharded", "train") == read_split(pair / "loose", "train")
    assert captions_file(pair / "sharded", "train").read_bytes() == captions_file(pair / "loose", "train").read_bytes()
    for place in ("sharded", "sharded/edges"):
        assert sorted(path.name for path in (pair / place).glob("train*")) == [f"train-00000{n}.tar" for n in range(3)]
    for inner in ("", "edges"):
        loose, sharded = SplitFiles(pair / "loose" / inner, "train"), SplitFiles(pair / "sharded" / inner, "train")
        names = [path.name for path in loose.root.iterdir()]
        assert sharded.members.keys() == set(names)
        assert [sharded.members[name].part for name in sorted(names)] == [0, 0, 0, 1, 1, 1, 2]
        for name in names:
            assert sharded.locate(name)[1] == (loose.root / name).read_bytes()


def test_samples_are_those_of_loose_files(pair: Path) -> None:
    loose, sharded = (CaptionedFolder(pair / n, "train", pair / n / "edges" / "train") for n in ("loose", "sharded"))
    assert (loose.parts(), sharded.parts()) == ([0] * 7, [0, 0, 0, 1, 1, 1, 2])
    for one, two in ((loose[index], sharded[index]) for index in range(7)):
        assert (one.id, one.captions) == (two.id, two.captions)
        assert one.image.equal(two.image)
        assert one.edges is not None
        assert two.edges is not None
        assert one.edges.equal(two.edges)


def test_missing_and_broken_images_in_shards_are_named(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    with image_sink(tmp_path, "train", 0, shards=True) as add:
        add(png_name(1), png_bytes(pixels)[:40])
    captions = '{"images": [{"id": 1, "file_name": "%s"}], "annotations": [{"id": 1, "image_id": 1, "caption": "x"}]}'
    captions_file(tmp_path, "train").parent.mkdir()
    captions_file(tmp_path, "train").write_text(captions % png_name(1))
    place = re.escape(str(shard_path(tmp_path, "train", 0) / png_name(1)))
    with pytest.raises(ValueError, match=f"^{place}: expected an image"):
        _ = CaptionedFolder(tmp_path, "train")[0]
    with pytest.raises(ValueError, match=f"^{place}: expected an image"):
        write_edges(tmp_path, "train", tmp_path / "edges", 100, 200, ALONE)
    assert not list((tmp_path / "edges").iterdir())
    captions_file(tmp_path, "train").write_text(captions % png_name(2))
    with pytest.raises(ValueError, match=f"image id 1: .*{png_name(2)}: no such file"):
        CaptionedFolder(tmp_path, "train")


def test_edges_that_no_shard_has_are_named(pair: Path, tmp_path: Path) -> None:
    (tmp_path / "train-000000.tar").write_bytes((pair / "sharded/edges/train-000000.tar").read_bytes())
    samples = CaptionedFolder(pair / "sharded", "train", tmp_path / "train")
    assert samples[2].edges is not None
    with pytest.raises(ValueError, match=rf"train-\*\.tar: {png_name(samples.images[3].id)}: found in no shard"):
        _ = samples[3]


def test_sharded_pixels_are_those_of_the_scene(pair: Path) -> None:
    for name, data in shard_files(pair / "sharded" / "train-000002.tar"):
        assert np.array_equal(load_image(Path(name), data), load_image(pair / "loose" / "train" / name))
