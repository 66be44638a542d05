"""What the gates need to know about the published methods' networks, measured on held-out scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ecdm.data.dataset import image_tensor
from ecdm.data.scenes import Scene, draw_scene
from ecdm.evaluation.audit import Values
from ecdm.evaluation.items import attributes, hole_of, single_scenes
from ecdm.evaluation.scene_fills import fill_scenes
from ecdm.methods.base import generator_for
from ecdm.methods.registry import Ingredients, make_method
from ecdm.models.classifier import AttributeClassifier
from ecdm.models.foundation import Components
from ecdm.models.networks import load_clip, load_pixel
from ecdm.models.similarity import image_features, text_features
from ecdm.numerics.diffusion import Schedule, q_sample, simple_loss_per_sample
from ecdm.sections.base import Precision
from ecdm.sections.compare import Compare

# From indices of the test split that neither the test images nor the single items reach.
FIRST_SCENE = 3_000_000
# Images are asked which of so many captions is theirs, in so many groups; noise is looked for at so many levels.
CAPTIONS, GROUPS, LEVELS = 64, 4, 8


@dataclass(frozen=True)
class NetworkAudit:
    """The networks in a folder, the foundation and the classifier that judges samples; how the methods sample."""

    parts: Components
    classifier: AttributeClassifier
    networks: Path
    settings: Compare
    precision: Precision
    seed: int
    size: int

    def measured(self, names: Sequence[str], count: int, batch: int) -> tuple[dict[str, Any], list[Tensor]]:
        """What `Judge.networks` takes of the networks of these names, on `count` scenes; true scenes and the samples.

        `attributes`: correctness of true scenes and of each text-conditional network's samples; `retrieval` of clip;
        `denoising` of pixel.
        """
        scenes = single_scenes(self.seed, count, self.size)
        made = {"true": torch.stack([image_tensor(scene.image) for scene in scenes])}
        if "glide" in names:
            made["glide"] = self.from_text(scenes, batch)
        if "sd_inpaint" in names:
            made["sd_inpaint"] = self.objects(scenes, batch)
        values: dict[str, Any] = {
            "attributes": {name: attributes(self.classifier, scenes, images) for name, images in made.items()}
        }
        values |= {"retrieval": self.retrieval()} if "clip" in names else {}
        values |= {"denoising": self.denoising(count)} if "pixel" in names else {}
        return values, list(made.values())

    def from_text(self, scenes: Sequence[Scene], batch: int) -> Tensor:
        """GLIDE's samples (n, 3, h, w) in [0, 1] where nothing is known."""
        return self._filled("glide", scenes, torch.ones(len(scenes), 1, self.size, self.size), batch)

    def objects(self, scenes: Sequence[Scene], batch: int) -> Tensor:
        """Stable Diffusion inpainting's fills (n, 3, h, w) in [0, 1] of holes that hide the whole item, pasted."""
        return self._filled("sd_inpaint", scenes, torch.stack([hole_of(scene, self.size) for scene in scenes]), batch)

    def _filled(self, name: str, scenes: Sequence[Scene], masks: Tensor, batch: int) -> Tensor:
        settings = getattr(self.settings, name)
        method = make_method(name, Ingredients(self.parts, self.networks, settings, self.precision))
        return fill_scenes(method, scenes, masks, self.seed, batch)

    @torch.no_grad()
    def retrieval(self, groups: int = GROUPS) -> list[float]:
        """Per image, 1 where CLIP finds its own caption the nearest among CAPTIONS distinct ones, else 0."""
        clip, found = load_clip(self.networks / "clip"), []
        for group in range(groups):
            scenes = self._distinct(group)
            images = torch.stack([image_tensor(scene.image) for scene in scenes])
            cosines = image_features(clip, images) @ text_features(clip, [scene.captions[0] for scene in scenes]).T
            found += (cosines.argmax(1) == torch.arange(len(scenes))).double().tolist()
        return found

    def _distinct(self, group: int) -> list[Scene]:
        """Scenes whose first captions differ."""
        found: dict[str, Scene] = {}
        index = FIRST_SCENE + group * FIRST_SCENE // GROUPS
        while len(found) < CAPTIONS:
            scene = draw_scene(self.seed, "test", index, self.size)
            found.setdefault(scene.captions[0], scene)
            index += 1
        return list(found.values())

    @torch.no_grad()
    def denoising(self, count: int) -> Values:
        """Eq. 5 per scene, its mean over noise levels, of the pixel network and of the best linear guess.

        The latter knows mean and variance of the scenes' colours and one noisy pixel at a time, no picture.
        """
        network = load_pixel(self.networks / "pixel")
        scenes = [draw_scene(self.seed, "test", FIRST_SCENE + i, self.size) for i in range(count)]
        images = torch.stack([image_tensor(scene.image) for scene in scenes])
        x0 = F.interpolate(images, (network.size, network.size), mode="area") * 2 - 1
        mean, variance = x0.mean((0, 2, 3), keepdim=True), x0.var((0, 2, 3), keepdim=True)
        levels = ((torch.arange(LEVELS) + 0.5) / LEVELS * network.schedule.steps).long()
        found: Values = {"network": [], "linear": []}
        for i, image in enumerate(x0):
            eps = torch.randn(LEVELS, *image.shape, generator=generator_for(self.seed, "denoising", i))
            x_t = q_sample(image.expand_as(eps), levels, eps, network.schedule)
            guesses = {"network": network.eps(network.unet(x_t, levels).sample)}
            guesses["linear"] = linear_guess(x_t, levels, mean, variance, network.schedule)
            for name, guess in guesses.items():
                found[name].append(float(simple_loss_per_sample(eps, guess).mean()))
        return found


def linear_guess(x_t: Tensor, t: Tensor, mean: Tensor, variance: Tensor, schedule: Schedule) -> Tensor:
    """The noise in x_t (b, c, h, w), linear in it, that errs least for data of this mean and variance (1, c, 1, 1).

    With x_t = s x0 + n eps that is n (x_t − s mean) / (s² variance + n²).
    """
    signal, noise = schedule.scales(t, x_t)
    return noise * (x_t - signal * mean) / (signal.square() * variance + noise.square())
