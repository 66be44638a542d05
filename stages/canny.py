"""Find the edges of every image."""

from __future__ import annotations

from pathlib import Path

from ecdm.config import load_params
from ecdm.data.edges import write_edges
from ecdm.data.engine import Engine
from ecdm.data.files import fresh_folder
from ecdm.stage import run

DATA, EDGES = Path("data"), Path("build/edges")


def main() -> None:
    """data/ → build/edges/<dataset>/<split>/<id>.png, or shards where the images are in shards."""
    params = load_params()
    low, high = params.canny.low, params.canny.high
    engine = Engine(params.prepare.engine, params.data.workers)
    with fresh_folder(EDGES) as folder:
        for dataset, splits in ((params.data.source, ("train", "validation", "test")), ("photos", ("test",))):
            for split in splits:
                write_edges(DATA / dataset, split, folder / dataset, low, high, engine)


if __name__ == "__main__":
    run("canny", main)
