"""What the gates need to know about data and foundation, measured on held-out images."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ecdm.config import Generate
from ecdm.data.coco import CaptionedImage, load_image, read_split
from ecdm.data.dataset import image_tensor
from ecdm.evaluation.generate import inpaint
from ecdm.evaluation.jobs import Job
from ecdm.evaluation.score import Net, measure
from ecdm.methods.base import Method
from ecdm.methods.fills import FILLS
from ecdm.methods.ours import teacher, unet_alone, variant
from ecdm.models.branch import Branch
from ecdm.models.foundation import Components
from ecdm.numerics import metrics
from ecdm.numerics.frequency import spectral_share
from ecdm.numerics.samplers import paste

RADIUS = 4
# In radii of an item: every shape covers the inner disc and none leaves the outer one.
INNER, OUTER = 0.45, 1.1
Values = dict[str, list[float]]


@dataclass(frozen=True)
class Audit:
    """The foundation under audit, how to sample, and the perceptual distance.

    Of a split the first `held_out` images are looked at, in whole batches where they are inpainted.
    """

    parts: Components
    settings: Generate
    perceptual: str
    net: Net
    seed: int
    size: int
    held_out: int

    def shares(self, data: Path, splits: Sequence[str]) -> list[float]:
        """Share of spectral power above radius 4, per image."""
        images = torch.stack([i for split in splits for i in self._pictures(data, split)])
        return [float(v) for v in spectral_share(images, RADIUS)]

    def reconstruction(self, data: Path, splits: Sequence[str], batch: int) -> Values:
        """PSNR of the autoencoder: `all` over whole images, and every texture on pixels that are its own.

        `background <name>`, one value per image: the pixels that no item reaches. `item <name>`, one per item: the
        middle of the item, which its filling covers whatever its shape. A texture that no image shows is left out, and
        all of them for images that are no scenes.
        """
        found: Values = defaultdict(list)
        for split in splits:
            shown, images = _descriptions(data, split), torch.stack(self._pictures(data, split))
            ids = [image.id for image in self._images(data, split)]
            outputs = torch.cat([self.parts.round_trip(part) for part in images.split(batch)])
            found["all"] += metrics.psnr(outputs, images).tolist()
            for number, output, image in zip(ids, outputs, images, strict=True):
                for name, region in _textures(shown[str(number)], image.shape[-1]) if shown else ():
                    found[name] += metrics.psnr_hole(output[None], image[None], region[None]).tolist()
        return dict(found)

    def untuned(self) -> Method:
        """The inpainting branch before any fine-tuning."""
        return variant("untuned", self.parts, Branch(self.parts.controlnet_inpaint), self.settings)

    def compare(self, job: Job, batch: int) -> dict[str, Values]:
        """Pasted metrics per image of the teacher, the UNet alone, the untuned branch and the plain fills."""
        methods: list[Method] = [teacher(self.parts, self.settings), unet_alone(self.parts, self.settings)]
        methods += [self.untuned(), *FILLS]
        found: dict[str, Values] = {method.name: defaultdict(list) for method in methods}
        parts = job.batches(batch)
        for part in (parts[i] for i in range(min(len(parts), -(-self.held_out // batch)))):
            for method in methods:
                pasted = paste(inpaint(method, part, self.seed, job), part.images, part.masks)
                for name, values in measure(pasted, part, self.perceptual, self.net).items():
                    found[method.name][name] += values.tolist()
        return {name: dict(values) for name, values in found.items()}

    def _images(self, data: Path, split: str) -> list[CaptionedImage]:
        return read_split(data, split)[: self.held_out]

    def _pictures(self, data: Path, split: str) -> list[Tensor]:
        return [image_tensor(load_image(data / split / i.file_name)) for i in self._images(data, split)]


def _descriptions(data: Path, split: str) -> dict[str, Any] | None:
    """What the images of a split show, by id; None for images that are no scenes."""
    path = data / "annotations" / f"scenes_{split}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _textures(scene: Mapping[str, Any], size: int) -> list[tuple[str, Tensor]]:
    """The textures of a described scene, each with pixels (1, size, size) that show nothing else."""
    axis, background, items = (np.arange(size) + 0.5) / size, np.ones((size, size), bool), []
    for item in scene["items"]:
        x, y = item["centre"]
        distance = np.hypot(axis - x, axis[:, None] - y) / item["radius"]
        background &= distance > OUTER
        items.append((f"item {item['texture']}", distance <= INNER))
    regions = [(f"background {scene['background']}", background), *items]
    return [(name, torch.from_numpy(region)[None]) for name, region in regions]
