"""The paper's method and its ablation: the frozen UNet with a trained inpainting branch, and its two bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from ecdm.config import Generate
from ecdm.data.dataset import Batch
from ecdm.methods.base import ControlledMethod, LatentSampler
from ecdm.models.branch import Branch
from ecdm.models.denoiser import Control, branch_control, edge_control
from ecdm.models.foundation import Components


@dataclass(frozen=True)
class VariantMethod(ControlledMethod):
    """A variant of the ablation, by its branch."""

    branch: Branch
    native_size: int | None = None

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The networks it evaluates."""
        return {"unet": self.sampler.components.unet, "controlnet": self.branch}


def variant(name: str, components: Components, branch: Branch, settings: Generate) -> VariantMethod:
    """Any variant of the ablation: baseline, sail, acda, ours."""

    def control_of(batch: Batch) -> Control:
        return branch_control(components, branch, batch.images, batch.masks)

    return VariantMethod(name, LatentSampler(components, settings), control_of, branch)


def unet_alone(components: Components, settings: Generate) -> ControlledMethod:
    """No branch: text and blending only."""
    return ControlledMethod("unet", LatentSampler(components, settings), lambda batch: None)


def teacher(components: Components, settings: Generate) -> ControlledMethod:
    """The Canny teacher on true edges. It sees the hole's structure: a bound for the gates, not a method."""

    def control_of(batch: Batch) -> Control:
        if batch.edges is None:
            raise ValueError("teacher: found a batch without edges, expected the true edges (b, 1, h, w)")
        return edge_control(components.controlnet_canny, batch.edges)

    return ControlledMethod("teacher", LatentSampler(components, settings), control_of)
