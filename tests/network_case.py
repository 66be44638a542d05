"""The published methods' networks at tests' size with random weights, in folders as they are published."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel, UNet2DModel
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

SIDE = 32
NAMES = ("sd_inpaint", "glide", "pixel", "clip")
BLOCKS: dict[str, Any] = {"layers_per_block": 1, "block_out_channels": (8, 16), "norm_num_groups": 8}
TEXT: dict[str, Any] = {
    "cross_attention_dim": 96,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": 2,
    "sample_size": 8,
    "out_channels": 3,
}
PLAIN: dict[str, Any] = {
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": 8,
    "sample_size": 16,
}
TOWER = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


def small_clip(entries: int, tokens: int = 40, side: int = 16, begin: int = 0, end: int = 1) -> CLIPModel:
    """A CLIP of images of so many pixels for a tokenizer of so many entries, among them those of a text's two ends."""
    text = {**TOWER, "vocab_size": entries, "max_position_embeddings": tokens, "bos_token_id": begin}
    text |= {"eos_token_id": end, "pad_token_id": end}
    vision = {**TOWER, "image_size": side, "patch_size": 8}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=12))


def made_networks(parts: Any) -> dict[str, dict[str, Any]]:
    """Network → its parts by subfolder, as they fit the foundation of the tests; random, but always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        inpainting = UNet2DConditionModel.from_config(dict(parts.unet.config) | {"in_channels": 9})
        base, upsampler = (
            UNet2DConditionModel(in_channels=7, **TEXT, **BLOCKS),
            UNet2DConditionModel(in_channels=10, **{**TEXT, "sample_size": 16}, **BLOCKS),
        )
        pixel = UNet2DModel(**{**PLAIN, "out_channels": 6}, **BLOCKS)
        words = parts.tokenizer
        clip = small_clip(len(words), side=SIDE, begin=words.bos_token_id, end=words.eos_token_id)
        # So that no part is without effect.
        for network in (inpainting, base, upsampler, pixel, clip):
            for parameter in network.parameters():
                parameter.data += 0.05 * torch.randn(parameter.shape)
    linear = DDPMScheduler(num_train_timesteps=1000, beta_schedule="linear")
    cosine = DDPMScheduler(num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2")
    return {
        "sd_inpaint": {"unet": inpainting},
        "glide": {"unet": base, "scheduler": cosine, "upsampler": upsampler, "upsampler_scheduler": linear},
        "pixel": {"unet": pixel, "scheduler": linear},
        "clip": {"": clip},
    }


def write_networks(folder: Path, parts: Any, foundation: Path) -> None:
    """Write all four below a folder, `foundation` being the one of `parts`."""
    for name, components in made_networks(parts).items():
        for below, part in components.items():
            part.save_pretrained(folder / name / below)
    for name in ("text_encoder", "tokenizer"):
        shutil.copytree(foundation / name, folder / "glide" / name)
    shutil.copytree(foundation / "tokenizer", folder / "clip", dirs_exist_ok=True)
    side = {"height": SIDE, "width": SIDE}
    colours = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}
    CLIPImageProcessor(size=side, crop_size=side, **colours).save_pretrained(folder / "clip")
