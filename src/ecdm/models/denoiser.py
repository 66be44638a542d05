"""Denoisers for sampling: the frozen UNet, alone or with a control branch, under classifier-free guidance."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from diffusers import ControlNetModel
from torch import Tensor

from ecdm.models.branch import Branch, hint, signal
from ecdm.models.foundation import Components
from ecdm.models.precision import resolved
from ecdm.models.split_unet import Residuals, SplitUNet
from ecdm.numerics.samplers import guide
from ecdm.sections.base import Precision

# (z, t, text) for both guidance halves at once → what the branch adds.
Control = Callable[[Tensor, Tensor, Tensor], Residuals]


class Denoiser:
    """`denoise(z, t)` of the samplers for one batch of captions: eps, float32, under guidance (Ho & Salimans 2022).

    `precision`: `bf16` runs UNet and branch under autocast, as does `auto` on a device that is good at it; the guidance
    itself is float32 in any case. `beside` (b, k, h, w): further channels that the UNet takes after z's.
    """

    def __init__(
        self,
        components: Components,
        captions: Sequence[str],
        guidance: float,
        precision: Precision,
        control: Control | None = None,
        beside: Tensor | None = None,
    ) -> None:
        self.split, self.control, self.guidance = SplitUNet(components.unet), control, guidance
        self.beside = beside
        self.half = resolved(precision, components.device) == "bf16"
        self.halves = 1 if guidance == 1 else 2
        texts = list(captions) if guidance == 1 else [""] * len(captions) + list(captions)
        self.text = components.embed(texts)

    @torch.no_grad()
    def __call__(self, z: Tensor, t: int) -> Tensor:
        doubled = z.repeat(self.halves, 1, 1, 1)
        times = torch.full((len(doubled),), t, device=z.device)
        with torch.autocast(z.device.type, torch.bfloat16, enabled=self.half):
            residuals = self.control(doubled, times, self.text) if self.control else None
            if self.beside is not None:
                doubled = torch.cat([doubled, self.beside.repeat(self.halves, 1, 1, 1)], dim=1)
            eps, _ = self.split.decode(self.split.encode(doubled, times, self.text), residuals)
        eps = eps.float()
        if self.halves == 1:
            return eps
        without, with_text = eps.chunk(2)
        return guide(without, with_text, self.guidance)


def branch_control(components: Components, branch: Branch, images: Tensor, masks: Tensor) -> Control:
    """The inpainting branch's control for images (b, 3, h, w) in [0, 1] and masks; tokens are made once."""
    condition, transformed = hint(images, masks), signal(components, branch, images, masks)
    with torch.no_grad():
        tokens = branch.acda.tokens(transformed) if branch.acda and transformed is not None else None

    def control(z: Tensor, t: Tensor, text: Tensor) -> Residuals:
        repeats = len(z) // len(condition)
        residuals: Residuals = branch(z, t, text, condition.repeat(repeats, 1, 1, 1), tokens=tokens)
        return residuals

    return control


def edge_control(controlnet: ControlNetModel, edges: Tensor) -> Control:
    """The teacher's control for edges (b, 1, h, w), 0 or 1."""
    condition = edges.repeat(1, 3, 1, 1)

    def control(z: Tensor, t: Tensor, text: Tensor) -> Residuals:
        repeated = condition.repeat(len(z) // len(condition), 1, 1, 1)
        down, middle = controlnet(z, t, text, repeated, return_dict=False)
        return Residuals(tuple(down), middle)

    return control
