"""GLIDE's inpainting: a base that sees caption, known pixels and mask; an upsampler that sees its output as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ecdm.data.dataset import Batch
from ecdm.methods.pixels import Known, PixelDenoiser, Prediction, ancestral, to_images
from ecdm.methods.registry import Ingredients
from ecdm.models.foundation import embed
from ecdm.models.networks import Glide, PixelUnet, enlarged, glide_input, load_glide
from ecdm.models.precision import resolved
from ecdm.numerics.ancestral import clipped, respaced
from ecdm.numerics.diffusion import q_sample, x0_from_eps
from ecdm.numerics.samplers import guide, sample_noise
from ecdm.sections.compare import Glide as Settings

# How the upsampler's steps fall to the fifths of the time steps, the least noisy first, as its published 27 do.
SHARES = (10, 10, 3, 2, 2)


@dataclass(frozen=True)
class GlideInpainting:
    """GLIDE's inpainting (Nichol et al. 2022), the method itself on whichever base and upsampler it is given.

    Ancestral sampling; in every step the known pixels of x0 are the image's. The upsampler takes the caption without
    guidance. With `upsampler_skipped` it starts from the base's image, noised, as a small one needs: its own first
    guesses, made of noise alone, are clipped colours that later steps believe. Other than as published, the base's
    output is not rounded to 8 bits between the two: a last bit would decide over a whole level, and outputs would hang
    on the batch. An image's generator draws start and steps of the base, then those of the upsampler.
    """

    glide: Glide
    settings: Settings
    half: bool
    name: str = "glide"

    @property
    def native_size(self) -> int:
        """The upsampler's side, pixels."""
        return self.glide.upsampler.size

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The networks it evaluates."""
        return {"base": self.glide.base.unet, "upsampler": self.glide.upsampler.unet}

    @torch.no_grad()
    def inpaint(self, batch: Batch, generators: Sequence[torch.Generator]) -> Tensor:
        """Raw outputs (b, 3, h, w) in [0, 1] where the batch is; they are made where the networks are."""
        glide, settings = self.glide, self.settings
        moved = batch.to(glide.base.unet.device)
        halves = [self.embed([""] * len(moved.captions))] if settings.guidance != 1 else []
        text = self.embed(moved.captions)

        known = Known.of(moved, glide.base.size)
        start = sample_noise(known.image.shape, generators, known.image)
        base = GuidedNetwork(glide.base, self.half, known, torch.cat([*halves, text]), settings.guidance)
        levels = respaced(settings.steps, glide.base.schedule.steps)
        low = enlarged(sample_known(base, start, levels, generators), glide.upsampler.size)

        known = Known.of(moved, glide.upsampler.size)
        schedule = glide.upsampler.schedule
        start = settings.upsampler_noise * sample_noise(known.image.shape, generators, known.image)
        upsampler = GuidedNetwork(glide.upsampler, self.half, known, text, guidance=1, low=low)
        levels = respaced(settings.upsampler_steps, schedule.steps, SHARES)[settings.upsampler_skipped :]
        if settings.upsampler_skipped:
            start = q_sample(low, levels[0], start, schedule)
        return to_images(sample_known(upsampler, start, levels, generators), batch)

    def embed(self, captions: Sequence[str]) -> Tensor:
        """Text embeddings (b, n, width)."""
        return embed(self.glide.tokenizer, self.glide.text_encoder, captions)


@dataclass(frozen=True)
class GuidedNetwork:
    """One of the two networks under classifier-free guidance (Ho & Salimans 2022); guidance 1 needs one half only.

    `text`: (halves · b, n, width), the half without caption first. `low`: (b, 3, s, s), the base's image enlarged.
    """

    net: PixelUnet
    half: bool
    known: Known
    text: Tensor
    guidance: float
    low: Tensor | None = None

    def __call__(self, x: Tensor, t: int) -> Prediction:
        """The guided noise for x (b, 3, s, s); a learned variance is that under the caption."""
        halves = len(self.text) // len(x)
        inputs = glide_input(x, self.known.image, self.known.hole, self.low).repeat(halves, 1, 1, 1)
        found = PixelDenoiser(self.net, self.half)(inputs, t, self.text)
        if halves == 1:
            return found
        without, with_text = found.eps.chunk(2)
        return Prediction(guide(without, with_text, self.guidance), found.share.chunk(2)[1])


def sample_known(
    network: GuidedNetwork, x: Tensor, timesteps: Sequence[int], generators: Sequence[torch.Generator]
) -> Tensor:
    """Ancestral sampling from the noise `x` (b, 3, s, s) to an image in [−1, 1] whose known pixels are the image's."""
    scheduler, schedule = ancestral(network.net, timesteps), network.net.schedule
    for t in timesteps:
        found = network(x, t)
        x0 = network.known.keep(clipped(x0_from_eps(x, t, found.eps, schedule)))
        output = torch.cat([x0, found.share], dim=1)
        x = scheduler.step(output, t, x, generator=list(generators), return_dict=False)[0]
    return x


def make(parts: Ingredients) -> GlideInpainting:
    """The method with its networks, at `glide` among the networks; raises as `load_glide`."""
    device = parts.components.device
    glide = load_glide(parts.networks / "glide")
    for network in (glide.base.unet, glide.upsampler.unet, glide.text_encoder):
        network.to(device)
    return GlideInpainting(glide, parts.settings, resolved(parts.precision, device) == "bf16")
