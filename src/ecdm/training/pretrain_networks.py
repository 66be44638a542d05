"""How the embedded networks of the published methods are trained, on scenes and the foundation's frozen parts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import UNet2DConditionModel, UNet2DModel
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.functional import gaussian_blur
from transformers import CLIPModel, CLIPTextModel

from ecdm.models.networks import enlarged, glide_input
from ecdm.models.tiny import tiny_scheduler
from ecdm.models.tiny_networks import (
    tiny_base_scheduler,
    tiny_clip,
    tiny_glide_base,
    tiny_glide_upsampler,
    tiny_inpainting_unet,
    tiny_pixel_scheduler,
    tiny_pixel_unet,
)
from ecdm.numerics.diffusion import q_sample, simple_loss
from ecdm.training.fitting import Fit, Report, balanced_loss, draw_noise, fit, one_of, pick, schedule_of
from ecdm.training.pretrain import encode, to_signed

# Share of the samples whose hole is the whole image, so that text alone has to do.
WHOLE = 0.25
# Side of the upsampler's windows; they lie on its coarsest level's grid, as the whole image does.
WINDOW, GRID = 64, 8
# What a base's image lacks of the truth: half are blurred by a 3x3 Gaussian, all have noise, at most so much.
BLUR, NOISE = 0.6, 0.1
# The large t decide over whole areas, where the noise is almost all of an image and a small error of its estimate is a
# large one of x0; without a bound the very last ones would drown all others.
LARGEST_WEIGHT = 8.0
# CLIP's images are moved by up to so many pixels, and its logits grow to a hundredfold of the cosine at most.
SHIFT, LARGEST_SCALE = 6, math.log(100)


@dataclass(frozen=True)
class Texts:
    """Token numbers of the scenes' captions (n, k, length) and of the empty one (length,), and who embeds them."""

    tokens: Tensor
    empty: Tensor
    encoder: CLIPTextModel

    @property
    def width(self) -> int:
        """Features of an embedding."""
        return int(self.encoder.config.hidden_size)

    @torch.no_grad()
    def embed(self, tokens: Tensor) -> Tensor:
        """Embeddings (b, length, width) where the tokens are; in the encoder's own precision."""
        with torch.autocast(tokens.device.type, enabled=False):
            return self.encoder.to(tokens.device)(tokens)[0]


def train_inpainting(
    vae: Any,
    unet: UNet2DConditionModel,
    pixels: Tensor,
    holes: Tensor,
    texts: Texts,
    settings: Fit,
    seed: int,
    report: Report,
) -> UNet2DConditionModel:
    """Train Stable Diffusion inpainting's UNet, started from `unet`, on scenes (n, 3, h, w) uint8.

    Its input is [z_t, mask, latents of the masked image]. All is encoded once, each scene with one of the holes
    (m, 1, h, w) bool; more would cost more than they teach. Uniform t; 10 % of the captions are dropped.
    """
    torch.manual_seed(seed)  # weight initialisation reads the global generator
    model, schedule = tiny_inpainting_unet(unet).to(settings.device), schedule_of(tiny_scheduler())
    vae.to(settings.device)
    own = holes[torch.arange(len(pixels)) % len(holes)]
    latents, masked = encode(vae, pixels), masked_cells(vae, pixels, own)
    whole = masked_cells(vae, pixels[:1], torch.ones_like(holes[:1]))[0]
    vae.cpu()

    def loss_of(generator: torch.Generator) -> dict[str, Tensor]:
        rows, z0, ids = pick(latents, texts.tokens, texts.empty, settings.batch, 0.1, generator)
        beside = one_of(masked[:, None], rows, whole, WHOLE, generator)
        z0, ids, beside, t, eps = _moved(settings, z0, ids, beside, *draw_noise(z0, schedule, generator))
        z = torch.cat([q_sample(z0, t, eps, schedule), beside], dim=1)
        prediction = model(z, t, texts.embed(ids)).sample.float()
        return {"loss": balanced_loss(eps, prediction, t, schedule, LARGEST_WEIGHT)}

    return _fitted("sd_inpaint", model, loss_of, settings, seed, report)


def masked_cells(vae: Any, pixels: Tensor, holes: Tensor) -> Tensor:
    """What the inpainting UNet sees beside the noisy latents: mask and latents of masked images (n, 1 + c, h/f, w/f).

    The scenes (n, 3, h, w) are uint8, their holes (n, 1, h, w) bool; a cell of the mask is its first pixel.
    """
    latents = encode(vae, pixels, holes=holes)
    return torch.cat([F.interpolate(holes.float(), size=latents.shape[-2:], mode="nearest"), latents], dim=1)


def train_glide_base(
    pixels: Tensor, holes: Tensor, texts: Texts, settings: Fit, seed: int, report: Report
) -> UNet2DConditionModel:
    """Train GLIDE's base on scenes (n, 3, 32, 32) uint8 and holes (m, 1, 32, 32) bool; 20 % of the captions dropped."""
    torch.manual_seed(seed)
    model, schedule = tiny_glide_base(texts.width).to(settings.device), schedule_of(tiny_base_scheduler())

    def loss_of(generator: torch.Generator) -> dict[str, Tensor]:
        _, chosen, ids = pick(pixels, texts.tokens, texts.empty, settings.batch, 0.2, generator)
        x0, hidden = to_signed(chosen), _some(holes, settings.batch, generator)
        x0, hidden, ids, t, eps = _moved(settings, x0, hidden, ids, *draw_noise(x0, schedule, generator))
        x = glide_input(q_sample(x0, t, eps, schedule), x0, hidden)
        return {"loss": simple_loss(eps, model(x, t, texts.embed(ids)).sample.float())}

    return _fitted("glide_base", model, loss_of, settings, seed, report)


def train_glide_upsampler(
    pixels: Tensor, small: Tensor, holes: Tensor, texts: Texts, settings: Fit, seed: int, report: Report
) -> UNet2DConditionModel:
    """Train GLIDE's upsampler on windows of scenes (n, 3, h, h) uint8 under holes (m, 1, h, h) bool.

    `small` (n, 3, 32, 32): the scenes at the base's size; `degraded` makes them what a base gives.
    """
    torch.manual_seed(seed)
    model, schedule = tiny_glide_upsampler(texts.width).to(settings.device), schedule_of(tiny_pixel_scheduler())
    size = pixels.shape[-1]

    def loss_of(generator: torch.Generator) -> dict[str, Tensor]:
        rows, chosen, ids = pick(pixels, texts.tokens, texts.empty, settings.batch, 0.0, generator)
        whole = _some(holes, settings.batch, generator)
        low = enlarged(degraded(to_signed(small[rows]), generator), size)
        window = _window(size, generator)
        x0, hidden, low = to_signed(chosen)[window], whole[window], low[window]
        x0, hidden, low, ids, t, eps = _moved(settings, x0, hidden, low, ids, *draw_noise(x0, schedule, generator))
        x = glide_input(q_sample(x0, t, eps, schedule), x0, hidden, low)
        prediction = model(x, t, texts.embed(ids)).sample.float()
        return {"loss": balanced_loss(eps, prediction, t, schedule, LARGEST_WEIGHT)}

    return _fitted("glide_upsampler", model, loss_of, settings, seed, report)


def degraded(low: Tensor, generator: torch.Generator) -> Tensor:
    """Small images (b, 3, h, w) in [−1, 1] as a base might give them: blurred in half of the cases, and a little noisy.

    So the upsampler learns to mend what the base gets wrong (Saharia et al. 2021; Ho et al. 2022).
    """
    blurred, drawn = torch.rand(2, len(low), 1, 1, 1, generator=generator)
    blurry = torch.where(blurred < 0.5, gaussian_blur(low, [3, 3], [BLUR, BLUR]), low)
    return blurry + NOISE * drawn * torch.randn(low.shape, generator=generator)


def train_pixel(pixels: Tensor, settings: Fit, seed: int, report: Report) -> UNet2DModel:
    """Train the unconditional network on scenes (n, 3, 64, 64) uint8."""
    torch.manual_seed(seed)
    model, schedule = tiny_pixel_unet().to(settings.device), schedule_of(tiny_pixel_scheduler())

    def loss_of(generator: torch.Generator) -> dict[str, Tensor]:
        x0 = to_signed(pixels[torch.randint(len(pixels), (settings.batch,), generator=generator)])
        x0, t, eps = _moved(settings, x0, *draw_noise(x0, schedule, generator))
        prediction = model(q_sample(x0, t, eps, schedule), t).sample.float()
        return {"loss": balanced_loss(eps, prediction, t, schedule, LARGEST_WEIGHT)}

    return _fitted("pixel", model, loss_of, settings, seed, report)


def train_clip(pixels: Tensor, texts: Texts, settings: Fit, seed: int, report: Report) -> CLIPModel:
    """Train a CLIP on scenes (n, 3, 128, 128) uint8 and a caption of each, all scenes of a batch different ones.

    Cross entropy from image to text and from text to image over the batch, with a learned scale (Radford et al. 2021).
    """
    torch.manual_seed(seed)
    model = tiny_clip(texts.encoder).to(settings.device)

    def loss_of(generator: torch.Generator) -> dict[str, Tensor]:
        rows = torch.randperm(len(pixels), generator=generator)[: settings.batch]
        ids = one_of(texts.tokens, rows, texts.empty, 0.0, generator)
        images, ids = _moved(settings, shifted(to_signed(pixels[rows]), generator), ids)
        seen, said = model.get_image_features(images).pooler_output, model.get_text_features(ids).pooler_output
        return {"loss": contrastive_loss(seen, said, model.logit_scale.clamp(max=LARGEST_SCALE))}

    return _fitted("clip", model, loss_of, settings, seed, report)


def contrastive_loss(images: Tensor, texts: Tensor, log_scale: Tensor) -> Tensor:
    """Symmetric cross entropy of features (b, width) whose rows belong together; in float32, as logits need digits."""
    with torch.autocast(images.device.type, enabled=False):
        logits = log_scale.float().exp() * F.normalize(images.float(), dim=1) @ F.normalize(texts.float(), dim=1).T
        own = torch.arange(len(logits), device=logits.device)
        return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images (b, 3, h, w) moved together by up to SHIFT pixels in each direction, their borders mirrored."""
    down, right = torch.randint(2 * SHIFT + 1, (2,), generator=generator).tolist()
    height, width = images.shape[-2:]
    padded = F.pad(images, (SHIFT,) * 4, mode="reflect")
    return padded[..., down : down + height, right : right + width]


def resized(pixels: Tensor, size: int) -> Tensor:
    """Images (n, 3, h, w) uint8 brought to `size` pixels a side by the mean over areas."""
    if pixels.shape[-2:] == (size, size):
        return pixels
    parts = (F.adaptive_avg_pool2d(part.float(), size).round().to(torch.uint8) for part in pixels.split(512))
    return torch.cat(list(parts))


def resized_holes(holes: Tensor, size: int) -> Tensor:
    """Holes (n, 1, h, w) bool at `size` pixels a side: hole where an area touches one."""
    return F.adaptive_max_pool2d(holes.float(), size).bool()


def _some(holes: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """So many holes (b, 1, h, w), a share of them the whole image."""
    rows = torch.randint(len(holes), (count,), generator=generator)
    return one_of(holes[:, None], rows, torch.ones_like(holes[0]), WHOLE, generator)


def _window(size: int, generator: torch.Generator) -> tuple[Any, ...]:
    side = min(WINDOW, size)
    top, left = (GRID * torch.randint((size - side) // GRID + 1, (2,), generator=generator)).tolist()
    return (..., slice(top, top + side), slice(left, left + side))


def _moved(settings: Fit, *tensors: Tensor) -> list[Tensor]:
    return [tensor.to(settings.device) for tensor in tensors]


def _fitted(
    name: str,
    model: Any,
    loss_of: Callable[[torch.Generator], dict[str, Tensor]],
    settings: Fit,
    seed: int,
    report: Report,
) -> Any:
    fit(name, [(model.parameters(), 1)], loss_of, settings, seed, report)
    return model.cpu().requires_grad_(False).eval()
