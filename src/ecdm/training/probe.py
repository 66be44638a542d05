"""Does a trained branch use its frequency tokens? How large the second term is, and what a wrong image's costs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ecdm.models.branch import Branch, hint, signal
from ecdm.models.foundation import Components
from ecdm.models.split_unet import SplitUNet
from ecdm.numerics.diffusion import q_sample, simple_loss_per_sample
from ecdm.training.folder import TrainFolder
from ecdm.training.objective import TrainBatch


@dataclass(frozen=True)
class Probe:
    """RMS of the two attention terms; L_simple per image, mean over the repeats, in the order of the image ids.

    `own` is measured with an image's own frequency tokens, `other` with another image's.
    """

    rms_text: float
    rms_frequency: float
    own: list[float]
    other: list[float]


@torch.no_grad()
def probe(branch: Branch, components: Components, data: TrainFolder, repeats: int, batch: int) -> Probe:
    """Measure a branch with ACDA on all of `data`, `repeats` times under new draws, which both losses share.

    The other image is the previous one in the batch, the last one for the first, under its own mask. No image is
    twice in a batch of at most `batch`; the repeats of an image are one value, since they are not independent.
    Raises: ValueError for a branch without ACDA.
    """
    count = len(data.samples)
    own, other = torch.zeros(count, dtype=torch.float64), torch.zeros(count, dtype=torch.float64)
    text, frequency = [], []
    branch.record(True)
    for repeat in range(repeats):
        for rows in np.array_split(np.arange(count), math.ceil(count / batch)):
            start = repeat * count + int(rows[0])
            numbers, part = data.numbers(start, len(rows)), data.positions(start, len(rows))
            losses = _losses(branch, components, part)
            own[numbers] += next(losses).double().cpu()
            rms = branch.rms()
            text.append(rms[0])
            frequency.append(rms[1])
            other[numbers] += next(losses).double().cpu()
    branch.record(False)
    return Probe(
        sum(text) / len(text), sum(frequency) / len(frequency), (own / repeats).tolist(), (other / repeats).tolist()
    )


def _losses(branch: Branch, parts: Components, batch: TrainBatch) -> Iterator[Tensor]:
    """L_simple (b,) with every sample's own frequency signal, then with that of the sample before it."""
    split, z = SplitUNet(parts.unet), q_sample(batch.z0, batch.t, batch.eps, parts.schedule)
    encoded = split.encode(z, batch.t, batch.text)
    own, condition = signal(parts, branch, batch.images, batch.masks), hint(batch.images, batch.masks)
    if own is None:
        raise ValueError("branch: found no ACDA, expected a branch with tokens to probe")
    for handed in (own, own.roll(1, dims=0)):
        residuals = branch(z, batch.t, batch.text, condition, handed)
        yield simple_loss_per_sample(batch.eps, split.decode(encoded, residuals)[0].float())
