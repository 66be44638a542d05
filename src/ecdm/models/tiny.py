"""Configurations of the embedded foundation: Stable Diffusion 1.5's structure at a 128 px scale."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, DDPMScheduler, UNet2DConditionModel
from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from ecdm.models.sd15 import NOISE

LATENT_CHANNELS = 8
TEXT_WIDTH = 96
TEXT_LENGTH = 40
VOCABULARY = 768
# `attention_head_dim` of diffusers' conditional UNets is in effect the number of heads.
HEADS = 2
CHANNELS = (64, 96, 128)
DOWN_BLOCKS = ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D")
UP_BLOCKS = ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D")
HINT_CHANNELS = (16, 24, 48, 64)


def tiny_vae(width: int = 1) -> AutoencoderKL:
    """The autoencoder: (b, 3, h, w) in [-1, 1] ↔ (b, 8, h/8, w/8); `width` multiplies its channels."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=_wide((32, 48, 96, 96), width),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        sample_size=128,
    )


def _wide(channels: tuple[int, ...], width: int) -> tuple[int, ...]:
    return tuple(width * count for count in channels)


def _shared(width: int) -> dict[str, Any]:
    return {
        "in_channels": LATENT_CHANNELS,
        "down_block_types": DOWN_BLOCKS,
        "block_out_channels": _wide(CHANNELS, width),
        "layers_per_block": 1,
        "cross_attention_dim": width * TEXT_WIDTH,
        "attention_head_dim": width * HEADS,
        "norm_num_groups": 16,
    }


def tiny_unet(width: int = 1) -> UNet2DConditionModel:
    """The text-to-image denoiser on (b, 8, 16, 16) latents; `width` multiplies channels, heads and text features."""
    shared = _shared(width)
    return UNet2DConditionModel(sample_size=16, out_channels=LATENT_CHANNELS, up_block_types=UP_BLOCKS, **shared)


def tiny_controlnet(unet: UNet2DConditionModel) -> ControlNetModel:
    """A branch whose input blocks start as the UNet's, with a /8 hint embedding of zero output."""
    width = unet.config.cross_attention_dim // TEXT_WIDTH
    branch = ControlNetModel(conditioning_embedding_out_channels=HINT_CHANNELS, **_shared(width))
    for part in ("conv_in", "time_embedding", "down_blocks", "mid_block"):
        getattr(branch, part).load_state_dict(getattr(unet, part).state_dict())
    embedding = branch.controlnet_cond_embedding
    for layer in (embedding.conv_in, *embedding.blocks):
        # Seven SiLU layers of the default scale would leave a hint a thousandth of its size.
        torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        layer.weight.data *= 1.2
    return branch


def tiny_text_encoder(tokenizer: CLIPTokenizer, width: int = 1) -> CLIPTextModel:
    """A two-layer CLIP text encoder for the tokenizer's vocabulary; `width` multiplies its features and heads."""
    features = width * TEXT_WIDTH
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=features,
            intermediate_size=4 * features,
            num_hidden_layers=2,
            num_attention_heads=4 * width,
            max_position_embeddings=TEXT_LENGTH,
            projection_dim=features,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def tiny_scheduler() -> DDPMScheduler:
    """Stable Diffusion's noise schedule: 1,000 steps, scaled linear."""
    return DDPMScheduler(**NOISE, timestep_spacing="trailing")


def train_tokenizer(captions: Iterable[str]) -> CLIPTokenizer:
    """A CLIP tokenizer whose byte-pair merges are learnt from `captions`; any text can be encoded.

    As in CLIP's own vocabulary every byte has an entry within a word and one at a word's end. The latter are
    numbered here: the trainer would only number those it meets, in an order that changes from run to run.
    """
    start, end, suffix = "<|startoftext|>", "<|endoftext|>", "</w>"
    letters = sorted(ByteLevel.alphabet())
    fixed = [start, end, *(letter + suffix for letter in letters)]
    trainer = BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=fixed,
        initial_alphabet=letters,
        end_of_word_suffix=suffix,
        show_progress=False,
    )
    empty = CLIPTokenizer(vocab={start: 0, end: 1}, merges=[], model_max_length=TEXT_LENGTH)
    trained = Tokenizer.from_str(empty.backend_tokenizer.to_str())
    trained.train_from_iterator(captions, trainer)
    model = json.loads(trained.to_str())["model"]
    merges = [tuple(pair) for pair in model["merges"]]
    return CLIPTokenizer(vocab=model["vocab"], merges=merges, model_max_length=TEXT_LENGTH)
