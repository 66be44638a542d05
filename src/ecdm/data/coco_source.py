"""MS-COCO 2017 as a source: val2017 for testing, train2017 for training and, held out of it, validation.

<path>/train2017, <path>/val2017                         images
<path>/annotations/captions_{train,val}2017.json         captions
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from ecdm.data.candidates import DUPLICATE, NO_CAPTION, UNKNOWN, Candidate, Pool, caption_drawn, kept, serving
from ecdm.data.download import fetch, unpack
from ecdm.data.files import fresh_entries, fresh_folder
from ecdm.data.rows import json_file
from ecdm.data.scenes import SPLITS

ADDRESS = "http://images.cocodataset.org"
CHECKSUMS = {
    "annotations/annotations_trainval2017.zip": "f4bbac642086de4f52a3fdda2de5fa2c",
    "zips/train2017.zip": "cced6f7f71b7629ddf16f17bbcfab6b2",
    "zips/val2017.zip": "442b8da7639aecaf257c1dceb8ba8c80",
}
FOLDERS = {"val2017": ("test",), "train2017": ("validation", "train")}

Id = Annotated[int, Field(ge=0)]


class _Row(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class _Image(_Row):
    id: Id
    file_name: str


class _Annotation(_Row):
    id: Id
    image_id: Id
    caption: str


class _Captions(_Row):
    images: list[_Image]
    annotations: list[_Annotation]


def coco_pools(
    path: Path, seed: int, download: bool, splits: Collection[str] = SPLITS, key: str = "data"
) -> list[Pool]:  # fmt: skip
    """The images of a COCO 2017 folder under their own ids, with all their captions.

    The first caption is the one that inpainting asks for: which one it is, seed and image id decide; the others
    follow by annotation id. `download` fetches what is missing at `path`; what serves none of `splits` may be missing.
    `key`: the section of params.yaml that names the folder.
    Raises: FileNotFoundError naming what is missing; ValueError naming a captions file of another form; as
    `fetch` and `unpack`.
    """
    folders = serving(FOLDERS, splits)
    if download:
        _download(path, folders)
    wanted = [*(path / name for name in folders), *(_captions_file(path, name) for name in folders)]
    missing = [str(one.relative_to(path)) for one in wanted if not one.exists()]
    if missing:
        raise FileNotFoundError(
            f"{key}.path: {path}: missing {', '.join(missing)}, expected COCO 2017; {key}.download: true fetches it"
        )
    ids: set[int] = set()
    return [_pool(path, name, own, seed, ids) for name, own in folders.items()]


def _captions_file(path: Path, name: str) -> Path:
    return path / "annotations" / f"captions_{name}.json"


def _pool(path: Path, name: str, splits: tuple[str, ...], seed: int, ids: set[int]) -> Pool:
    """One image folder; `ids`, those that are taken, grows by its own."""
    content = json_file(_Captions, _captions_file(path, name))
    captions: dict[int, list[str]] = defaultdict(list)
    for row in sorted(content.annotations, key=lambda row: row.id):
        captions[row.image_id].append(row.caption)
    candidates = []
    files: set[str] = set()
    for image in content.images:
        file_name, texts = PurePosixPath(image.file_name).as_posix(), kept(captions[image.id])
        flaw = None if texts else NO_CAPTION
        if image.id in ids:
            flaw = f"{DUPLICATE}: image id {image.id}"
        elif file_name in files:
            flaw = f"{DUPLICATE}: file_name"
        ids.add(image.id)
        files.add(file_name)
        candidates.append(Candidate(image.id, file_name, caption_drawn(texts, seed, image.id), flaw))
    known = {image.id for image in content.images}
    strays = tuple(
        (f"annotation {row.id}", f"{UNKNOWN}: image_id {row.image_id}")
        for row in content.annotations
        if row.image_id not in known
    )
    return Pool(path / name, splits, candidates, strays)


def _download(path: Path, folders: Iterable[str]) -> None:
    if not all(_captions_file(path, name).exists() for name in folders):
        name = "annotations/annotations_trainval2017.zip"
        with _archive(path, name) as archive, fresh_entries(path / "annotations") as folder:
            unpack(archive, "annotations/captions_", folder)
    for name in folders:
        if not (path / name).exists():
            with _archive(path, f"zips/{name}.zip") as archive, fresh_folder(path / name) as folder:
                unpack(archive, f"{name}/", folder)


@contextmanager
def _archive(path: Path, name: str) -> Iterator[Path]:
    """An archive at `path`, fetched if need be and then gone after the block, unless that fails."""
    archive = path / PurePosixPath(name).name
    fetched = not archive.exists()
    if fetched:
        fetch(f"{ADDRESS}/{name}", archive, CHECKSUMS[name])
    yield archive
    if fetched:
        archive.unlink()
