"""Where the pictures to be judged lie: those of trained variants, and those of published methods."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import get_args

from ecdm.data.coco import read_json
from ecdm.sections.compare import MethodName
from ecdm.study.plan import Settings

PASTED, MANIFEST = "pasted", "manifest.json"
PUBLISHED: frozenset[str] = frozenset(get_args(MethodName))


def output_folders(settings: Settings, build: Path) -> dict[str, Path]:
    """Folder of pasted outputs by method: a published one's of the comparison, any other's of its training seed.

    Raises: ValueError naming the first method without a folder.
    """
    found = {}
    for name in settings.methods:
        if name in PUBLISHED:
            run = build / "compare" / f"{name}-{settings.dataset}"
        else:
            run = build / "generate" / f"{name}-{settings.training_seed}"
        found[name] = run / settings.dataset / settings.bucket / PASTED
        if not found[name].is_dir():
            raise ValueError(f"methods: {name}: found no folder {found[name]}, expected its outputs")
    return found


def common_images(outputs: Mapping[str, Path], images: Collection[int]) -> set[int]:
    """The ids among `images` that every method was given: a published one may do the first images only.

    Raises: FileNotFoundError and ValueError naming a published method's manifest that is missing or of another form.
    """
    common = set(images)
    for name in PUBLISHED.intersection(outputs):
        common &= _listed(outputs[name].parent / MANIFEST)
    return common


def _listed(path: Path) -> set[int]:
    content = read_json(path)
    try:
        return {int(image["id"]) for image in content["images"]}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: found {error!r}, expected the list of images with their ids") from error
