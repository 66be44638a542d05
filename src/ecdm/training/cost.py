"""One training step, for its operations to be counted."""

from __future__ import annotations

import torch

from ecdm.config import Sail
from ecdm.data.dataset import Batch
from ecdm.models.branch import Branch
from ecdm.models.foundation import Components
from ecdm.training.objective import Objective, TrainBatch


def train_step(components: Components, branch: Branch, sail: Sail | None, images: Batch) -> None:
    """Embed the captions, take eq. 12 and its gradients; latents are zeros, as one pass draws them for all variants."""
    images, count = images.to(components.device), len(images.ids)
    height, width = images.images.shape[2:]
    cells = (height // components.factor, width // components.factor)
    z0 = torch.zeros(count, components.vae.config.latent_channels, *cells, device=components.device)
    t = torch.zeros(count, dtype=torch.long, device=components.device)
    inputs = (z0, z0, t, components.embed(images.captions), images.images)
    batch = TrainBatch(*inputs, images.masks, images.masks)
    Objective(components, sail)(branch, batch).loss.backward()
