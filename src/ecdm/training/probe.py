"""Does a trained branch use its frequency tokens? How large the second term is, and what a wrong image's costs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from ecdm.models.branch import Branch
from ecdm.training.folder import TrainFolder
from ecdm.training.objective import Objective


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
def probe(branch: Branch, objective: Objective, data: TrainFolder, repeats: int, batch: int) -> Probe:
    """Measure on the whole of `data`, `repeats` times under draws of their own; both losses share every draw.

    The other image is the previous one in the batch, the last one for the first, under its own mask. No image is
    twice in a batch of at most `batch`; the repeats of an image are one value, since they are not independent.
    """
    count = len(data.samples)
    own, other = torch.zeros(count, dtype=torch.float64), torch.zeros(count, dtype=torch.float64)
    text, frequency = [], []
    branch.record(True)
    for repeat in range(repeats):
        for rows in np.array_split(np.arange(count), math.ceil(count / batch)):
            start = repeat * count + int(rows[0])
            numbers, part = data.numbers(start, len(rows)), data.positions(start, len(rows))
            own[numbers] += objective(branch, part).per_sample.double().cpu()
            rms = branch.rms()
            text.append(rms[0])
            frequency.append(rms[1])
            other[numbers] += objective(branch, part, swapped=True).per_sample.double().cpu()
    branch.record(False)
    return Probe(
        sum(text) / len(text), sum(frequency) / len(frequency), (own / repeats).tolist(), (other / repeats).tolist()
    )
