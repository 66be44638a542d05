"""Does a trained branch use its frequency tokens? How large the second term is, and what a wrong image's costs."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ecdm.models.branch import Branch
from ecdm.training.folder import TrainFolder
from ecdm.training.objective import Objective


@dataclass(frozen=True)
class Probe:
    """RMS of the two attention terms, and L_simple per sample with the image's own and with another's tokens."""

    rms_text: float
    rms_frequency: float
    own: list[float]
    other: list[float]


@torch.no_grad()
def probe(branch: Branch, objective: Objective, data: TrainFolder, repeats: int, batch: int) -> Probe:
    """Measure on the whole of `data`, `repeats` times under draws of their own; both losses share every draw.

    The other image's signal is the next one's in the batch, each under its own mask.
    """
    own, other, text, frequency = [], [], [], []
    branch.record(True)
    count = len(data.samples)
    for start in range(0, repeats * count, batch):
        part = data.positions(start, min(batch, repeats * count - start))
        own += objective(branch, part).per_sample.tolist()
        rms = branch.rms()
        text.append(rms[0])
        frequency.append(rms[1])
        other += objective(branch, part, swapped=True).per_sample.tolist()
    branch.record(False)
    return Probe(sum(text) / len(text), sum(frequency) / len(frequency), own, other)
