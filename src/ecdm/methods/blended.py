"""Blended Diffusion: an unconditional pixel network that CLIP leads to the caption, the known pixels blended in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ecdm.data.dataset import Batch
from ecdm.methods.pixels import Known, PixelDenoiser, Prediction, ancestral, to_images
from ecdm.methods.registry import Ingredients
from ecdm.models.networks import Clip, PixelUnet, load_clip, load_pixel
from ecdm.models.precision import resolved
from ecdm.models.similarity import image_features, text_features
from ecdm.numerics.ancestral import posterior_variance, respaced
from ecdm.numerics.diffusion import q_sample, x0_from_eps
from ecdm.numerics.guidance import range_loss, spherical_distance
from ecdm.numerics.samplers import sample_noise
from ecdm.numerics.views import draw_views, taken
from ecdm.sections.compare import Blended as Settings


@dataclass(frozen=True)
class BlendedDiffusion:
    """Blended Diffusion (Avrahami et al. 2022), the method itself on whichever pixel network and CLIP it is given.

    It starts from the noised known image, mean colour in the hole; the published code starts from the whole image and
    so reads the hole. As there, x0 is never clipped on the way: the range loss holds it. Of the candidates CLIP chooses
    by the hole alone. An image's generator draws the start, then for each step the views, the step's noise and that of
    the known image, candidate after candidate.
    """

    net: PixelUnet
    clip: Clip
    settings: Settings
    half: bool
    name: str = "blended"

    @property
    def native_size(self) -> int:
        """The pixel network's side, pixels."""
        return self.net.size

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The networks it evaluates."""
        return {"unet": self.net.unet, "clip": self.clip.model}

    @torch.no_grad()
    def inpaint(self, batch: Batch, generators: Sequence[torch.Generator]) -> Tensor:
        """Raw outputs (b, 3, h, w) in [0, 1] where the batch is; they are made where the networks are."""
        moved = batch.to(self.net.unet.device)
        known, text = Known.of(moved, self.net.size), text_features(self.clip, moved.captions)
        candidates = [self.sample(known, text, generators) for _ in range(self.settings.candidates)]
        return to_images(self.nearest(candidates, known, text), batch)

    def sample(self, known: Known, text: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """One image (b, 3, s, s) per generator, in [−1, 1] or about so in the hole, known pixels as they are."""
        settings, schedule = self.settings, self.net.schedule
        timesteps = respaced(settings.steps, schedule.steps)
        scheduler = ancestral(self.net, timesteps)
        timesteps = timesteps[settings.skipped :]
        x = q_sample(known.image, timesteps[0], sample_noise(known.image.shape, generators, known.image), schedule)
        for t, reached in zip(timesteps, [*timesteps[1:], -1], strict=True):
            views = torch.stack([draw_views(generator, settings.views) for generator in generators])
            found, gradient = self.gradient(x, t, known.hole, text, views)
            variance = posterior_variance(t, reached, schedule, found.share, x)
            output = torch.cat([x0_from_eps(x, t, found.eps, schedule), found.share], dim=1)
            stepped = scheduler.step(output, t, x, generator=list(generators), return_dict=False)[0]
            # The mean moves by -variance · gradient, and with it the sample.
            stepped = stepped - variance * gradient
            noise = sample_noise(x.shape, generators, x)
            x = torch.where(known.hole, stepped, q_sample(known.image, reached, noise, schedule))
        return x

    def gradient(self, x: Tensor, t: int, hole: Tensor, text: Tensor, views: Tensor) -> tuple[Prediction, Tensor]:
        """The network's prediction at x (b, 3, s, s), and the loss's gradient with respect to x through the network."""
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            found = PixelDenoiser(self.net, self.half)(leaf, t)
            loss = self.loss(leaf, found.eps, t, hole, text, views)
            (gradient,) = torch.autograd.grad(loss.sum(), leaf)
        return Prediction(*(part.detach() for part in found)), gradient

    def loss(self, x: Tensor, eps: Tensor, t: int, hole: Tensor, text: Tensor, views: Tensor) -> Tensor:
        """What leads a step, (b,): the distance of the hole's content to the text, and the range loss of x0."""
        schedule = self.net.schedule
        x0, noise = x0_from_eps(x, t, eps, schedule), schedule.scales(t, x)[1]
        seen = (x0 * noise + x * (1 - noise)) * hole
        distance = self.distance(seen, text, views)
        return self.settings.clip_weight * distance + self.settings.range_weight * range_loss(x0)

    def distance(self, images: Tensor, text: Tensor, views: Tensor) -> Tensor:
        """Mean over the views (b, v, 3, 3) of the distance (b,) of images (b, 3, s, s) in [−1, 1] to unit features."""
        pictures = taken(images, views, self.clip.size) / 2 + 0.5
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.half):
            features = image_features(self.clip, pictures.flatten(0, 1)).to(images.dtype)
        return spherical_distance(features.unflatten(0, views.shape[:2]), text[:, None]).mean(1)

    def nearest(self, candidates: Sequence[Tensor], known: Known, text: Tensor) -> Tensor:
        """Of several candidates (b, 3, s, s) the one per image whose hole, as it is, CLIP finds nearest to the text."""
        if len(candidates) == 1:
            return candidates[0]
        plain = torch.eye(3, dtype=torch.float64).expand(len(text), 1, 3, 3)
        distances = [self.distance(images.clamp(-1, 1) * known.hole, text, plain) for images in candidates]
        # argmin takes a NaN for the least, so that a candidate that failed is what comes out.
        best = torch.stack(distances).argmin(0)
        return torch.stack(list(candidates), dim=1)[torch.arange(len(best), device=best.device), best]


def make(parts: Ingredients) -> BlendedDiffusion:
    """The method with its networks, at `pixel` and `clip` among the networks; raises as `load_pixel`, `load_clip`."""
    device = parts.components.device
    net, clip = load_pixel(parts.networks / "pixel"), load_clip(parts.networks / "clip")
    net.unet.to(device)
    clip.model.to(device)
    return BlendedDiffusion(net, clip, parts.settings, resolved(parts.precision, device) == "bf16")
