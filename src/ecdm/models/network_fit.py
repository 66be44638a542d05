"""Whether the components of a published method's network are what the method takes, and fit each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

# (component, key, found, expected).
Check = tuple[str, str, object, object]
Parts = Mapping[str, Any]
# Inputs of a UNet beside sample, timestep and text: no method here has any.
FURTHER_INPUTS = ("class_embed_type", "num_class_embeds", "addition_embed_type")
COLOURS = 3


def check_parts(name: str, parts: Parts, places: Mapping[str, Path | str], foundation: Parts) -> None:
    """Check the components of network `name`, or their outlines; `places`: how errors name them.

    `foundation`: its components that the network has to fit, the autoencoder and text encoder of `sd_inpaint`.
    Raises: ValueError naming component and key, what was found and what was expected.
    """
    for part, key, found, expected in FITS[name](parts, foundation):
        if found != expected:
            raise ValueError(f"{places[part]}: {key}: found {found}, expected {expected}")


def _inpainting(parts: Parts, foundation: Parts) -> Iterable[Check]:
    unet, latents = parts["unet"].config, foundation["vae"].config.latent_channels
    yield "unet", "in_channels", unet.in_channels, 2 * latents + 1
    yield "unet", "out_channels", unet.out_channels, latents
    yield "unet", "cross_attention_dim", unet.cross_attention_dim, foundation["text_encoder"].config.hidden_size


def _glide(parts: Parts, foundation: Parts) -> Iterable[Check]:
    text = parts["text_encoder"].config
    for part, scheduler, channels in (("unet", "scheduler", 7), ("upsampler", "upsampler_scheduler", 10)):
        yield from _pixel_unet(parts, part, scheduler, channels)
        yield part, "cross_attention_dim", parts[part].config.cross_attention_dim, text.hidden_size
    yield from _tokens(parts["tokenizer"], text)


def _pixel(parts: Parts, foundation: Parts) -> Iterable[Check]:
    yield from _pixel_unet(parts, "unet", "scheduler", COLOURS)


def _clip(parts: Parts, foundation: Parts) -> Iterable[Check]:
    yield from _tokens(parts["tokenizer"], parts["model"].config.text_config)
    yield "processor", "means of channels", len(parts["processor"].image_mean), COLOURS
    yield "processor", "deviations of channels", len(parts["processor"].image_std), COLOURS


def _pixel_unet(parts: Parts, part: str, scheduler: str, channels: int) -> Iterable[Check]:
    config = parts[part].config
    yield part, "in_channels", config.in_channels, channels
    expected = 2 * COLOURS if config.out_channels == 2 * COLOURS else COLOURS
    yield part, "out_channels (3, or 6 with a learned variance)", config.out_channels, expected
    yield part, "type of sample_size", type(config.sample_size).__name__, "int"
    for key in FURTHER_INPUTS:
        yield part, key, config.get(key), None
    yield scheduler, "prediction_type", parts[scheduler].config.prediction_type, "epsilon"


def _tokens(tokenizer: Any, text: Any) -> Iterable[Check]:
    yield "tokenizer", "entries", len(tokenizer), text.vocab_size
    yield "tokenizer", "model_max_length", tokenizer.model_max_length, text.max_position_embeddings


FITS: dict[str, Callable[[Parts, Parts], Iterable[Check]]] = {
    "sd_inpaint": _inpainting,
    "glide": _glide,
    "pixel": _pixel,
    "clip": _clip,
}
