"""The autoencoder's moments of a split, computed once: encoding costs more than a UNet step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from torch import Tensor

from ecdm.data.dataset import CaptionedFolder
from ecdm.data.engine import Engine
from ecdm.models.foundation import encode, load_part
from ecdm.models.precision import default_device
from ecdm.stage import TorchState


def write_moments(data: Path, split: str, foundation: Path, path: Path, batch: int, engine: Engine) -> None:
    """Write `moments` (n, 2c, h/f, w/f) float32, mean and log-variance, in the order of the image ids.

    `batch` images are encoded at once, by the GPU where there is one; the engine changes no bit, if its processes have
    the same kind of GPU or CPU.
    Raises: as `CaptionedFolder` and `load_part`; ValueError naming an image that cannot be read.
    """
    count = len(CaptionedFolder(data, split))
    jobs = [range(start, min(start + batch, count)) for start in range(0, count, batch)]
    state = TorchState.current()
    make = partial(_encoder, data, split, foundation / "vae", state)
    moments = torch.empty(0)
    for rows, part in zip(jobs, engine.stream(make, jobs, f"latents, {split}", state.threads), strict=True):
        if not rows.start:
            # Filled in place: whole data sets of moments take gigabytes, parts and their sum twice as many.
            moments = torch.empty(count, *part.shape[1:])
        moments[rows.start : rows.stop] = part
    save_file({"moments": moments}, path)


def _encoder(data: Path, split: str, vae: Path, state: TorchState) -> Callable[[range], Tensor]:
    state.apply()
    samples, device = CaptionedFolder(data, split), default_device()
    network = load_part(vae, AutoencoderKL).to(device)

    def moments(rows: range) -> Tensor:
        with torch.no_grad():
            return encode(network, torch.stack([samples[i].image for i in rows]).to(device)).cpu()

    return moments
