"""Whether samples show what their captions ask for, on held-out scenes of one item, by a classifier of such scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ecdm.data.dataset import image_tensor
from ecdm.data.objects import object_hole, object_scene
from ecdm.data.scenes import Scene
from ecdm.evaluation.audit import Audit, Values
from ecdm.evaluation.scene_fills import fill_scenes
from ecdm.methods.base import generator_for
from ecdm.models.classifier import AttributeClassifier, accuracy, labels
from ecdm.models.denoiser import Denoiser
from ecdm.numerics.samplers import make_scheduler, sample, sample_noise


def single_scenes(seed: int, count: int, size: int) -> list[Scene]:
    """Held-out scenes of one item."""
    return [object_scene(seed, index, size) for index in range(count)]


@torch.no_grad()
def attributes(classifier: AttributeClassifier, scenes: Sequence[Scene], images: Tensor) -> Values:
    """Per-image correctness of shape, colour and texture of images (n, 3, h, w) in [0, 1]."""
    truth = labels([scene.items[0] for scene in scenes])
    return {name: values.tolist() for name, values in accuracy(classifier(images * 2 - 1), truth).items()}


@dataclass(frozen=True)
class SingleItems:
    """The foundation under audit, and the classifier that says what a picture shows."""

    audit: Audit
    classifier: AttributeClassifier

    def judged(self, count: int, batch: int) -> tuple[dict[str, Values], list[Tensor]]:
        """Correctness of true scenes, of samples from captions and of fills, per image; and these pictures."""
        scenes = single_scenes(self.audit.seed, count, self.audit.size)
        true = torch.stack([image_tensor(scene.image) for scene in scenes])
        made = [true, self.text_to_image(scenes, batch), self.object_inpainting(scenes, batch)]
        names = ("true", "text", "inpainting")
        judged = (attributes(self.classifier, scenes, images) for images in made)
        return dict(zip(names, judged, strict=True)), made

    def text_to_image(self, scenes: Sequence[Scene], batch: int) -> Tensor:
        """Samples (n, 3, h, w) in [0, 1] from the scenes' first captions, from noise alone."""
        parts, settings, seed = self.audit.parts, self.audit.settings, self.audit.seed
        side, channels = self.audit.size // parts.factor, parts.vae.config.latent_channels
        outputs = []
        for start in range(0, len(scenes), batch):
            captions = [scene.captions[0] for scene in scenes[start : start + batch]]
            generators = [generator_for(seed, "text", start + i) for i in range(len(captions))]
            shape, here = (len(captions), channels, side, side), torch.zeros((), device=parts.device)
            z = sample_noise(shape, generators, here)
            scheduler = make_scheduler(settings.sampler, parts.scheduler.config)
            denoise = Denoiser(parts, captions, settings.guidance, settings.precision)
            z = sample(denoise, z, scheduler, settings.steps, generator=generators, eta=settings.eta)
            outputs.append(parts.decode(z).cpu())
        return torch.cat(outputs)

    def object_inpainting(self, scenes: Sequence[Scene], batch: int) -> Tensor:
        """The untuned branch's fills (n, 3, h, w) of holes that hide the whole item, pasted."""
        masks = torch.stack([hole_of(scene, self.audit.size) for scene in scenes])
        return fill_scenes(self.audit.untuned(), scenes, masks, self.audit.seed, batch)


def hole_of(scene: Scene, size: int) -> Tensor:
    """The hole (1, size, size) that hides the scene's one item."""
    (item,) = scene.items
    return torch.from_numpy(object_hole(item.centre, item.radius, size)).float()[None]
