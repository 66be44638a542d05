"""Stable Diffusion inpainting: a UNet that sees mask and masked image beside the noisy latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional as F

from ecdm.data.dataset import Batch
from ecdm.methods.registry import Ingredients
from ecdm.models.denoiser import Denoiser
from ecdm.models.foundation import Components
from ecdm.models.networks import load_inpainting_unet
from ecdm.numerics.masks import is_hole, masked_image
from ecdm.numerics.samplers import make_scheduler, sample, sample_noise
from ecdm.sections.base import Precision
from ecdm.sections.compare import Ddim


@dataclass(frozen=True)
class SdInpaint:
    """Stable Diffusion inpainting (Rombach et al. 2022), the method itself, as diffusers' pipeline does it.

    DDIM from pure noise (strength 1) under guidance, nothing blended. An image's generator draws the start, then the
    sample of the autoencoder's posterior, then the steps' noise.
    """

    components: Components
    unet: UNet2DConditionModel
    settings: Ddim
    precision: Precision
    name: str = "sd_inpaint"
    native_size: int | None = None

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The network it evaluates."""
        return {"unet": self.unet}

    def inpaint(self, batch: Batch, generators: Sequence[torch.Generator]) -> Tensor:
        """Raw outputs (b, 3, h, w) in [0, 1] where the batch is; they are made where the networks are."""
        moved, parts, settings = batch.to(self.components.device), self.components, self.settings
        # Mid-gray is the 0 of images in [−1, 1].
        moments = parts.moments(masked_image(moved.images, moved.masks, fill=0.5))
        like = moments.chunk(2, dim=1)[0]
        start, eps = (sample_noise(like.shape, generators, like) for _ in range(2))
        cells = F.interpolate(is_hole(moved.masks).to(like.dtype), size=like.shape[-2:], mode="nearest")
        beside = torch.cat([cells, parts.latents(moments, eps)], dim=1)
        parts = replace(parts, unet=self.unet)
        denoise = Denoiser(parts, moved.captions, settings.guidance, self.precision, beside=beside)
        scheduler = make_scheduler("ddim", parts.scheduler.config)
        z = sample(denoise, start, scheduler, settings.steps, generator=list(generators), eta=settings.eta)
        return parts.decode(z).to(batch.images.device)


def make(parts: Ingredients) -> SdInpaint:
    """The method with its UNet, at `sd_inpaint` among the networks; raises as `load_inpainting_unet`."""
    unet = load_inpainting_unet(parts.networks / "sd_inpaint", parts.components).to(parts.components.device)
    return SdInpaint(parts.components, unet, parts.settings, parts.precision)
