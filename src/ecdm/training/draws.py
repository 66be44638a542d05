"""All randomness of training: keyed by (seed, sample, step), the same for every variant and process count."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ecdm.numerics.masks import draw_training, mask_rng


@dataclass(frozen=True)
class Draw:
    """One sample's draws: eps and posterior noise (c, h, w), t, the hole (1, H, W), caption share, text kept."""

    eps: Tensor
    posterior: Tensor
    t: int
    mask: Tensor
    caption: float
    keep_text: bool


def draw(
    seed: int, sample: int, step: int, latent_shape: tuple[int, ...], image_shape: tuple[int, int], steps: int,
    text_dropout: float,
) -> Draw:  # fmt: skip
    """Draw everything random that one training sample needs.

    `latent_shape` (c, h, w), `image_shape` (H, W), `steps` of the noise schedule. t is uniform, the hole's share
    uniform in 10–60 %, from the generators of the test masks.
    """
    digest = hashlib.sha256(f"{seed}/{sample}/{step}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    eps = torch.randn(latent_shape, generator=generator)
    posterior = torch.randn(latent_shape, generator=generator)
    t = int(torch.randint(steps, (), generator=generator))
    caption, dropped = torch.rand(2, generator=generator).tolist()
    hole = draw_training(mask_rng(seed, "training", sample, step), *image_shape)
    return Draw(eps, posterior, t, torch.from_numpy(hole)[None].float(), caption, dropped >= text_dropout)


def sample_order(seed: int, count: int, start: int, length: int) -> list[int]:
    """Sample numbers `start` to `start + length` of an endless run of epochs, each a fresh permutation."""
    numbers: list[int] = []
    position = start
    while len(numbers) < length:
        epoch, offset = divmod(position, count)
        permutation = np.random.default_rng(np.random.SeedSequence([seed, epoch])).permutation(count)
        taken = permutation[offset : offset + length - len(numbers)]
        numbers += [int(i) for i in taken]
        position += len(taken)
    return numbers
