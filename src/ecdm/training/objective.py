"""The training objective of one variant: L = L_simple + λ L_soft (eq. 5, 9, 12)."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ecdm.config import Sail
from ecdm.models.branch import Branch, hint, signal
from ecdm.models.denoiser import edge_control
from ecdm.models.foundation import Components
from ecdm.models.split_unet import Encoded, Residuals, SplitUNet
from ecdm.numerics.diffusion import q_sample, simple_loss_per_sample
from ecdm.numerics.sail import soft_loss, total_loss


@dataclass(frozen=True)
class TrainBatch:
    """z0, eps (b, c, h, w); t (b,); text (b, n, width); images (b, 3, H, W) in [0, 1]; masks, edges (b, 1, H, W)."""

    z0: Tensor
    eps: Tensor
    t: Tensor
    text: Tensor
    images: Tensor
    masks: Tensor
    edges: Tensor

    def to(self, device: torch.device) -> TrainBatch:
        """The same batch on a device."""
        return TrainBatch(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


@dataclass(frozen=True)
class Terms:
    """The loss to minimise and its parts, scalars."""

    loss: Tensor
    simple: Tensor
    soft: Tensor


@dataclass(frozen=True)
class _Student:
    """One pass of the branch: z_t, the UNet's encoder outputs, what is added, decoder features, L_simple (b,)."""

    z: Tensor
    encoded: Encoded
    residuals: Residuals
    features: list[Tensor]
    per_sample: Tensor


class Objective:
    """Eq. 12 for one batch; without `sail` the soft loss is neither computed nor added.

    The frozen UNet's encoder sees no residual, so one pass without a graph serves student and teacher.
    """

    def __init__(self, components: Components, sail: Sail | None) -> None:
        self.parts, self.sail = components, sail
        self.split, self.schedule = SplitUNet(components.unet), components.schedule

    def __call__(self, branch: Branch, batch: TrainBatch, forward: Branch | None = None) -> Terms:
        """Loss terms; `forward` is the branch as wrapped for several processes, when it is."""
        student = self._student(branch, batch, forward)
        simple = student.per_sample.mean()
        if self.sail is None:
            return Terms(simple, simple, simple.new_zeros(()))
        with torch.no_grad():
            guide = edge_control(self.parts.controlnet_canny, batch.edges)(student.z, batch.t, batch.text)
            teacher = self.split.decode(student.encoded, guide)[1] if self.sail.features == "decoder" else guide.all
        compared = student.features if self.sail.features == "decoder" else student.residuals.all
        soft = soft_loss(list(teacher), list(compared))
        return Terms(total_loss(simple, soft, self.sail.lam), simple, soft)

    def simple(self, branch: Branch, batch: TrainBatch) -> Tensor:
        """L_simple (b,) alone, which needs no teacher (eq. 5)."""
        return self._student(branch, batch, None).per_sample

    def _student(self, branch: Branch, batch: TrainBatch, forward: Branch | None) -> _Student:
        z = q_sample(batch.z0, batch.t, batch.eps, self.schedule)
        with torch.no_grad():
            encoded = self.split.encode(z, batch.t, batch.text)
            transformed = signal(self.parts, branch, batch.images, batch.masks)
        run = forward or branch
        residuals = run(z, batch.t, batch.text, hint(batch.images, batch.masks), transformed)
        prediction, features = self.split.decode(encoded, residuals)
        return _Student(z, encoded, residuals, features, simple_loss_per_sample(batch.eps, prediction.float()))
