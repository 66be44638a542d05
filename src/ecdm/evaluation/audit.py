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
from ecdm.data.coco import load_image, read_split
from ecdm.data.dataset import Batch, image_tensor
from ecdm.data.scenes import Item, Scene, draw_scene
from ecdm.evaluation.generate import inpaint
from ecdm.evaluation.jobs import Job
from ecdm.evaluation.score import Net, measure
from ecdm.methods.base import Method, generator_for
from ecdm.methods.fills import FILLS
from ecdm.methods.ours import teacher, unet_alone, variant
from ecdm.models.branch import Branch
from ecdm.models.classifier import AttributeClassifier, accuracy, labels
from ecdm.models.denoiser import Denoiser
from ecdm.models.foundation import Components
from ecdm.numerics import metrics
from ecdm.numerics.frequency import spectral_share
from ecdm.numerics.samplers import make_scheduler, paste, sample, sample_noise

# Scenes of one item, from indices of the test split that the test images do not reach.
FIRST_SINGLE = 1_000_000
RADIUS = 4
# In radii of an item: every shape covers the inner disc and none leaves the outer one.
INNER, OUTER = 0.45, 1.1
Values = dict[str, list[float]]


@dataclass(frozen=True)
class Audit:
    """The foundation under audit: its parts and classifier, how to sample, and the perceptual distance."""

    parts: Components
    classifier: AttributeClassifier
    settings: Generate
    perceptual: str
    net: Net
    seed: int
    size: int

    def single_scenes(self, count: int) -> list[Scene]:
        """Held-out scenes of one item."""
        return [draw_scene(self.seed, "test", FIRST_SINGLE + i, self.size, items=1) for i in range(count)]

    def shares(self, data: Path, splits: Sequence[str]) -> list[float]:
        """Share of spectral power above radius 4, per image."""
        images = torch.stack([i for split in splits for i in _pictures(data, split)])
        return [float(v) for v in spectral_share(images, RADIUS)]

    def reconstruction(self, data: Path, splits: Sequence[str], batch: int) -> Values:
        """PSNR of the autoencoder: `all` over whole images, and every texture on pixels that are its own.

        `background <name>`, one value per image: the pixels that no item reaches. `item <name>`, one per item: the
        middle of the item, which its filling covers whatever its shape. A texture that no image shows is left out.
        """
        found: Values = defaultdict(list)
        for split in splits:
            path = data / "annotations" / f"scenes_{split}.json"
            shown: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            images, ids = torch.stack(_pictures(data, split)), [i.id for i in read_split(data, split)]
            outputs = torch.cat([self._round_trip(part) for part in images.split(batch)])
            found["all"] += metrics.psnr(outputs, images).tolist()
            for number, output, image in zip(ids, outputs, images, strict=True):
                for name, region in _textures(shown[str(number)], image.shape[-1]):
                    found[name] += metrics.psnr_hole(output[None], image[None], region[None]).tolist()
        return dict(found)

    def _round_trip(self, images: Tensor) -> Tensor:
        return self.parts.decode(self.parts.latents(self.parts.moments(images)))

    def attributes(self, scenes: Sequence[Scene], images: Tensor) -> Values:
        """Per-image correctness of shape, colour and texture."""
        truth = labels([scene.items[0] for scene in scenes])
        with torch.no_grad():
            logits = self.classifier(images * 2 - 1)
        return {name: values.tolist() for name, values in accuracy(logits, truth).items()}

    def text_to_image(self, scenes: Sequence[Scene], batch: int) -> Tensor:
        """Samples (n, 3, h, w) in [0, 1] from the scenes' first captions, from noise alone."""
        side, channels = self.size // self.parts.factor, self.parts.vae.config.latent_channels
        outputs = []
        for start in range(0, len(scenes), batch):
            captions = [scene.captions[0] for scene in scenes[start : start + batch]]
            generators = [generator_for(self.seed, "text", start + i) for i in range(len(captions))]
            z = sample_noise((len(captions), channels, side, side), generators, torch.zeros(()))
            scheduler = make_scheduler(self.settings.sampler, self.parts.scheduler.config)
            denoise = Denoiser(self.parts, captions, self.settings.guidance, self.settings.precision)
            z = sample(denoise, z, scheduler, self.settings.steps, generator=generators, eta=self.settings.eta)
            outputs.append(self.parts.decode(z))
        return torch.cat(outputs)

    def object_inpainting(self, scenes: Sequence[Scene], batch: int) -> Tensor:
        """The untuned branch's fills (n, 3, h, w) of holes that hide the whole item, pasted."""
        method = self.untuned()
        images = torch.stack([image_tensor(scene.image) for scene in scenes])
        masks = torch.stack([_hole(scene.items[0], self.size) for scene in scenes])
        outputs = []
        for start in range(0, len(scenes), batch):
            rows = slice(start, min(start + batch, len(scenes)))
            ids = list(range(rows.start, rows.stop))
            part = Batch(images[rows], masks[rows], [s.captions[0] for s in scenes[rows]], ids)
            raw = inpaint(method, part, self.seed, Job("single", "object", Path(), Path()))
            outputs.append(paste(raw, part.images, part.masks))
        return torch.cat(outputs)

    def untuned(self) -> Method:
        """The inpainting branch before any fine-tuning."""
        return variant("untuned", self.parts, Branch(self.parts.controlnet_inpaint), self.settings)

    def compare(self, work: Sequence[Job], batch: int) -> dict[str, Values]:
        """Pasted metrics per image of the teacher, the UNet alone, the untuned branch and the plain fills."""
        methods: list[Method] = [teacher(self.parts, self.settings), unet_alone(self.parts, self.settings)]
        methods += [self.untuned(), *FILLS]
        found: dict[str, Values] = {method.name: defaultdict(list) for method in methods}
        for job in work:
            for part in job.batches(batch):
                for method in methods:
                    pasted = paste(inpaint(method, part, self.seed, job), part.images, part.masks)
                    for name, values in measure(pasted, part, self.perceptual, self.net).items():
                        found[method.name][name] += values.tolist()
        return {name: dict(values) for name, values in found.items()}


def _pictures(data: Path, split: str) -> list[Tensor]:
    return [image_tensor(load_image(data / split / i.file_name)) for i in read_split(data, split)]


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


def _hole(item: Item, size: int) -> Tensor:
    """A square hole (1, h, w) around an item, with a margin of a sixteenth of the side."""
    reach = item.radius + 1 / 16
    axis = (np.arange(size) + 0.5) / size
    inside = [np.abs(axis - centre) <= reach for centre in (item.centre[1], item.centre[0])]
    return torch.from_numpy(np.outer(*inside)).float()[None]
