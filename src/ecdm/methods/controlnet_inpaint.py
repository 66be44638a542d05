"""ControlNet inpainting: the text-to-image UNet under the inpainting ControlNet as published, not fine-tuned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from ecdm.config import Generate
from ecdm.data.dataset import Batch
from ecdm.methods.base import ControlledMethod, NoiseSampler
from ecdm.methods.registry import Ingredients
from ecdm.models.branch import Branch
from ecdm.models.denoiser import Control, branch_control


@dataclass(frozen=True)
class ControlnetInpaint(ControlledMethod):
    """ControlNet v1.1 inpainting (Zhang et al. 2023), the method itself, but blind to the hole.

    Hint with −1 in the hole, conditioning scale 1, DDIM from noise under guidance. Known latents are blended in at
    every level (eq. 8), as in the authors' demo; there they are those of the whole image and the mask's edge is
    blurred, here they are those of the masked image and a cell that touches the hole is the network's own.
    """

    native_size: int | None = None

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The networks it evaluates."""
        parts = self.sampler.components
        return {"unet": parts.unet, "controlnet": parts.controlnet_inpaint}


def make(parts: Ingredients) -> ControlnetInpaint:
    """The method with the foundation's networks alone."""
    own, branch = parts.settings, Branch(parts.components.controlnet_inpaint.to(parts.components.device))
    settings = Generate(
        sampler="ddim",
        steps=own.steps,
        guidance=own.guidance,
        eta=own.eta,
        precision=parts.precision,
        batch=own.batch,
    )

    def control_of(batch: Batch) -> Control:
        return branch_control(parts.components, branch, batch.images, batch.masks)

    return ControlnetInpaint("controlnet_inpaint", NoiseSampler(parts.components, settings), control_of)
