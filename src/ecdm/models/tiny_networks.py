"""Configurations of the embedded networks of the published methods, at the scale of the embedded foundation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel, UNet2DModel
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTextModel

from ecdm.models.tiny import HEADS, TEXT_WIDTH

# Pixels a side: GLIDE's base and its upsampler, the unconditional network, CLIP.
BASE_SIZE, UPSAMPLER_SIZE, PIXEL_SIZE, CLIP_SIZE = 32, 128, 64, 128


def tiny_inpainting_unet(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """Stable Diffusion inpainting's network, started from the text-to-image one on latents of c channels.

    Its 2c + 1 channels are the noisy latents, the mask and the latents of the masked image; the latter two enter with
    zero weights, so that at first it predicts what `unet` does.
    """
    latents = unet.config.in_channels
    widened = UNet2DConditionModel.from_config(_own(unet.config) | {"in_channels": 2 * latents + 1})
    state = unet.state_dict()
    wide = torch.zeros_like(widened.conv_in.weight)
    wide[:, :latents] = state["conv_in.weight"]
    widened.load_state_dict(state | {"conv_in.weight": wide})
    return widened


def tiny_glide_base(text_width: int = TEXT_WIDTH) -> UNet2DConditionModel:
    """GLIDE's base on (b, 7, 32, 32) as `glide_input` has it; text enters at its two coarser levels."""
    return _text_unet(
        7,
        BASE_SIZE,
        text_width,
        (32, 56, 72),
        ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    )


def tiny_glide_upsampler(text_width: int = TEXT_WIDTH) -> UNet2DConditionModel:
    """GLIDE's upsampler on (b, 10, 128, 128) as `glide_input` has it; text enters at its coarsest level."""
    return _text_unet(
        10,
        UPSAMPLER_SIZE,
        text_width,
        (16, 32, 40, 56),
        ("DownBlock2D", "DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        ("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D", "UpBlock2D"),
    )


def _text_unet(
    channels: int, size: int, text_width: int, widths: tuple[int, ...], down: tuple[str, ...], up: tuple[str, ...]
) -> UNet2DConditionModel:
    options: dict[str, Any] = {"layers_per_block": 1, "attention_head_dim": HEADS, "norm_num_groups": 8}
    return UNet2DConditionModel(
        sample_size=size,
        in_channels=channels,
        out_channels=3,
        down_block_types=down,
        up_block_types=up,
        block_out_channels=widths,
        cross_attention_dim=text_width,
        **options,
    )


def tiny_pixel_unet() -> UNet2DModel:
    """The unconditional network on (b, 3, 64, 64)."""
    return UNet2DModel(
        sample_size=PIXEL_SIZE,
        in_channels=3,
        out_channels=3,
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        block_out_channels=(32, 56, 72),
        layers_per_block=1,
        attention_head_dim=36,
        norm_num_groups=8,
    )


def tiny_pixel_scheduler() -> DDPMScheduler:
    """Linear noise schedule of guided diffusion and of GLIDE's upsampler."""
    return _pixel_scheduler("linear")


def tiny_base_scheduler() -> DDPMScheduler:
    """Cosine noise schedule of GLIDE's base."""
    return _pixel_scheduler("squaredcos_cap_v2")


def _pixel_scheduler(schedule: str) -> DDPMScheduler:
    """1,000 steps; pixels have a range to be clipped to, and few sampling steps start at the very last one."""
    options: dict[str, Any] = {"clip_sample": True, "timestep_spacing": "trailing"}
    return DDPMScheduler(num_train_timesteps=1000, beta_schedule=schedule, **options)


def tiny_clip(text_encoder: CLIPTextModel) -> CLIPModel:
    """A CLIP of 128 px images in patches of 16, whose text tower starts as the foundation's text encoder."""
    towers: dict[str, Any] = {"hidden_size": TEXT_WIDTH, "intermediate_size": 4 * TEXT_WIDTH, "num_attention_heads": 4}
    vision = {"image_size": CLIP_SIZE, "patch_size": 16, "num_hidden_layers": 4, **towers}
    text = _own(text_encoder.config.to_dict()) | {"dtype": None}
    clip = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=64))
    clip.text_model.load_state_dict(text_encoder.state_dict())
    return clip


def _own(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without the keys that tell where it was read."""
    return {key: value for key, value in config.items() if not key.startswith("_")}


def tiny_clip_processor() -> CLIPImageProcessor:
    """How the embedded CLIP wants its images: 128 px, mean and deviation 0.5 per channel."""
    side = {"height": CLIP_SIZE, "width": CLIP_SIZE}
    return CLIPImageProcessor(size=side, crop_size=side, image_mean=[0.5] * 3, image_std=[0.5] * 3)
