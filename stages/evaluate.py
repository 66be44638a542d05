"""Score one variant's outputs, image by image."""

from __future__ import annotations

import argparse
from pathlib import Path

from ecdm.config import load_params
from ecdm.evaluation.jobs import jobs
from ecdm.evaluation.score import score, write_rows
from ecdm.models.perceptual import load_perceptual
from ecdm.models.precision import default_device
from ecdm.stage import run

DATA, MASKS, BUILD = Path("data"), Path("build/masks"), Path("build")


def main(name: str, seed: int) -> None:
    """build/generate/<variant>-<seed> → build/scores/<variant>-<seed>.csv."""
    params = load_params()
    distance = params.evaluate.perceptual
    work = jobs((params.data.source, "photos"), params.masks.buckets, DATA, MASKS)
    outputs, net = BUILD / "generate" / f"{name}-{seed}", load_perceptual(distance).to(default_device())
    rows = list(score(name, seed, outputs, work, params.evaluate.batch, distance, net))
    write_rows(BUILD / "scores" / f"{name}-{seed}.csv", rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variant")
    parser.add_argument("seed", type=int)
    arguments = parser.parse_args()
    run(f"evaluate@{arguments.variant}-{arguments.seed}", lambda: main(arguments.variant, arguments.seed))
