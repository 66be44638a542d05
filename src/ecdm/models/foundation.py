"""The frozen networks, as one diffusers folder: load, check, save."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, DDPMScheduler, UNet2DConditionModel
from safetensors import SafetensorError
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from ecdm.numerics.diffusion import Schedule

# Folder name of each component → its class; the names are those of Stable Diffusion's own folders.
PARTS: dict[str, Any] = {
    "vae": AutoencoderKL,
    "text_encoder": CLIPTextModel,
    "tokenizer": CLIPTokenizer,
    "unet": UNet2DConditionModel,
    "scheduler": DDPMScheduler,
    "controlnet_canny": ControlNetModel,
    "controlnet_inpaint": ControlNetModel,
}
LOCAL: dict[str, Any] = {"local_files_only": True}
NETWORKS = ("vae", "text_encoder", "unet", "controlnet_canny", "controlnet_inpaint")


@dataclass(frozen=True)
class Components:
    """The frozen networks: nothing here ever requires a gradient."""

    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    unet: UNet2DConditionModel
    scheduler: DDPMScheduler
    controlnet_canny: ControlNetModel
    controlnet_inpaint: ControlNetModel

    @property
    def schedule(self) -> Schedule:
        """ᾱ of the training schedule."""
        return Schedule(self.scheduler.alphas_cumprod.double())

    @property
    def factor(self) -> int:
        """Pixels per latent cell, a side."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @torch.no_grad()
    def embed(self, captions: Sequence[str]) -> Tensor:
        """Text embeddings (b, n, width)."""
        return embed(self.tokenizer, self.text_encoder, captions)

    @torch.no_grad()
    def moments(self, images: Tensor) -> Tensor:
        """Mean and log-variance (b, 2c, h/f, w/f) of images (b, 3, h, w) in [0, 1], unscaled."""
        return self.vae.encode(images * 2 - 1).latent_dist.parameters

    def latents(self, moments: Tensor, eps: Tensor | None = None) -> Tensor:
        """Scaled latents (b, c, h, w) from moments: the mean, or a sample when eps is given."""
        mean, log_variance = moments.chunk(2, dim=1)
        z0 = mean if eps is None else mean + eps * (0.5 * log_variance.clamp(-30, 20)).exp()
        return z0 * self.vae.config.scaling_factor

    @torch.no_grad()
    def decode(self, z0: Tensor) -> Tensor:
        """Images (b, 3, h, w) in [0, 1] from scaled latents."""
        return (self.vae.decode(z0 / self.vae.config.scaling_factor).sample / 2 + 0.5).clamp(0, 1)


def embed(tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, captions: Sequence[str]) -> Tensor:
    """Last hidden states (b, n, width) of captions padded or cut to the tokenizer's length."""
    tokens = tokenizer(
        list(captions),
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    ).input_ids
    hidden: Tensor = text_encoder(tokens.to(text_encoder.device))[0]
    return hidden


def load_foundation(folder: Path) -> Components:
    """Read a foundation folder in float32 on the CPU, frozen, in evaluation mode.

    Raises: FileNotFoundError naming a missing component; ValueError naming one that cannot be read or does not
    fit the others.
    """
    parts = {name: _load_part(folder / name, part) for name, part in PARTS.items()}
    for name in NETWORKS:
        parts[name].requires_grad_(False).eval()
    components = Components(**parts)
    _check(components, folder)
    return components


def _load_part(folder: Path, part: Any) -> Any:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: missing component of the foundation, expected a {part.__name__} folder")
    if folder.name in NETWORKS:
        return load_network(folder, part)
    with _readable(folder, part):
        return part.from_pretrained(folder, **LOCAL)


def load_network(folder: Path, part: Any) -> Any:
    """Read a network of class `part` from a folder of config and safetensors weights, in float32.

    Raises: ValueError naming the folder when anything is missing, unreadable or of another shape.
    """
    kind = "dtype" if part is CLIPTextModel else "torch_dtype"
    options: dict[str, Any] = {kind: torch.float32, "use_safetensors": True, "output_loading_info": True}
    with _readable(folder, part):
        network, info = part.from_pretrained(folder, **LOCAL, **options)
        # The libraries fill what is missing with random numbers and go on.
        missing = sorted(info["missing_keys"])
        if missing:
            raise ValueError(f"found no weights for {', '.join(missing)}")
    return network


@contextmanager
def _readable(folder: Path, part: Any) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{folder}: cannot be read as {part.__name__}: {reason}") from error


def _check(parts: Components, folder: Path) -> None:
    unet, text = parts.unet.config, parts.text_encoder.config
    latent, width = parts.vae.config.latent_channels, text.hidden_size
    wanted = [
        ("unet", "in_channels", unet.in_channels, latent),
        ("unet", "out_channels", unet.out_channels, latent),
        ("unet", "cross_attention_dim", unet.cross_attention_dim, width),
        ("tokenizer", "entries", len(parts.tokenizer), text.vocab_size),
        ("tokenizer", "model_max_length", parts.tokenizer.model_max_length, text.max_position_embeddings),
    ]
    for name in ("controlnet_canny", "controlnet_inpaint"):
        branch = getattr(parts, name).config
        for key in ("in_channels", "block_out_channels", "layers_per_block", "cross_attention_dim"):
            wanted.append((name, key, _plain(branch[key]), _plain(unet[key])))
        wanted.append((name, "conditioning_channels", branch.conditioning_channels, 3))
    for name, key, found, expected in wanted:
        if found != expected:
            raise ValueError(f"{folder / name}: {key}: found {found}, expected {expected}")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value
