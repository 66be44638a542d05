"""What the methods share that sample pixels: what is known at the networks' own size, predictions, steps, outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from ecdm.data.dataset import Batch
from ecdm.models.networks import PixelUnet
from ecdm.numerics.ancestral import clipped
from ecdm.numerics.masks import is_hole
from ecdm.numerics.resizing import resized, resized_known


class Prediction(NamedTuple):
    """A network's output: the noise (b, 3, h, w), and the share of a learned variance, (b, 3, h, w) or (b, 0, h, w)."""

    eps: Tensor
    share: Tensor


@dataclass(frozen=True)
class Known:
    """What a method may see at its networks' size.

    `image`: (b, 3, s, s) in [−1, 1], its hole in the mean colour of what is known. `hole`: (b, 1, s, s) bool.
    """

    image: Tensor
    hole: Tensor

    @classmethod
    def of(cls, batch: Batch, size: int) -> Known:
        """The known part of a batch at size x size pixels, as `resized_known` has it."""
        image, mask = resized_known(batch.images, batch.masks, size)
        return cls(image * 2 - 1, is_hole(mask))

    def keep(self, x0: Tensor) -> Tensor:
        """x0 (b, 3, s, s) in the hole, the image elsewhere, bit for bit."""
        return torch.where(self.hole, x0, self.image)


@dataclass(frozen=True)
class PixelDenoiser:
    """A network on pixels as eps(x, t); `half`: under bfloat16 autocast, its output in the dtype of x in any case."""

    net: PixelUnet
    half: bool

    def __call__(self, x: Tensor, t: int, text: Tensor | None = None) -> Prediction:
        """The prediction for x (b, 3 or more, h, w), further channels as the network takes them, at timestep t."""
        times = torch.full((len(x),), t, device=x.device)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.half):
            # A view: where x is a leaf that a gradient is taken to, torch's counter of operations fails at modules
            # that get the leaf itself.
            output = self.net.unet(x.view_as(x), times, *(() if text is None else (text,))).sample
        return Prediction(output[:, :3].to(x.dtype), output[:, 3:].to(x.dtype))


def ancestral(net: PixelUnet, timesteps: Sequence[int]) -> DDPMScheduler:
    """DDPM (Ho et al. 2020) over these timesteps, with the variance that the network learned, else the smaller one.

    Its steps take x0, clipped or not as they get it, where other schedulers take the noise; the share of a learned
    variance follows it.
    """
    changes = {"prediction_type": "sample", "clip_sample": False, "thresholding": False}
    kind = "fixed_small" if net.unet.config.out_channels == 3 else "learned_range"
    scheduler = DDPMScheduler.from_config(net.scheduler.config, variance_type=kind, **changes)
    scheduler.set_timesteps(timesteps=list(timesteps))
    return scheduler


def to_images(x0: Tensor, batch: Batch) -> Tensor:
    """Raw outputs in [0, 1], of the size of the batch's images and where they are, from x0 (b, 3, s, s) in [−1, 1]."""
    height, width = batch.images.shape[-2:]
    return resized(clipped(x0) / 2 + 0.5, height, width).clamp(0, 1).to(batch.images.device)
