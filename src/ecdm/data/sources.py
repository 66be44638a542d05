"""Images from elsewhere as the COCO-captions folder that everything else reads.

<split>/<id>.png or <split>-<part>.tar       squares, `data.size` pixels a side
annotations/captions_<split>.json            captions
annotations/origins.csv                      what the source calls each image
annotations/rejects.csv                      what is not used, and why
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from ecdm.data.candidates import Pool
from ecdm.data.coco_source import coco_pools
from ecdm.data.engine import Engine
from ecdm.data.openimages import openimages_pools
from ecdm.data.own_folder import folder_pools
from ecdm.data.selection import Target, write_splits
from ecdm.sections.data import Data, Second


def write_source(folder: Path, data: Data, seed: int, engine: Engine) -> None:
    """Write the images of `data.source`, one that is read rather than drawn, into an empty folder.

    The bytes hang on settings, seed and files of the source, not on the engine; `rejects.csv` stands there too
    where nothing is rejected, as its header alone.
    Raises: as the source's reader and `write_splits`.
    """
    counts = {"train": data.train, "validation": data.validation, "test": data.test}
    _write(folder, _pools(data, "data", seed, counts), data, counts, seed, engine)


def write_second(folder: Path, data: Data, seed: int, engine: Engine) -> None:
    """Write the test images of `data.second.source`, one that is read, under the same rules; all as `write_source`."""
    counts = {"test": data.second.test}
    _write(folder, _pools(data.second, "data.second", seed, counts), data, counts, seed, engine)


def _write(
    folder: Path, pools: Sequence[Pool], data: Data, counts: Mapping[str, int | None], seed: int, engine: Engine
) -> None:  # fmt: skip
    # Absolute, as processes of another machine may work in another folder.
    target = Target(folder.absolute(), counts, data.size, data.smallest, data.shards, data.rejects)
    selection = write_splits(pools, target, seed, engine)
    origins = ((split, image, name) for split, names in selection.names.items() for image, name in names.items())
    rejects = ((one.split, one.image, one.reason) for one in selection.rejects)
    _write_table(folder / "annotations" / "origins.csv", ("split", "id", "image"), origins)
    _write_table(folder / "annotations" / "rejects.csv", ("split", "image", "reason"), rejects)


def _pools(place: Data | Second, key: str, seed: int, splits: Collection[str]) -> list[Pool]:
    path = Path(place.path or "").absolute()
    if place.source == "coco":
        return coco_pools(path, seed, place.download, splits, key)
    if place.source == "openimages":
        return openimages_pools(path, seed, place.download, splits, key)
    if place.source == "folder":
        return folder_pools(path, splits, key)
    raise ValueError(f"{key}.source: found {place.source}, expected one that is read: coco, openimages or folder")


def _write_table(path: Path, header: Sequence[str], rows: Iterable[tuple[str | int, ...]]) -> None:
    # File names that are no Unicode text may come from a folder; they are shown with backslashes.
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(sorted(rows))
