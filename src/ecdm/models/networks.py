"""The networks of the published methods beside the foundation: folders of diffusers and transformers, read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel, UNet2DModel
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPImageProcessor, CLIPModel, CLIPTextModel, CLIPTokenizer

from ecdm.models.foundation import PARTS, Components, load_part
from ecdm.models.network_fit import check_parts
from ecdm.models.outline import outline_part
from ecdm.numerics.diffusion import Schedule
from ecdm.numerics.masks import is_hole, masked_image

# Network → its components, each with its subfolder, "" for the folder itself, and its class.
NETWORK_PARTS: dict[str, dict[str, tuple[str, Any]]] = {
    "sd_inpaint": {"unet": ("unet", UNet2DConditionModel)},
    "glide": {
        "unet": ("unet", UNet2DConditionModel),
        "scheduler": ("scheduler", DDPMScheduler),
        "upsampler": ("upsampler", UNet2DConditionModel),
        "upsampler_scheduler": ("upsampler_scheduler", DDPMScheduler),
        "text_encoder": ("text_encoder", CLIPTextModel),
        "tokenizer": ("tokenizer", CLIPTokenizer),
    },
    "pixel": {"unet": ("unet", UNet2DModel), "scheduler": ("scheduler", DDPMScheduler)},
    "clip": {"model": ("", CLIPModel), "tokenizer": ("", CLIPTokenizer), "processor": ("", CLIPImageProcessor)},
}
# Components of the foundation that a network has to fit.
FITTED: dict[str, tuple[str, ...]] = {"sd_inpaint": ("vae", "text_encoder"), "glide": (), "pixel": (), "clip": ()}


@dataclass(frozen=True)
class PixelUnet:
    """A diffusion network on pixels in [−1, 1] with its noise schedule; text-conditional or not."""

    unet: Any
    scheduler: DDPMScheduler

    @property
    def schedule(self) -> Schedule:
        """ᾱ of the training schedule."""
        return Schedule(self.scheduler.alphas_cumprod.double())

    @property
    def size(self) -> int:
        """Side of its images, pixels."""
        return int(self.unet.config.sample_size)

    def eps(self, output: Tensor) -> Tensor:
        """The noise in an output (b, 3 or 6, h, w): a network that learned its variance gives that after it."""
        return output[:, :3].float()


@dataclass(frozen=True)
class Glide:
    """GLIDE's pair: the base on [x, known image, known mask], the upsampler on these and the base's output."""

    base: PixelUnet
    upsampler: PixelUnet
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer


@dataclass(frozen=True)
class Clip:
    """A CLIP, its tokenizer, and how it wants its images: mean and deviation per channel, and side in pixels."""

    model: CLIPModel
    tokenizer: CLIPTokenizer
    mean: Tensor
    deviation: Tensor
    size: int


def glide_input(x_t: Tensor, images: Tensor, masks: Tensor, low: Tensor | None = None) -> Tensor:
    """Input (b, 7, h, w) of GLIDE's base: [x_t, image·known, known mask]; with `low` (b, 10, h, w) of its upsampler.

    `images` (b, 3, h, w) in [−1, 1], `masks` (b, 1, h, w) with 1 in the hole, `low` the base's image, enlarged.
    """
    known = 1 - is_hole(masks).to(x_t.dtype)
    parts = [x_t, masked_image(images, masks), known, *([] if low is None else [low])]
    return torch.cat(parts, dim=1)


def enlarged(low: Tensor, size: int) -> Tensor:
    """Images (b, 3, h, w) brought to `size` pixels a side bilinearly, as GLIDE's upsampler sees the base's."""
    return F.interpolate(low, size=(size, size), mode="bilinear", align_corners=False)


def load_inpainting_unet(folder: Path, components: Components) -> UNet2DConditionModel:
    """Read the UNet of Stable Diffusion inpainting, whose input is [z, mask, latents of the masked image].

    Raises: FileNotFoundError naming what is missing; ValueError naming what cannot be read or does not fit.
    """
    return _loaded("sd_inpaint", folder, components)["unet"]


def load_glide(folder: Path) -> Glide:
    """Read GLIDE's networks; raises as `load_inpainting_unet`."""
    parts = _loaded("glide", folder)
    base = PixelUnet(parts["unet"], parts["scheduler"])
    upsampler = PixelUnet(parts["upsampler"], parts["upsampler_scheduler"])
    return Glide(base, upsampler, parts["text_encoder"], parts["tokenizer"])


def load_pixel(folder: Path) -> PixelUnet:
    """Read the unconditional pixel network; raises as `load_inpainting_unet`."""
    return PixelUnet(**_loaded("pixel", folder))


def load_clip(folder: Path) -> Clip:
    """Read a CLIP from one folder, as the hub has it; raises as `load_inpainting_unet`."""
    parts = _loaded("clip", folder)
    model, processor = parts["model"], parts["processor"]
    mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (processor.image_mean, processor.image_std))
    return Clip(model, parts["tokenizer"], mean, deviation, model.config.vision_config.image_size)


def check_network(name: str, folder: Path, foundation: Path) -> None:
    """Check a network's folder as its `load_…` does, by configurations and the headers of weights alone.

    `foundation`: the folder of the one that Stable Diffusion inpainting's UNet has to fit; others need none.
    Raises: as `load_inpainting_unet`.
    """
    check_parts(name, *read_parts(name, folder, outline_part), fitted_by(name, foundation))


def fitted_by(name: str, foundation: Path) -> dict[str, Any]:
    """Outlines of the foundation's components that a network has to fit; raises as `check_foundation`."""
    return {part: outline_part(foundation / part, PARTS[part]) for part in FITTED[name]}


def read_parts(name: str, folder: Path, read: Callable[[Path, Any], Any]) -> tuple[dict[str, Any], dict[str, Path]]:
    """A network's components, each as `read` gives it, and where they are.

    Raises: FileNotFoundError naming network and folder where one is missing; what `read` raises.
    """
    places = {part: folder / below for part, (below, _) in NETWORK_PARTS[name].items()}
    for part, place in places.items():
        if not place.is_dir():
            kind = NETWORK_PARTS[name][part][1].__name__
            raise FileNotFoundError(f"{place}: missing component of network {name}, expected a folder of class {kind}")
    return {part: read(place, NETWORK_PARTS[name][part][1]) for part, place in places.items()}, places


def _loaded(name: str, folder: Path, components: Components | None = None) -> dict[str, Any]:
    parts, places = read_parts(name, folder, load_part)
    check_parts(name, parts, places, {part: getattr(components, part) for part in FITTED[name]})
    return parts
