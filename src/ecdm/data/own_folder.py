"""A team's own images as a source, in the form of Hugging Face's image folders.

metadata.jsonl or metadata.csv      rows with `file_name` and `text`, `caption` or `captions`; or, without it,
<name>.txt                          beside each image <name>.jpg, .png …: one caption per line
train/ validation/ test/            the splits, each with files as above; or all in one folder
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict

from ecdm.data.candidates import NO_CAPTION, Candidate, Pool, kept, serving
from ecdm.data.rows import csv_lines, json_lines
from ecdm.data.scenes import SPLITS

ENDINGS = (".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
COLUMNS = ("text", "caption", "captions")
METADATA = ("metadata.jsonl", "metadata.csv")
NAMES = {"train": ("train",), "validation": ("validation", "val"), "test": ("test",)}
ORDER = ("test", "validation", "train")

Captions = dict[str, tuple[str, ...]]


class _Row(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    file_name: str
    text: str | list[str] | None = None
    caption: str | list[str] | None = None
    captions: str | list[str] | None = None


def folder_pools(path: Path, splits: Collection[str] = SPLITS, key: str = "data") -> list[Pool]:
    """The images of a folder with their captions in the order they are given; the first is what inpainting asks for.

    Rows about the same file are captions of one image; an image without a caption is offered with that flaw. Folders
    `train`, `validation` (or `val`) and `test` are the splits, and a split without one is drawn out of train's; without
    any of them all splits are drawn out of the one folder. An image's id is its rank, from 1 on, among the
    sorted file names. Folders that serve none of `splits` are not read. `key`: the section of params.yaml that names
    the folder.
    Raises: FileNotFoundError without the folder; ValueError naming what is wrong in metadata, two sources of
    metadata, splits without a folder `train` and a folder without images.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"{key}.path: {path}: no such folder")
    folders = _split_folders(path, splits, key) or {"train": path}
    own: dict[str, tuple[str, ...]] = {split: (split,) for split in folders}
    own["train"] = tuple(split for split in ORDER if split not in folders or split == "train")
    own = serving(own, splits)
    found = {split: _captions(folders[split], key) for split in ORDER if split in own}
    names = sorted((folders[split] / name).as_posix() for split in found for name in found[split])
    ranks = {name: rank for rank, name in enumerate(names, start=1)}
    return [_pool(folders[split], own[split], found[split], ranks) for split in found]


def _split_folders(path: Path, splits: Collection[str], key: str) -> dict[str, Path]:
    found = {}
    for split, names in NAMES.items():
        there = [path / name for name in names if (path / name).is_dir()]
        if len(there) > 1:
            raise ValueError(f"{key}.path: {path}: found {' and '.join(names)}, expected one of them")
        if there:
            found[split] = there[0]
    if found and "train" not in found and not found.keys() >= set(splits):
        raise ValueError(f"{key}.path: {path}: found {', '.join(sorted(found))}, expected train beside")
    above = [name for name in METADATA if (path / name).exists()]
    if found and above:
        raise ValueError(f"{key}.path: {path}: found {above[0]} beside the folders of splits, expected it in each")
    return found


def _pool(root: Path, splits: tuple[str, ...], captions: Captions, ranks: dict[str, int]) -> Pool:
    candidates = [
        Candidate(ranks[(root / name).as_posix()], name, texts, None if texts else NO_CAPTION)
        for name, texts in sorted(captions.items())
    ]
    return Pool(root, splits, candidates)


def _captions(folder: Path, key: str) -> Captions:
    """Captions by file name below the folder, none for an image that has none."""
    metadata = [folder / name for name in METADATA if (folder / name).exists()]
    if len(metadata) > 1:
        raise ValueError(f"{folder}: found {' and '.join(METADATA)}, expected one of them")
    images = {_name(file, folder): file for file in folder.rglob("*") if file.suffix.lower() in ENDINGS}
    # Hidden ones are what systems leave beside images, such as macOS's ._<name>.
    images = {name: file for name, file in images.items() if not f"/{name}".count("/.")}
    texts = _rows(metadata[0]) if metadata else {name: _beside(file) for name, file in images.items()}
    found: Captions = {**dict.fromkeys(images, ()), **{name: kept(lines) for name, lines in texts.items()}}
    if not found:
        raise ValueError(f"{key}.path: {folder}: found no image, expected files such as {', '.join(ENDINGS)}")
    return found


def _name(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix()


def _beside(image: Path) -> list[str]:
    file = image.with_suffix(".txt")
    if not file.is_file():
        return []
    try:
        return file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: expected UTF-8 text: {error.reason}") from error


def _rows(metadata: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for row in json_lines(_Row, metadata) if metadata.suffix == ".jsonl" else _table(metadata):
        texts = (getattr(row, column) for column in COLUMNS)
        name = PurePosixPath(row.file_name).as_posix()
        for text in texts:
            found[name] += [text] if isinstance(text, str) else text or []
    return found


def _table(metadata: Path) -> Iterable[_Row]:
    for row in csv_lines(metadata):
        if "file_name" not in row or not set(COLUMNS) & set(row):
            columns = ", ".join(row)
            raise ValueError(f"{metadata}: found columns {columns}, expected file_name and {' or '.join(COLUMNS)}")
        yield _Row.model_validate(row)
