"""The frozen networks, as one diffusers folder: load, check, save."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, DDPMScheduler, UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

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

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.unet.device

    def to(self, device: torch.device) -> Components:
        """Move the networks to a device; returns the components themselves."""
        for name in NETWORKS:
            getattr(self, name).to(device)
        return self

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
    parts = {name: load_part(folder / name, part) for name, part in PARTS.items()}
    for name in NETWORKS:
        parts[name].requires_grad_(False).eval()
    components = Components(**parts)
    _check(components, folder)
    return components


def load_part(folder: Path, part: Any) -> Any:
    """Read one component of a foundation; FileNotFoundError where it is missing, ValueError where it is broken."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: missing component of the foundation, expected {_kind(part)}")
    if folder.name in NETWORKS:
        return load_network(folder, part)
    with _readable(folder, part):
        return part.from_pretrained(folder, **LOCAL)


def load_network(folder: Path, part: Any) -> Any:
    """Read a network of class `part` from a folder of config and safetensors weights, in float32.

    Raises: ValueError naming the folder when anything is missing, unreadable or of another shape.
    """
    for pattern in ("config.json", "*.safetensors"):
        if not any(folder.glob(pattern)):
            raise ValueError(f"{folder}: found no {pattern}, expected {_kind(part)}")
    options: dict[str, Any] = {"use_safetensors": True, "output_loading_info": True}
    if part is CLIPTextModel:
        # Its own error about shapes names none of them.
        options |= {"dtype": torch.float32, "ignore_mismatched_sizes": True}
    else:
        options |= {"torch_dtype": torch.float32}
    with _readable(folder, part):
        network, info = part.from_pretrained(folder, **LOCAL, **options)
    # The libraries fill what is missing or does not fit with random numbers and go on.
    for name, found, expected in sorted(info["mismatched_keys"]):
        raise ValueError(f"{folder}: {name}: found shape {_plain(found)}, expected {_plain(expected)}")
    missing = sorted(info["missing_keys"])
    if missing:
        raise ValueError(f"{folder}: found no weights for {missing[0]} ({len(missing)} in all), expected {_kind(part)}")
    return network


def _kind(part: Any) -> str:
    return f"a folder of class {part.__name__}"


@contextmanager
def _readable(folder: Path, part: Any) -> Iterator[None]:
    """Whatever a library cannot read becomes one ValueError with the first sentence of its reason."""
    try:
        with quiet():
            yield
    except Exception as error:  # the libraries' own checks end in errors of any kind
        reason = " ".join(str(error).replace(f"{folder}/", "").split()).partition(". ")[0].removesuffix(".")
        raise ValueError(f"{folder}: found files that cannot be read ({reason}), expected {_kind(part)}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries' log lines and progress bars off standard error."""
    logs: tuple[Any, Any] = (diffusers_logging, transformers_logging)
    before = [(log.get_verbosity(), log.is_progress_bar_enabled()) for log in logs]
    for log in logs:
        log.set_verbosity(logging.CRITICAL + 1)
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log, (level, bars) in zip(logs, before, strict=True):
            log.set_verbosity(level)
            if bars:
                log.enable_progress_bar()


def _check(parts: Components, folder: Path) -> None:
    unet, text = parts.unet.config, parts.text_encoder.config
    latent, width = parts.vae.config.latent_channels, text.hidden_size
    wanted = [
        ("unet", "in_channels", unet.in_channels, latent),
        ("unet", "out_channels", unet.out_channels, latent),
        ("unet", "cross_attention_dim", unet.cross_attention_dim, width),
        ("tokenizer", "entries", len(parts.tokenizer), text.vocab_size),
        ("tokenizer", "model_max_length", parts.tokenizer.model_max_length, text.max_position_embeddings),
        # Losses and samplers take the networks' output for the noise.
        ("scheduler", "prediction_type", parts.scheduler.config.prediction_type, "epsilon"),
    ]
    for name in ("controlnet_canny", "controlnet_inpaint"):
        branch = getattr(parts, name).config
        for key in ("in_channels", "block_out_channels", "layers_per_block", "cross_attention_dim"):
            wanted.append((name, key, _plain(branch[key]), _plain(unet[key])))
        wanted.append((name, "conditioning_channels", branch.conditioning_channels, 3))
        shrinks = 2 ** (len(branch.conditioning_embedding_out_channels) - 1)
        wanted.append((name, "pixels per cell of the hint, a side (the vae's)", shrinks, parts.factor))
    for name, key, found, expected in wanted:
        if found != expected:
            raise ValueError(f"{folder / name}: {key}: found {found}, expected {expected}")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value
