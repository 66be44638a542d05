"""Outputs against the truth: one row per image, bucket, metric and kind of output."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ecdm.data.coco import load_image
from ecdm.data.dataset import Batch
from ecdm.data.files import png_name
from ecdm.data.scores import COLUMNS
from ecdm.evaluation.jobs import Job
from ecdm.numerics import metrics

Row = tuple[str, str, int, int, str, str, int, float]
Net = Callable[[Tensor, Tensor], Tensor]
# (job, batch, outputs (b, 3, h, w) in [0, 1]) → further metrics (b,) by name.
Further = Callable[[Job, Batch, Tensor], dict[str, Tensor]]


def measure(output: Tensor, batch: Batch, perceptual: str, net: Net) -> dict[str, Tensor]:
    """Every metric (b,) of outputs (b, 3, h, w) in [0, 1]; `perceptual` is the name of `net`'s distance."""
    truth, masks = batch.images, batch.masks
    return {
        "psnr": metrics.psnr(output, truth),
        "ssim": metrics.ssim(output, truth),
        "l1": metrics.l1(output, truth),
        perceptual: metrics.perceptual(net, output, truth),
        "psnr_hole": metrics.psnr_hole(output, truth, masks),
        "l1_hole": metrics.l1_hole(output, truth, masks),
    }


def score(
    variant: str,
    seed: int,
    folder: Path,
    work: Sequence[Job],
    batch: int,
    perceptual: str,
    net: Net,
    further: Further | None = None,
) -> Iterator[Row]:
    """Rows for the PNGs that `generate` wrote to `folder`.

    Raises: ValueError naming a missing or unreadable output.
    """
    for job in work:
        for part in job.batches(batch):
            for pasted, kind in enumerate(("raw", "pasted")):
                paths = [folder / job.dataset / job.bucket / kind / png_name(i) for i in part.ids]
                output = _images(paths)
                yield from rows(variant, seed, job, part, pasted, output, perceptual, net)
                if further is not None:
                    yield from _as_rows(variant, seed, job, part, pasted, further(job, part, output))


def rows(
    variant: str, seed: int, job: Job, part: Batch, pasted: int, output: Tensor, perceptual: str, net: Net
) -> Iterator[Row]:
    """Rows for outputs at hand."""
    return _as_rows(variant, seed, job, part, pasted, measure(output, part, perceptual, net))


def _as_rows(
    variant: str, seed: int, job: Job, part: Batch, pasted: int, found: dict[str, Tensor]
) -> Iterator[Row]:  # fmt: skip
    for metric, values in found.items():
        for number, value in zip(part.ids, values.tolist(), strict=True):
            yield job.dataset, variant, seed, number, job.bucket, metric, pasted, value


def write_rows(path: Path, table: Iterable[Row]) -> None:
    """Write rows as CSV with six significant digits, so that equal outputs give equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows((*row[:-1], f"{row[-1]:.6g}") for row in table)


def _images(paths: Sequence[Path]) -> Tensor:
    pixels = [torch.from_numpy(load_image(path)).permute(2, 0, 1) for path in paths]
    return torch.stack(pixels).float() / 255
