"""Draw the scenes and copy the photographs, both as COCO-captions folders."""

from __future__ import annotations

from pathlib import Path

from ecdm.config import load_params
from ecdm.data.files import fresh_folder
from ecdm.data.photos import write_photos
from ecdm.data.scene_folder import write_scenes
from ecdm.stage import run

SCENES, PHOTOS = Path("data/scenes"), Path("data/photos")


def main() -> None:
    """params.yaml → data/scenes, data/photos."""
    params = load_params()
    data = params.data
    counts = {"train": data.train, "validation": data.validation, "test": data.test}
    with fresh_folder(SCENES) as scenes, fresh_folder(PHOTOS) as photos:
        write_scenes(scenes, params.seed, data.size, counts, data.workers)
        write_photos(photos, data.size)


if __name__ == "__main__":
    run("prepare", main)
