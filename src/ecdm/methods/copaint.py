"""CoPaint: DDIM with an unconditional pixel network, each step preceded by a descent on the error of what is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from ecdm.data.dataset import Batch
from ecdm.methods.pixels import Known, PixelDenoiser, to_images
from ecdm.methods.registry import Ingredients
from ecdm.models.networks import PixelUnet, load_pixel
from ecdm.models.precision import resolved
from ecdm.numerics.ancestral import clipped
from ecdm.numerics.descent import Objective, descend
from ecdm.numerics.diffusion import x0_from_eps
from ecdm.numerics.samplers import Scheduler, make_scheduler, sample_noise
from ecdm.numerics.travel import journey, renoised
from ecdm.sections.compare import Copaint as Settings


@dataclass(frozen=True)
class Copaint:
    """CoPaint (Zhang et al. 2023), with time travel CoPaint-TT: the method itself on the pixel network given to it.

    It reads no caption. DDIM without noise of its own, x0 clipped; going back, it noises the state on. An image's
    gradient step is given up after `descent.TRIALS` shrinkings, where the published code would go on. An image's
    generator draws the start, then the noise of each way back.
    """

    net: PixelUnet
    settings: Settings
    half: bool
    name: str = "copaint"

    @property
    def native_size(self) -> int:
        """The pixel network's side, pixels."""
        return self.net.size

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The network it evaluates."""
        return {"unet": self.net.unet}

    @torch.no_grad()
    def inpaint(self, batch: Batch, generators: Sequence[torch.Generator]) -> Tensor:
        """Raw outputs (b, 3, h, w) in [0, 1] where the batch is; they are made where the networks are."""
        known, settings = Known.of(batch.to(self.net.unet.device), self.net.size), self.settings
        scheduler = self.scheduler()
        timesteps = [int(t) for t in scheduler.timesteps]
        x = sample_noise(known.image.shape, generators, known.image)
        for t, reached in pairwise(journey(timesteps, settings.jump, settings.passes)):
            if reached > t:
                x = renoised(x, t, reached, self.net.schedule, sample_noise(x.shape, generators, x))
                continue
            x, eps = self.consistent(x, t, timesteps.index(t), known)
            x = scheduler.step(eps, t, x, return_dict=False)[0]
        return to_images(x, batch)

    def scheduler(self) -> Scheduler:
        """DDIM over the settings' steps: evenly spaced, down to timestep 0."""
        config = {**self.net.scheduler.config, "timestep_spacing": "leading", "clip_sample": True}
        scheduler = make_scheduler("ddim", config)
        scheduler.set_timesteps(self.settings.steps)
        return scheduler

    def consistent(self, x: Tensor, t: int, number: int, known: Known) -> tuple[Tensor, Tensor]:
        """The state x (b, 3, s, s) at the step of this number after its descent, and the noise predicted there."""
        settings, alpha_bar = self.settings, self.net.schedule.alpha_bar
        signal = float((alpha_bar[t] / alpha_bar[0]).sqrt())
        length = settings.lr * settings.growth**number * signal
        return descend(self.objective(x, t, known), x, settings.gradient_steps, length, settings.shrink)

    def objective(self, origin: Tensor, t: int, known: Known) -> Objective:
        """Σ known · (image − x0(x))² + weight · Σ (origin − x)², per image; beside it the predicted noise."""
        denoise, weight = PixelDenoiser(self.net, self.half), self.settings.weight

        def value(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
            eps = denoise(x, t).eps
            x0 = clipped(x0_from_eps(x, t, eps, self.net.schedule))
            error = (known.image[rows] - x0) * ~known.hole[rows]
            moved = origin[rows] - x
            return error.square().flatten(1).sum(1) + weight * moved.square().flatten(1).sum(1), eps

        return value


def make(parts: Ingredients) -> Copaint:
    """The method with its network, at `pixel` among the networks; raises as `load_pixel`."""
    device = parts.components.device
    net = load_pixel(parts.networks / "pixel")
    net.unet.to(device)
    return Copaint(net, parts.settings, resolved(parts.precision, device) == "bf16")
