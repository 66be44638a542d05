"""The autoencoder's moments of a split, computed once: encoding costs more than a UNet step."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from tqdm import tqdm

from ecdm.data.dataset import CaptionedFolder
from ecdm.models.foundation import Components


def write_moments(data: Path, split: str, components: Components, path: Path, batch: int) -> None:
    """Write `moments` (n, 2c, h/f, w/f) float32, mean and log-variance, in the order of the image ids."""
    samples = CaptionedFolder(data, split)
    moments = torch.empty(0)
    for start in tqdm(range(0, len(samples), batch), desc=f"latents, {split}", disable=None):
        rows = range(start, min(start + batch, len(samples)))
        part = components.moments(torch.stack([samples[i].image for i in rows]))
        if not start:
            # Filled in place: whole data sets of moments take gigabytes, parts and their sum twice as many.
            moments = torch.empty(len(samples), *part.shape[1:])
        moments[rows.start : rows.stop] = part
    save_file({"moments": moments}, path)
