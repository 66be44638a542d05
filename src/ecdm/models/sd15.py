"""Configurations of Stable Diffusion 1.5 and ControlNet v1.1, exactly as published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, DDPMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedModel

LATENT_CHANNELS = 4
TEXT_WIDTH = 768
TEXT_LENGTH = 77
VOCABULARY = 49408
# `attention_head_dim` of diffusers' conditional UNets is in effect the number of heads.
HEADS = 8
CHANNELS = (320, 640, 1280, 1280)
DOWN_BLOCKS = ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D")
UP_BLOCKS = ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D")
HINT_CHANNELS = (16, 32, 96, 256)
# The schedule that every network here was trained under.
NOISE: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
}


def sd15_vae() -> AutoencoderKL:
    """The autoencoder, 83,653,863 parameters: (b, 3, h, w) in [-1, 1] ↔ (b, 4, h/8, w/8)."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=32,
        sample_size=512,
        scaling_factor=0.18215,
    )


def _shared() -> dict[str, Any]:
    return {
        "down_block_types": DOWN_BLOCKS,
        "block_out_channels": CHANNELS,
        "layers_per_block": 2,
        "cross_attention_dim": TEXT_WIDTH,
        "attention_head_dim": HEADS,
        "norm_num_groups": 32,
    }


def sd15_unet(in_channels: int = LATENT_CHANNELS) -> UNet2DConditionModel:
    """The denoiser on (b, 4, 64, 64) latents, 859,520,964 parameters; SD inpainting's takes 9 channels."""
    return UNet2DConditionModel(
        sample_size=64, in_channels=in_channels, out_channels=LATENT_CHANNELS, up_block_types=UP_BLOCKS, **_shared()
    )


def sd15_controlnet() -> ControlNetModel:
    """A ControlNet v1.1 with a hint (b, 3, 8h, 8w), 361,279,120 parameters."""
    return ControlNetModel(in_channels=LATENT_CHANNELS, conditioning_embedding_out_channels=HINT_CHANNELS, **_shared())


def sd15_text_encoder() -> CLIPTextModel:
    """The text tower of CLIP ViT-L/14, 123,060,480 parameters: 77 tokens → (b, 77, 768)."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=VOCABULARY,
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            num_hidden_layers=12,
            num_attention_heads=12,
            max_position_embeddings=TEXT_LENGTH,
            hidden_act="quick_gelu",
            projection_dim=TEXT_WIDTH,
            bos_token_id=VOCABULARY - 2,
            eos_token_id=VOCABULARY - 1,
            pad_token_id=VOCABULARY - 1,
        )
    )


def sd15_scheduler() -> DDPMScheduler:
    """The noise schedule: 1,000 steps, scaled linear; samplers take leading timesteps from step 1 and end at ᾱ_0."""
    # `set_alpha_to_one` is a setting of DDIM, which the published configuration carries too.
    return DDPMScheduler.from_config({**NOISE, "steps_offset": 1, "set_alpha_to_one": False})


def write_config(part: Any, folder: Path, in_channels: int = LATENT_CHANNELS) -> None:
    """Write the config.json of the network of class `part`; a UNet's for `in_channels` channels.

    Raises: ValueError for a class that is none of Stable Diffusion's.
    """
    makers = {
        AutoencoderKL: sd15_vae,
        UNet2DConditionModel: lambda: sd15_unet(in_channels),
        ControlNetModel: sd15_controlnet,
        CLIPTextModel: sd15_text_encoder,
    }
    if part not in makers:
        raise ValueError(f"found {part.__name__}, expected one of {', '.join(kind.__name__ for kind in makers)}")
    with torch.device("meta"):
        network = makers[part]()
    if isinstance(network, PreTrainedModel):
        network.config.save_pretrained(folder)
    else:
        network.save_config(folder)
