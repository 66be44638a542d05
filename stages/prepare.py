"""Draw the scenes, or read the images of another source, and copy the photographs, all as COCO-captions folders."""

from __future__ import annotations

from pathlib import Path

from ecdm.config import load_params
from ecdm.data.engine import Engine
from ecdm.data.files import fresh_folder
from ecdm.data.photos import write_photos
from ecdm.data.scene_folder import write_scenes
from ecdm.data.sources import write_source
from ecdm.stage import run

DATA, PHOTOS = Path("data"), Path("data/photos")


def main() -> None:
    """params.yaml, the source's files → data/<source>, data/photos."""
    params = load_params()
    data, engine = params.data, Engine(params.prepare.engine, params.data.workers)
    with fresh_folder(DATA / data.source) as folder, fresh_folder(PHOTOS) as photos:
        if data.source == "scenes" and data.train is not None:
            counts = {"train": data.train, "validation": data.validation, "test": data.test}
            write_scenes(folder, params.seed, data.size, counts, engine, data.shards)
        else:
            write_source(folder, data, params.seed, engine)
        write_photos(photos, data.size)


if __name__ == "__main__":
    run("prepare", main)
