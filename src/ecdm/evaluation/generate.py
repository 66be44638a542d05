"""A method's outputs as files: every image of every data set under every bucket's mask."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ecdm.data.dataset import Batch, MaskedFolder
from ecdm.data.files import png_name, save_png
from ecdm.evaluation.jobs import Job
from ecdm.evaluation.team import Team
from ecdm.methods.base import Method, generator_for
from ecdm.numerics.metrics import to_uint8
from ecdm.numerics.samplers import paste


def generate(method: Method, work: Sequence[Job], folder: Path, seed: int, batch: int, team: Team) -> None:
    """Write `folder/<dataset>/<bucket>/{raw,pasted}/<id>.png` and a manifest.json beside them.

    Each image's noise is keyed by (seed, dataset, bucket, id): the same for every method and batch size. The processes
    of a team take whole batches in turn, since what a network makes of an image may hang on its batch by a last bit.
    Raises: ValueError naming an image whose output is not finite; what was written so far stays out of scores,
    since the stage then fails.
    """
    batches = [(job, job.batches(batch)) for job in work]

    def write(place: tuple[Job, MaskedFolder, int]) -> None:
        job, parts, i = place
        part = parts[i]
        for number, *pictures in zip(part.ids, *_files(inpaint(method, part, seed, job), part), strict=True):
            for kind, picture in zip(("raw", "pasted"), pictures, strict=True):
                path = folder / job.dataset / job.bucket / kind / png_name(number)
                save_png(path, picture.permute(1, 2, 0).numpy())

    team.share(write, [(job, parts, i) for job, parts in batches for i in range(len(parts))], method.name)
    if team.first:
        for job, parts in batches:
            _write_manifest(folder / job.dataset / job.bucket, method, job, parts)


def _write_manifest(target: Path, method: Method, job: Job, parts: MaskedFolder) -> None:
    rows = [{"id": i.id, "file": png_name(i.id), "caption": i.captions[0]} for i in parts.images]
    manifest = {"method": method.name, "dataset": job.dataset, "bucket": job.bucket, "images": rows}
    target.mkdir(parents=True, exist_ok=True)
    (target / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def inpaint(method: Method, part: Batch, seed: int, job: Job) -> Tensor:
    """A method's raw outputs (b, 3, h, w) in [0, 1] for one batch.

    Raises: ValueError naming an image whose output is not finite.
    """
    generators = [generator_for(seed, job.dataset, job.bucket, number) for number in part.ids]
    raw = method.inpaint(part, generators)
    for number, output in zip(part.ids, raw, strict=True):
        if not bool(torch.isfinite(output).all()):
            raise ValueError(
                f"{method.name}: {job.dataset}, bucket {job.bucket}, image {number}: "
                "found values that are not finite, expected pixels in [0, 1]"
            )
    return raw


def _files(raw: Tensor, part: Batch) -> tuple[Tensor, Tensor]:
    """Raw and pasted output as uint8; pasting happens on uint8, so known pixels keep their bits."""
    output = to_uint8(raw)
    return output, paste(output, to_uint8(part.images), part.masks)
