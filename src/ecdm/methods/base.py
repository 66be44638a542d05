"""What every inpainting method offers, and latent sampling with blending, which most of them share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ecdm.config import Generate
from ecdm.data.dataset import Batch
from ecdm.models.denoiser import Control, Denoiser
from ecdm.models.foundation import Components
from ecdm.numerics.diffusion import q_sample
from ecdm.numerics.masks import latent_mask, mean_filled
from ecdm.numerics.samplers import blend, first_level, make_scheduler, sample, sample_noise


class Method(Protocol):
    """Fills holes: may read `batch.images` outside the mask only."""

    @property
    def name(self) -> str:
        """How tables and folders call it."""
        ...

    def inpaint(self, batch: Batch, generators: Sequence[torch.Generator]) -> Tensor:
        """Raw outputs (b, 3, h, w) in [0, 1] where the batch is, one generator per image."""
        ...


def generator_for(seed: int, *key: str | int) -> torch.Generator:
    """The generator of one image's noise, keyed by what it is for and not by when it is drawn."""
    digest = hashlib.sha256(repr((seed, *key)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@dataclass(frozen=True)
class LatentSampler:
    """Guided sampling in latent space with the known region blended in after each step (eq. 7, 8)."""

    components: Components
    settings: Generate

    def known_latents(self, images: Tensor, masks: Tensor) -> Tensor:
        """Latents (b, c, h/f, w/f) of the masked image of eq. 6, its hole in the mean colour of what is known."""
        return self.components.latents(self.components.moments(mean_filled(images, masks)))

    def hole(self, masks: Tensor, t: int) -> Tensor:
        """The latent cells (b, 1, h/f, w/f) that are hole at noise level t: those hidden by more than σ_t / 2.

        Half-hidden cells tell the network much about what surrounds the hole, and the gray in them shows only once
        the noise is low; from t = -1 on every cell that touches the hole is the network's own.
        """
        sigma = float(self.components.schedule.scales(t, torch.zeros((), dtype=torch.float64))[1])
        return latent_mask(masks, self.components.factor, spared=sigma / 2)

    def start(self, z0_known: Tensor, masks: Tensor, first: int, generators: Sequence[torch.Generator]) -> Tensor:
        """The state (b, c, h/f, w/f) at the first level: the known latents noised to it, mean colour in the hole.

        A few per cent of the signal are left there, and the network trusts what it sees of them: noise alone would tell
        it that the hole has the colour of latent 0.
        """
        return q_sample(z0_known, first, sample_noise(z0_known.shape, generators, z0_known), self.components.schedule)

    def __call__(self, batch: Batch, generators: Sequence[torch.Generator], control: Control | None) -> Tensor:
        """Raw outputs (b, 3, h, w) in [0, 1]."""
        parts, settings = self.components, self.settings
        z0_known = self.known_latents(batch.images, batch.masks)
        scheduler = make_scheduler(settings.sampler, parts.scheduler.config)
        start = self.start(z0_known, batch.masks, first_level(scheduler, settings.steps), generators)
        denoise = Denoiser(parts, batch.captions, settings.guidance, settings.precision, control)

        def after_step(z: Tensor, reached: int) -> Tensor:
            eps = sample_noise(z.shape, generators, z)
            hole = self.hole(batch.masks, reached)
            return blend(z, z0_known, hole, reached, parts.schedule, eps)

        z = sample(
            denoise,
            start,
            scheduler,
            settings.steps,
            generator=list(generators),
            eta=settings.eta,
            after_step=after_step,
        )
        return parts.decode(z)


class NoiseSampler(LatentSampler):
    """The same as published methods have it: the hole starts from noise alone and is the same at all levels."""

    def hole(self, masks: Tensor, t: int) -> Tensor:
        """The latent cells (b, 1, h/f, w/f) that touch the hole."""
        return latent_mask(masks, self.components.factor)

    def start(self, z0_known: Tensor, masks: Tensor, first: int, generators: Sequence[torch.Generator]) -> Tensor:
        """Noise (b, c, h/f, w/f), with the known latents at the first level blended in."""
        z, eps = (sample_noise(z0_known.shape, generators, z0_known) for _ in range(2))
        return blend(z, z0_known, self.hole(masks, first), first, self.components.schedule, eps)


@dataclass(frozen=True)
class ControlledMethod:
    """A method that differs from others in its control alone; `control_of` builds it from a batch."""

    name: str
    sampler: LatentSampler
    control_of: Callable[[Batch], Control | None]

    def inpaint(self, batch: Batch, generators: Sequence[torch.Generator]) -> Tensor:
        """Raw outputs (b, 3, h, w) in [0, 1] where the batch is; they are made where the networks are."""
        moved = batch.to(self.sampler.components.device)
        return self.sampler(moved, generators, self.control_of(moved)).to(batch.images.device)
