"""Open Images with the captions of Localized Narratives as a source: its validation images for testing, its train
images for training and validation.

<path>/train, <path>/validation                          images, <image_id>.jpg
<path>/open_images_train_v6_captions.jsonl               captions, or, with the traces of the pointer,
<path>/open_images_train_v6_localized_narratives-*.jsonl
<path>/open_images_validation_captions.jsonl             likewise
<path>/open_images_validation_localized_narratives.jsonl
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

from pydantic import BaseModel

from ecdm.data.candidates import NO_CAPTION, Candidate, Pool, caption_drawn, kept, serving
from ecdm.data.download import fetch, fetch_all
from ecdm.data.paths import climbs_out
from ecdm.data.rows import json_lines
from ecdm.data.scenes import SPLITS

CAPTIONS = "https://storage.googleapis.com/localized-narratives/annotations"
IMAGES = "https://open-images-dataset.s3.amazonaws.com"
FOLDERS = {"validation": ("test",), "train": ("validation", "train")}
# The same captions, alone and in the large files; the first that is there is read.
FILES = {
    "validation": ("open_images_validation_captions.jsonl", "open_images_validation_localized_narratives.jsonl"),
    "train": ("open_images_train_v6_captions.jsonl", "open_images_train_v6_localized_narratives*.jsonl"),
}


class _Narrative(BaseModel):
    image_id: str
    caption: str


def openimages_pools(
    path: Path, seed: int, download: bool, splits: Collection[str] = SPLITS, key: str = "data"
) -> list[Pool]:  # fmt: skip
    """The captioned images of Open Images, narratives of several people being captions of one image.

    An image's id is its rank, from 1 on, among the sorted image ids of all captions that are there. Of several
    captions the first is the one that inpainting asks for; seed and image id decide which it is.
    Of the train images those count whose files are there. With `download` all count: captions are fetched where
    there are none, and of the images those that are drawn. What serves none of `splits` may be missing and is not read.
    `key`: the section of params.yaml that names the folder.
    Raises: FileNotFoundError naming what is missing; ValueError naming a line of another form; as `fetch`.
    """
    folders = serving(FOLDERS, splits)
    captions = {name: _captions(path, name, download) for name in folders}
    missing = [] if download else [name for name in folders if not (path / name).is_dir()]
    missing += [" or ".join(FILES[name]) for name in folders if not captions[name]]
    if missing:
        raise FileNotFoundError(
            f"{key}.path: {path}: missing {', '.join(missing)}, expected Open Images; {key}.download: true fetches it"
        )
    ranks = {name: rank for rank, name in enumerate(sorted(set().union(*captions.values())), start=1)}
    if "train" in folders and not download:
        there = {file.name for file in (path / "train").iterdir()}
        captions["train"] = {name: texts for name, texts in captions["train"].items() if f"{name}.jpg" in there}
    for name in captions.get("validation", ()):
        captions.get("train", {}).pop(name, None)
    bring = {name: partial(_bring, path / name, name) if download else None for name in folders}
    offered = {name: _candidates(captions[name], ranks, seed) for name in folders}
    return [Pool(path / name, own, offered[name], fetch=bring[name]) for name, own in folders.items()]


def _captions(path: Path, name: str, download: bool) -> dict[str, list[str]]:
    """Captions by image id; empty where there is no file of them."""
    files = _files(path, name)
    if not files and download:
        fetch(f"{CAPTIONS}/{FILES[name][0]}", path / FILES[name][0])
        files = _files(path, name)
    found: dict[str, list[str]] = defaultdict(list)
    for file in files:
        for row in json_lines(_Narrative, file):
            found[row.image_id].append(row.caption)
    return found


def _files(path: Path, name: str) -> list[Path]:
    found = (sorted(path.glob(pattern)) for pattern in FILES[name])
    return next((files for files in found if files), [])


def _candidates(captions: dict[str, list[str]], ranks: dict[str, int], seed: int) -> list[Candidate]:
    candidates = []
    for image, texts in sorted(captions.items()):
        drawn = caption_drawn(kept(texts), seed, image)
        candidates.append(Candidate(ranks[image], f"{image}.jpg", drawn, None if drawn else NO_CAPTION))
    return candidates


def _bring(folder: Path, name: str, files: Sequence[str]) -> None:
    wanted = [file for file in files if not climbs_out(file)]
    fetch_all([(f"{IMAGES}/{name}/{file}", folder / file) for file in wanted], f"Open Images, {name}")
