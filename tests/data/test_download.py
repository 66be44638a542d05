"""Downloads from a server that breaks off, fails and changes; archives that are damaged or climb out."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from coco_case import Captions, noise
from PIL import Image
from web_case import Web, web

from ecdm.data import coco_source, download
from ecdm.data.coco import load_image
from ecdm.data.coco_source import coco_pools
from ecdm.data.download import fetch, fetch_all, unpack

DATA = np.random.default_rng(0).bytes(100_000)
MD5 = hashlib.md5(DATA).hexdigest()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setattr(download, "PAUSE", 0.001)
    monkeypatch.setattr(download, "BLOCK", 4096)
    with web() as state:
        state.files["/a.bin"] = DATA
        yield state


def test_a_broken_transfer_goes_on_where_it_ended(site: Web, tmp_path: Path) -> None:
    site.cuts["/a.bin"] = [40_000, 0, 30_000]
    fetch(f"{site.address}/a.bin", tmp_path / "deep" / "a.bin", MD5)
    assert (tmp_path / "deep" / "a.bin").read_bytes() == DATA
    assert [wanted for _, wanted in site.asked] == [None, "bytes=40000-", "bytes=40000-", "bytes=70000-"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.bin"]
    fetch(f"{site.address}/a.bin", tmp_path / "deep" / "a.bin", MD5)
    assert len(site.asked) == 4


def test_a_later_run_goes_on_where_an_earlier_one_gave_up(site: Web, tmp_path: Path) -> None:
    site.cuts["/a.bin"] = [50_000, *[0] * download.TRIES]
    with pytest.raises(OSError, match=r"a\.bin: the connection broke off; given up after 6 attempts"):
        fetch(f"{site.address}/a.bin", tmp_path / "a.bin", MD5)
    assert [path.name for path in tmp_path.iterdir()] == [".a.bin.part"]
    site.asked.clear()
    fetch(f"{site.address}/a.bin", tmp_path / "a.bin", MD5)
    assert site.asked == [("/a.bin", "bytes=50000-")]
    assert (tmp_path / "a.bin").read_bytes() == DATA


def test_without_a_checksum_a_later_run_begins_anew(site: Web, tmp_path: Path) -> None:
    (tmp_path / ".a.bin.part").write_bytes(b"of another version")
    fetch(f"{site.address}/a.bin", tmp_path / "a.bin")
    assert site.asked == [("/a.bin", None)]
    assert (tmp_path / "a.bin").read_bytes() == DATA


def test_a_file_that_changes_meanwhile_is_fetched_from_its_start(site: Web, tmp_path: Path) -> None:
    site.cuts["/a.bin"] = [40_000]
    answered = site.asked

    class Changing(list[tuple[str, str | None]]):
        def append(self, entry: tuple[str, str | None]) -> None:
            answered.append(entry)
            if len(answered) == 2:
                site.files["/a.bin"], site.tag = DATA[::-1], '"two"'

    site.asked = Changing()
    fetch(f"{site.address}/a.bin", tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == DATA[::-1]
    assert [wanted for _, wanted in answered] == [None, "bytes=40000-"]


def test_a_server_without_ranges_sends_it_all_again(site: Web, tmp_path: Path) -> None:
    site.ranges, site.cuts["/a.bin"] = False, [60_000]
    fetch(f"{site.address}/a.bin", tmp_path / "a.bin", MD5)
    assert (tmp_path / "a.bin").read_bytes() == DATA


def test_a_part_that_is_whole_already_is_taken(site: Web, tmp_path: Path) -> None:
    (tmp_path / ".a.bin.part").write_bytes(DATA)
    fetch(f"{site.address}/a.bin", tmp_path / "a.bin", MD5)
    assert (tmp_path / "a.bin").read_bytes() == DATA


def test_another_checksum_removes_the_file(site: Web, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"a\.bin: found MD5 {MD5}, expected {'0' * 32}"):
        fetch(f"{site.address}/a.bin", tmp_path / "a.bin", "0" * 32)
    (tmp_path / ".a.bin.part").write_bytes(b"something else")
    with pytest.raises(ValueError, match=rf"expected {MD5}"):
        fetch(f"{site.address}/a.bin", tmp_path / "a.bin", MD5)
    assert not list(tmp_path.iterdir())


def test_passing_errors_are_outlived_and_lasting_ones_named(site: Web, tmp_path: Path) -> None:
    site.codes["/a.bin"] = [503, 429]
    fetch(f"{site.address}/a.bin", tmp_path / "a.bin")
    assert len(site.asked) == 3
    site.codes["/a.bin"] = [403]
    with pytest.raises(OSError, match=rf"{site.address}/a\.bin: HTTP Error 403"):
        fetch(f"{site.address}/a.bin", tmp_path / "b.bin")
    with pytest.raises(FileNotFoundError, match=r"/none: HTTP Error 404"):
        fetch(f"{site.address}/none", tmp_path / "b.bin")
    assert len(site.asked) == 5


def test_an_unreachable_server_is_named(site: Web, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"http://127\.0\.0\.1:9/a\.bin: .*refused.*given up after 6 attempts"):
        fetch("http://127.0.0.1:9/a.bin", tmp_path / "a.bin")


def test_many_files_at_once_and_some_do_not_exist(site: Web, tmp_path: Path) -> None:
    site.files.update({f"/{number}.jpg": bytes([number]) * 10 for number in range(40)})
    (tmp_path / "0.jpg").write_bytes(b"there")
    fetch_all([(f"{site.address}/{number}.jpg", tmp_path / f"{number}.jpg") for number in range(45)], "test")
    assert {path.name for path in tmp_path.iterdir()} == {f"{number}.jpg" for number in range(40)}
    assert (tmp_path / "0.jpg").read_bytes() == b"there"
    site.codes["/41.jpg"] = [403]
    with pytest.raises(OSError, match=r"/41\.jpg: HTTP Error 403"):
        fetch_all([(f"{site.address}/41.jpg", tmp_path / "41.jpg")], "test")


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_an_archive_gives_the_files_of_one_folder(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped({"x/": b"", "x/1": b"one", "x/deep/2": b"two", "y/3": b"three"}))
    unpack(tmp_path / "a.zip", "x/", tmp_path / "out")
    found = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert found == {"1", "deep/2"}


def _damaged() -> bytes:
    content = bytearray(zipped({"x/1": DATA}))
    content[len(content) // 2] ^= 255
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped({"x/1": b"", "x/../../out": b""}), "file '../../out': expected a path inside"),
        (zipped({"x//etc/passwd": b""}), "file '/etc/passwd': expected a path inside"),
        (zipped({"y/1": b""}), "found no file x/"),
        (_damaged(), "CRC"),
        (b"no archive", "not a zip file"),
    ],
)
def test_bad_archives_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match=message) as caught:
        unpack(tmp_path / "a.zip", "x/", tmp_path / "out")
    assert "a.zip" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir() if path.name != "out"] == ["a.zip"]


@pytest.fixture
def coco_site(site: Web, monkeypatch: pytest.MonkeyPatch) -> Web:
    def png(seed: int) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(noise(seed)).save(buffer, "PNG")
        return buffer.getvalue()

    captions = {}
    for name, first in (("val2017", 1), ("train2017", 100)):
        rows = Captions(first)
        for number in range(3):
            rows.image(f"{first + number}.png")
        files = {f"{name}/{first + number}.png": png(first + number) for number in range(3)}
        site.files[f"/zips/{name}.zip"] = zipped(files)
        captions[f"annotations/captions_{name}.json"] = rows.text().encode()
    captions["annotations/instances_val2017.json"] = b"{}"
    site.files["/annotations/annotations_trainval2017.zip"] = zipped(captions)
    sums = {path[1:]: hashlib.md5(data).hexdigest() for path, data in site.files.items() if path.endswith(".zip")}
    monkeypatch.setattr(coco_source, "ADDRESS", site.address)
    monkeypatch.setattr(coco_source, "CHECKSUMS", sums)
    return site


def test_coco_is_fetched_once(coco_site: Web, tmp_path: Path) -> None:
    coco_site.cuts["/zips/train2017.zip"] = [500]
    pools = coco_pools(tmp_path, 0, True)
    assert [sorted(one.id for one in pool.candidates) for pool in pools] == [[1, 2, 3], [100, 101, 102]]
    found = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    images = [f"train2017/{number}.png" for number in (100, 101, 102)] + [f"val2017/{n}.png" for n in (1, 2, 3)]
    assert found == ["annotations/captions_train2017.json", "annotations/captions_val2017.json", *images]
    assert np.array_equal(load_image(tmp_path / "train2017" / "101.png"), noise(101))
    assert len(coco_site.asked) == 4
    assert coco_pools(tmp_path, 0, True) == coco_pools(tmp_path, 0, False) == pools
    assert len(coco_site.asked) == 4


def test_of_coco_only_what_the_test_images_need_is_fetched(coco_site: Web, tmp_path: Path) -> None:
    (pool,) = coco_pools(tmp_path, 0, True, ("test",))
    assert (pool.splits, sorted(one.id for one in pool.candidates)) == (("test",), [1, 2, 3])
    assert len(coco_site.asked) == 2
    assert not (tmp_path / "train2017").exists()


def _wrong_sum(site: Web, path: Path) -> None:
    site.files["/zips/val2017.zip"] += b"!"


def _no_archive(site: Web, path: Path) -> None:
    path.mkdir()
    (path / "val2017.zip").write_bytes(b"a broken file of one's own")


@pytest.mark.parametrize(("spoil", "message"), [(_wrong_sum, r"val2017\.zip: found MD5"), (_no_archive, "not a zip")])
def test_a_failed_fetch_leaves_no_half_of_a_folder(
    coco_site: Web, tmp_path: Path, spoil: Callable[[Web, Path], None], message: str
) -> None:
    spoil(coco_site, tmp_path / "coco")
    with pytest.raises(ValueError, match=message):
        coco_pools(tmp_path / "coco", 0, True)
    left = {path.name for path in (tmp_path / "coco").iterdir()}
    assert left <= {"annotations", "val2017.zip"}
