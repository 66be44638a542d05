"""Score the reference rows: fills without learning, and the autoencoder's ceiling."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ecdm.config import load_params
from ecdm.evaluation.generate import inpaint
from ecdm.evaluation.jobs import jobs
from ecdm.evaluation.score import Row, rows, write_rows
from ecdm.methods.base import Method
from ecdm.methods.fills import FILLS, Reconstruction
from ecdm.models.foundation import load_foundation
from ecdm.models.perceptual import load_perceptual
from ecdm.models.precision import default_device
from ecdm.numerics.metrics import to_uint8
from ecdm.numerics.samplers import paste
from ecdm.stage import run

DATA, MASKS, BUILD = Path("data"), Path("build/masks"), Path("build")


def main() -> None:
    """data/, build/masks, build/foundation → build/scores/reference.csv."""
    params = load_params()
    distance, size = params.evaluate.perceptual, params.evaluate.batch
    net = load_perceptual(distance).to(default_device())
    methods: list[Method] = [*FILLS, Reconstruction(load_foundation(BUILD / "foundation").to(default_device()))]

    def table() -> Iterator[Row]:
        for job in jobs((params.data.source, "photos"), params.masks.buckets, DATA, MASKS):
            for part in job.batches(size):
                for method in methods:
                    raw = to_uint8(inpaint(method, part, params.seed, job)).float() / 255
                    for pasted, output in enumerate((raw, paste(raw, part.images, part.masks))):
                        yield from rows(method.name, 0, job, part, pasted, output, distance, net)

    write_rows(BUILD / "scores" / "reference.csv", list(table()))


if __name__ == "__main__":
    run("reference", main)
