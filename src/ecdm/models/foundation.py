"""The frozen networks, as one diffusers folder: load, check, save."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, DDPMScheduler, UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer, PreTrainedModel
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
# Of all images that the autoencoder takes at once: 32 of 128 px, two of 512 px.
PIXELS = 32 * 128**2
LOCAL: dict[str, Any] = {"local_files_only": True}
# Bytes; what torch gives its own tensors.
ALIGNMENT = 64
BRANCHES = ("controlnet_canny", "controlnet_inpaint")
NETWORKS = ("vae", "text_encoder", "unet", *BRANCHES)


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
        return _factor(self.vae.config)

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.unet.device

    def to(self, device: torch.device, without: Collection[str] = ()) -> Components:
        """Move the networks to a device, all but those named; returns the components themselves."""
        for name in NETWORKS:
            if name not in without:
                getattr(self, name).to(device)
        return self

    @torch.no_grad()
    def embed(self, captions: Sequence[str]) -> Tensor:
        """Text embeddings (b, n, width)."""
        return embed(self.tokenizer, self.text_encoder, captions)

    @torch.no_grad()
    def moments(self, images: Tensor) -> Tensor:
        """Mean and log-variance (b, 2c, h/f, w/f) of images (b, 3, h, w) in [0, 1], unscaled."""
        return encode(self.vae, images)

    def latents(self, moments: Tensor, eps: Tensor | None = None) -> Tensor:
        """Scaled latents (b, c, h, w) from moments: the mean, or a sample when eps is given."""
        mean, log_variance = moments.chunk(2, dim=1)
        z0 = mean if eps is None else mean + eps * (0.5 * log_variance.clamp(-30, 20)).exp()
        return z0 * self.vae.config.scaling_factor

    @torch.no_grad()
    def decode(self, z0: Tensor) -> Tensor:
        """Images (b, 3, h, w) in [0, 1] from scaled latents."""
        parts = (z0 / self.vae.config.scaling_factor).split(at_once(z0.shape[-1] * self.factor))
        return torch.cat([(self.vae.decode(part).sample / 2 + 0.5).clamp(0, 1) for part in parts])

    def round_trip(self, images: Tensor) -> Tensor:
        """Images (b, 3, h, w) in [0, 1] encoded and decoded, given back where they were."""
        return self.decode(self.latents(self.moments(images.to(self.device)))).to(images.device)


def embed(tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, captions: Sequence[str]) -> Tensor:
    """Last hidden states (b, n, width) of captions padded or cut to the tokenizer's length."""
    hidden: Tensor = text_encoder(token_ids(tokenizer, captions).to(text_encoder.device))[0]
    return hidden


def token_ids(tokenizer: CLIPTokenizer, texts: Sequence[str]) -> Tensor:
    """Token numbers (n, length) of texts, padded or cut to the tokenizer's length."""
    options: dict[str, Any] = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
    ids: Tensor = tokenizer(list(texts), max_length=tokenizer.model_max_length, **options).input_ids
    return ids


def encode(vae: AutoencoderKL, images: Tensor) -> Tensor:
    """Mean and log-variance (b, 2c, h/f, w/f) of images (b, 3, h, w) in [0, 1], unscaled; all it takes is the VAE."""
    parts = (images * 2 - 1).split(at_once(images.shape[-1]))
    return torch.cat([vae.encode(part).latent_dist.parameters for part in parts])


def at_once(size: int) -> int:
    """How many images of `size` pixels a side the autoencoder takes at once, so that its activations stay small."""
    return max(1, PIXELS // size**2)


def load_foundation(folder: Path) -> Components:
    """Read a foundation folder in float32 on the CPU, frozen, in evaluation mode.

    Raises: FileNotFoundError naming a missing component; ValueError naming one that cannot be read or does not
    fit the others.
    """
    parts = {name: load_part(folder / name, part) for name, part in PARTS.items()}
    check_fit(parts, {name: folder / name for name in PARTS})
    return Components(**parts)


def load_part(folder: Path, part: Any) -> Any:
    """Read one component of a foundation, a network frozen and in evaluation mode.

    Raises: FileNotFoundError where it is missing; ValueError where it is broken.
    """
    if not issubclass(part, torch.nn.Module):
        return load_other(folder, part)
    check_folder(folder, part)
    return load_network(folder, part).requires_grad_(False).eval()


def load_other(folder: Path, part: Any) -> Any:
    """Read a component without weights; raises as `load_part`."""
    check_folder(folder, part)
    with readable(folder, part):
        return part.from_pretrained(folder, **LOCAL)


def check_folder(folder: Path, part: Any) -> None:
    """Raise FileNotFoundError where a component's folder is missing."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: missing component of the foundation, expected {_kind(part)}")


def check_files(folder: Path, part: Any) -> None:
    """Raise ValueError where a network's folder lacks its configuration or weights."""
    for pattern in ("config.json", "*.safetensors"):
        if not any(folder.glob(pattern)):
            raise ValueError(f"{folder}: found no {pattern}, expected {_kind(part)}")


def load_network(folder: Path, part: Any) -> Any:
    """Read a network of class `part` from a folder of config and safetensors weights, in float32.

    Raises: ValueError naming the folder when anything is missing, unreadable or of another shape.
    """
    check_files(folder, part)
    options: dict[str, Any] = {"use_safetensors": True, "output_loading_info": True}
    if issubclass(part, PreTrainedModel):
        # Its own error about shapes names none of them.
        options |= {"dtype": torch.float32, "ignore_mismatched_sizes": True}
    else:
        options |= {"torch_dtype": torch.float32}
    with readable(folder, part):
        network, info = part.from_pretrained(folder, **LOCAL, **options)
    # The libraries fill what is missing or does not fit with random numbers and go on.
    for name, found, expected in sorted(info["mismatched_keys"]):
        raise ValueError(f"{folder}: {name}: found shape {_plain(found)}, expected {_plain(expected)}")
    missing = sorted(info["missing_keys"])
    if missing:
        raise ValueError(f"{folder}: found no weights for {missing[0]} ({len(missing)} in all), expected {_kind(part)}")
    align(network)
    return network


def align(network: nn.Module) -> None:
    """Move weights that begin anywhere, as in a mapped file, to where torch's own do: a CPU's last bits hang on it."""
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.data_ptr() % ALIGNMENT:
            tensor.data = tensor.data.clone()


def _kind(part: Any, what: str = "folder") -> str:
    return f"a {what} of class {part.__name__}"


@contextmanager
def readable(path: Path, part: Any) -> Iterator[None]:
    """Whatever a library cannot read becomes one ValueError with the first sentence of its reason."""
    try:
        with quiet():
            yield
    except Exception as error:  # the libraries' own checks end in errors of any kind
        reason = " ".join(str(error).replace(f"{path}/", "").split()).partition(". ")[0].removesuffix(".")
        expected = _kind(part, "file" if path.is_file() else "folder")
        raise ValueError(f"{path}: found files that cannot be read ({reason}), expected {expected}") from error


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


def check_fit(parts: Mapping[str, Any], places: Mapping[str, Path | str]) -> None:
    """Check that the components of `PARTS`, or their outlines, fit each other; `places`: how errors name them.

    Raises: ValueError naming component and key, what was found and what was expected.
    """
    unet, text, vae = parts["unet"].config, parts["text_encoder"].config, parts["vae"].config
    tokenizer = parts["tokenizer"]
    wanted = [
        ("unet", "in_channels", unet.in_channels, vae.latent_channels),
        ("unet", "out_channels", unet.out_channels, vae.latent_channels),
        ("unet", "cross_attention_dim", unet.cross_attention_dim, text.hidden_size),
        ("tokenizer", "entries", len(tokenizer), text.vocab_size),
        ("tokenizer", "model_max_length", tokenizer.model_max_length, text.max_position_embeddings),
        # Losses and samplers take the networks' output for the noise.
        ("scheduler", "prediction_type", parts["scheduler"].config.prediction_type, "epsilon"),
    ]
    for name in ("controlnet_canny", "controlnet_inpaint"):
        branch = parts[name].config
        for key in ("in_channels", "block_out_channels", "layers_per_block", "cross_attention_dim"):
            wanted.append((name, key, _plain(branch[key]), _plain(unet[key])))
        wanted.append((name, "conditioning_channels", branch.conditioning_channels, 3))
        shrinks = 2 ** (len(branch.conditioning_embedding_out_channels) - 1)
        wanted.append((name, "pixels per cell of the hint, a side (the vae's)", shrinks, _factor(vae)))
    for name, key, found, expected in wanted:
        if found != expected:
            raise ValueError(f"{places[name]}: {key}: found {found}, expected {expected}")


def _factor(vae: Any) -> int:
    return 2 ** (len(vae.block_out_channels) - 1)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value
