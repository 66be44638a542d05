"""Uni-paint: a UNet tuned on the known part of each image, whose known places then see nothing of the hole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecdm.config import Generate
from ecdm.data.dataset import Batch
from ecdm.methods.base import LatentSampler, NoiseSampler
from ecdm.methods.registry import Ingredients
from ecdm.models.attention_masks import masked_attention
from ecdm.models.foundation import Components
from ecdm.numerics.diffusion import q_sample, simple_loss
from ecdm.numerics.masks import is_hole, latent_mask
from ecdm.numerics.samplers import sample_noise
from ecdm.sections.compare import Unipaint as Settings


class GrownHoleSampler(NoiseSampler):
    """Sampling from noise with a hole one cell wider all around."""

    def hole(self, masks: Tensor, t: int) -> Tensor:
        """The mask (b, 1, h/f, w/f) at its nearest pixels, dilated by 3 x 3 cells.

        Cells that touch the hole belong to it as well: a stroke can pass between the nearest pixels.
        """
        touched = latent_mask(masks, self.components.factor)
        nearest = F.interpolate(is_hole(masks).to(touched.dtype), size=touched.shape[-2:], mode="nearest")
        return torch.maximum(touched, F.max_pool2d(nearest, 3, stride=1, padding=1))


@dataclass(frozen=True)
class Unipaint:
    """Uni-paint (Yang et al. 2023), text-guided: its algorithm on our own backbone.

    Each image is tuned on and sampled by itself, and the UNet is then what it was, also after an error. Known latents
    are blended in before every step, and once more, clean, after the last one. Other than as published, the hole of
    what is encoded has the mean colour instead of gray, and its latents are the posterior's mean.
    """

    sampler: LatentSampler
    settings: Settings
    name: str = "unipaint"
    native_size: int | None = None

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The network it evaluates, to tune it and to sample."""
        return {"unet": self.sampler.components.unet}

    def inpaint(self, batch: Batch, generators: Sequence[torch.Generator]) -> Tensor:
        """Raw outputs (b, 3, h, w) in [0, 1] where the batch is; they are made where the networks are."""
        moved = batch.to(self.sampler.components.device)
        rows = zip(moved.images, moved.masks, moved.captions, moved.ids, generators, strict=True)
        outputs = [
            self._one(Batch(image[None], mask[None], [caption], [number]), generator)
            for image, mask, caption, number, generator in rows
        ]
        return torch.cat(outputs).to(batch.images.device)

    def _one(self, batch: Batch, generator: torch.Generator) -> Tensor:
        parts = self.sampler.components
        z0 = self.sampler.known_latents(batch.images, batch.masks)
        known = 1 - self.sampler.hole(batch.masks, -1)
        with trainable_for_now(parts.unet):
            tune(parts, z0, known, self.settings, generator)
            with masked_attention(parts.unet, batch.masks, parts.factor):
                return self.sampler(batch, [generator], None)


@contextmanager
def trainable_for_now(network: nn.Module) -> Iterator[None]:
    """All weights may be trained within the context; after it they are as before, bit for bit, and as frozen."""
    before = {name: value.clone() for name, value in network.state_dict().items()}
    flags = [parameter.requires_grad for parameter in network.parameters()]
    try:
        network.requires_grad_(True)
        yield
    finally:
        network.load_state_dict(before)
        for parameter, flag in zip(network.parameters(), flags, strict=True):
            parameter.requires_grad_(flag)
            parameter.grad = None


def tune(parts: Components, z0: Tensor, known: Tensor, settings: Settings, generator: torch.Generator) -> None:
    """Fit the UNet, whose weights must be trainable, to the known cells of one image's latents, without a text.

    `z0`: (1, c, h, w); `known`: (1, 1, h, w), 1 = known. Adam in float32; `generator` draws time step and noise of
    every iteration.
    """
    optimiser = torch.optim.Adam(parts.unet.parameters(), lr=settings.lr, fused=True)
    text = parts.embed([""])
    for _ in range(settings.iterations):
        t = torch.randint(parts.schedule.steps, (1,), generator=generator, device=generator.device)
        eps = sample_noise(z0.shape, [generator], z0)
        with torch.enable_grad():
            known_loss(parts, text, z0, known, t, eps).backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)


def known_loss(parts: Components, text: Tensor, z0: Tensor, known: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """Eq. 5 on the cells (b, 1, h, w) that are known, the others counted as without error; `t`: (b,)."""
    z = q_sample(z0, t, eps, parts.schedule)
    prediction = parts.unet(z, t.to(z.device), text).sample
    return simple_loss(eps * known, prediction * known)


def make(parts: Ingredients) -> Unipaint:
    """The method with the foundation's networks alone."""
    own = parts.settings
    settings = Generate(
        sampler="ddim",
        steps=own.steps,
        guidance=own.guidance,
        eta=0.0,
        precision=parts.precision,
        batch=own.batch,
    )
    return Unipaint(GrownHoleSampler(parts.components, settings), own)
