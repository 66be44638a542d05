"""Score what one method made of a data set, image by image: fidelity, and alignment with the captions."""

from __future__ import annotations

import argparse
from pathlib import Path

from ecdm.config import load_params
from ecdm.evaluation.comparison import Alignment, Scope
from ecdm.evaluation.score import score, write_rows
from ecdm.models.networks import load_clip
from ecdm.models.perceptual import load_perceptual
from ecdm.models.precision import default_device
from ecdm.stage import run

DATA, MASKS, BUILD = Path("data"), Path("build/masks"), Path("build")


def main(name: str, dataset: str) -> None:
    """build/compare/<run>-<data set>, build/networks/clip → build/compared/<run>-<data set>.csv."""
    params, made = load_params(), f"{name}-{dataset}"
    distance, batch = params.evaluate.perceptual, params.evaluate.batch
    scope = Scope(params.data.source, params.data.second.source, params.masks.buckets, params.compare.objects)
    work = scope.scored(dataset, params.compare.of(name).images, DATA, MASKS)
    net = load_perceptual(distance).to(default_device())
    clip = load_clip(BUILD / "networks" / "clip")
    clip.model.to(default_device())
    aligned = Alignment.read(clip, BUILD / "foundation", DATA)
    rows = list(score(name, 0, BUILD / "compare" / made, work, batch, distance, net, aligned))
    write_rows(BUILD / "compared" / f"{made}.csv", rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", help="one of compare.methods, or compare.variant.name")
    parser.add_argument("dataset", help="data.source or data.second.source")
    arguments = parser.parse_args()
    name, dataset = arguments.run, arguments.dataset
    run(f"compare_scores@{name}-{dataset}", lambda: main(name, dataset))
