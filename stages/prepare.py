"""Draw the scenes, or read the images of other sources, and bring what is tested on beside them, as COCO folders."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from ecdm.config import load_params
from ecdm.data.engine import Engine
from ecdm.data.files import fresh_folder
from ecdm.data.objects import write_objects
from ecdm.data.photos import write_photos
from ecdm.data.scene_folder import write_scenes, write_shifted
from ecdm.data.sources import write_second, write_source
from ecdm.stage import run

DATA = Path("data")


def main() -> None:
    """params.yaml, files of the sources → data/{<source>,<second source>,photos,objects}.

    The small sets first: what they lack is told before hours go into the first one.
    """
    params = load_params()
    data, seed, engine = params.data, params.seed, Engine(params.prepare.engine, params.data.workers)
    with ExitStack() as stack:
        names = (data.source, data.second.source, "photos", "objects")
        first, second, photos, objects = (stack.enter_context(fresh_folder(DATA / name)) for name in names)
        if data.second.source == "shifted":
            write_shifted(second, seed, data.size, data.second.test, engine)
        else:
            write_second(second, data, seed, engine)
        write_objects(objects, seed, data.size, params.compare.objects, engine)
        write_photos(photos, data.size)
        if data.source == "scenes" and data.train is not None:
            counts = {"train": data.train, "validation": data.validation, "test": data.test}
            write_scenes(first, seed, data.size, counts, engine, data.shards)
        else:
            write_source(first, data, seed, engine)


if __name__ == "__main__":
    run("prepare", main)
