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
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pydantic import BaseModel

from ecdm.data.candidates import NO_CAPTION, Candidate, Pool, caption_drawn, kept
from ecdm.data.download import fetch, fetch_all
from ecdm.data.paths import climbs_out
from ecdm.data.rows import json_lines

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


def openimages_pools(path: Path, seed: int, download: bool) -> list[Pool]:
    """The captioned images of Open Images, narratives of several people being captions of one image.

    An image's id is its rank, from 1 on, among the sorted image ids of all captions that are there. Of several
    captions the first is the one that inpainting asks for; seed and image id decide which it is.
    Of the train images those count whose files are there. With `download` all count: captions are fetched where
    there are none, and of the images those that are drawn.
    Raises: FileNotFoundError naming what is missing; ValueError naming a line of another form; as `fetch`.
    """
    captions = {name: _captions(path, name, download) for name in FOLDERS}
    missing = [] if download else [name for name in FOLDERS if not (path / name).is_dir()]
    missing += [" or ".join(FILES[name]) for name in FOLDERS if not captions[name]]
    if missing:
        raise FileNotFoundError(
            f"data.path: {path}: missing {', '.join(missing)}, expected Open Images; data.download: true fetches it"
        )
    ranks = {name: rank for rank, name in enumerate(sorted({*captions["validation"], *captions["train"]}), start=1)}
    if not download:
        there = {file.name for file in (path / "train").iterdir()}
        captions["train"] = {name: texts for name, texts in captions["train"].items() if f"{name}.jpg" in there}
    for name in captions["validation"]:
        captions["train"].pop(name, None)
    return [_pool(path, name, captions[name], ranks, seed, download) for name in FOLDERS]


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


def _pool(
    path: Path, name: str, captions: dict[str, list[str]], ranks: dict[str, int], seed: int, download: bool
) -> Pool:
    candidates = []
    for image, texts in sorted(captions.items()):
        drawn = caption_drawn(kept(texts), seed, image)
        candidates.append(Candidate(ranks[image], f"{image}.jpg", drawn, None if drawn else NO_CAPTION))
    bring = partial(_bring, path / name, name) if download else None
    return Pool(path / name, FOLDERS[name], candidates, fetch=bring)


def _bring(folder: Path, name: str, files: Sequence[str]) -> None:
    wanted = [file for file in files if not climbs_out(file)]
    fetch_all([(f"{IMAGES}/{name}/{file}", folder / file) for file in wanted], f"Open Images, {name}")
