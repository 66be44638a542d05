"""The objective of a search: metrics of validation images that a branch inpaints, and counted cost."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecdm.config import Generate, VariantSettings
from ecdm.data.sheets import sheet
from ecdm.evaluation.cost import cost
from ecdm.evaluation.generate import inpaint
from ecdm.evaluation.jobs import Job
from ecdm.evaluation.score import Net, measure
from ecdm.methods.base import Method
from ecdm.methods.ours import variant
from ecdm.models.branch import Branch, start_branch
from ecdm.models.foundation import Components
from ecdm.numerics.masks import masked_image
from ecdm.numerics.samplers import paste
from ecdm.search.settings import COUNTED, Goal
from ecdm.training.cost import train_step

SPLIT = "validation"
# Images of the pictures in MLflow.
SHOWN = 8


@dataclass(frozen=True)
class Judge:
    """Judges branches, all on the same validation images and masks under the same noise."""

    goals: list[Goal]
    components: Components
    settings: Generate
    perceptual: str
    net: Net
    seed: int
    images: int
    data: Path
    masks: Path

    def __call__(self, branch: Branch) -> tuple[list[float], NDArray[np.uint8] | None]:
        """The measured objectives in their order, and a picture of the first images: given, filled, true."""
        method = variant("trial", self.components, branch, self.settings)
        buckets = dict.fromkeys(goal.bucket for goal in self.goals if goal.bucket is not None)
        scores, picture = {}, None
        for bucket in buckets:
            scores[bucket], shown = self._measure(method, bucket)
            picture = shown if picture is None else picture
        measured = [(goal.bucket, goal.metric) for goal in self.goals if goal.bucket is not None]
        return [float(scores[bucket][metric].mean()) for bucket, metric in measured], picture

    def counted(self, trained: VariantSettings, size: int, images: int) -> dict[str, float]:
        """Operations of one inpainted image and of one training step of `images` images, as far as they are asked."""
        asked = {goal.metric for goal in self.goals} & set(COUNTED)
        if not asked:
            return {}
        # A branch of its own: counting leaves gradients, and needs weights that are not yet frozen.
        branch = start_branch(self.components, trained.acda, 0).to(self.components.device)
        step = partial(train_step, self.components, branch, trained.sail)
        found = cost(self.components, branch, self.settings, size, images, step)
        counts = {
            "sampling_flops": found["sampling"]["flops"],
            "training_flops": found["training"]["flops_per_step"],
        }
        return {name: float(counts[name]) for name in asked}

    def _measure(self, method: Method, bucket: str) -> tuple[dict[str, Tensor], NDArray[np.uint8]]:
        job = Job(SPLIT, bucket, self.data, self.masks, split=SPLIT, limit=self.images)
        found: dict[str, list[Tensor]] = {}
        picture: NDArray[np.uint8] | None = None
        for part in job.batches(min(self.settings.batch, self.images)):
            pasted = paste(inpaint(method, part, self.seed, job), part.images, part.masks)
            for name, values in measure(pasted, part, self.perceptual, self.net).items():
                found.setdefault(name, []).append(values.double().cpu())
            if picture is None:
                given = masked_image(part.images, part.masks, 0.5)
                picture = sheet([rows[:SHOWN].cpu() for rows in (given, pasted, part.images)])
        assert picture is not None
        return {name: torch.cat(values) for name, values in found.items()}, picture
