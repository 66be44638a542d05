"""Scenes inpainted by a method, at hand and not as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ecdm.data.dataset import Batch, image_tensor
from ecdm.data.scenes import Scene
from ecdm.evaluation.generate import inpaint
from ecdm.evaluation.jobs import Job
from ecdm.methods.base import Method
from ecdm.numerics.samplers import paste


def fill_scenes(method: Method, scenes: Sequence[Scene], masks: Tensor, seed: int, batch: int) -> Tensor:
    """A method's outputs (n, 3, h, w) in [0, 1], pasted, for scenes under masks (n, 1, h, w) and their first captions.

    Raises: ValueError naming an image whose output is not finite.
    """
    images, outputs = torch.stack([image_tensor(scene.image) for scene in scenes]), []
    for ids in torch.arange(len(scenes)).split(batch):
        captions = [scenes[i].captions[0] for i in ids]
        part = Batch(images[ids], masks[ids], captions, ids.tolist())
        raw = inpaint(method, part, seed, Job("single", "object", Path(), Path()))
        outputs.append(paste(raw, part.images, part.masks))
    return torch.cat(outputs)
