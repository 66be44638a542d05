"""The project tree that the comparison's stages need."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image


def compared_tree(tree: Path, networks: Path) -> None:
    """Add networks, single items, the images made by hand and the second data set to a project tree."""
    shutil.copytree(networks, tree / "build" / "networks")
    _copy_set(tree, "objects", "object", 3)
    _copy_set(tree, "custom", "custom", 2)
    _copy_set(tree, "shifted", None, 3)


def masks_of(tree: Path, name: str) -> Path:
    """Where the masks of a data set lie; those made by hand come with their images."""
    return tree / "data" / name / "masks" if name == "custom" else tree / "build" / "masks" / name


def _copy_set(tree: Path, name: str, bucket: str | None, count: int) -> None:
    """The first scenes of the tree under another name, with their masks or, in one bucket, squares."""
    from ecdm.data.coco import read_split, write_split

    source, target = tree / "data" / "scenes", tree / "data" / name
    images = read_split(source, "test")[:count]
    (target / "test").mkdir(parents=True)
    (target / "annotations").mkdir()
    for image in images:
        shutil.copy(source / "test" / image.file_name, target / "test" / image.file_name)
    write_split(target, "test", images)
    text = (source / "annotations" / "scenes_test.json").read_text(encoding="utf-8")
    shown = {key: value for key, value in json.loads(text).items() if int(key) in {image.id for image in images}}
    (target / "annotations" / "scenes_test.json").write_text(json.dumps(shown), encoding="utf-8")
    masks = masks_of(tree, name)
    if bucket is None:
        shutil.copytree(masks.with_name("scenes"), masks)
        return
    hole = np.zeros((32, 32), np.uint8)
    hole[8:24, 8:24] = 255
    (masks / bucket).mkdir(parents=True)
    for image in images:
        Image.fromarray(hole).save(masks / bucket / image.file_name)
