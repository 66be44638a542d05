"""The embedded networks' configurations: what they take, where they start, and that they are small."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ecdm.models.tiny import tiny_unet
from ecdm.models.tiny_networks import (
    BASE_SIZE,
    CLIP_SIZE,
    PIXEL_SIZE,
    UPSAMPLER_SIZE,
    tiny_base_scheduler,
    tiny_clip,
    tiny_clip_processor,
    tiny_glide_base,
    tiny_glide_upsampler,
    tiny_inpainting_unet,
    tiny_pixel_scheduler,
    tiny_pixel_unet,
)


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_the_inpainting_unet_starts_as_the_one_without_a_mask(parts: Any) -> None:
    for unet, channels in ((parts.unet, 4), (tiny_unet().eval(), 8)):
        wide = tiny_inpainting_unet(unet).eval()
        assert wide.config.in_channels == 2 * channels + 1
        assert "_name_or_path" not in wide.config
        z, beside, text = normal(1, channels, 8, 8), 9 * normal(1, channels + 1, 8, 8), normal(1, 5, 96)
        found = wide(torch.cat([z, beside], dim=1), 300, text).sample
        torch.testing.assert_close(found, unet(z, 300, text).sample)
        wide.conv_in.weight[:, channels:] += 1
        assert not torch.equal(wide(torch.cat([z, beside], dim=1), 300, text).sample, found)
        assert parts.unet.config.in_channels == 4


@torch.no_grad()
@pytest.mark.parametrize("width", [96, 192])
def test_the_pair_takes_pixels_and_text_of_any_width(width: int) -> None:
    text = normal(1, 5, width)
    for unet, channels, size in (
        (tiny_glide_base(width), 7, BASE_SIZE),
        (tiny_glide_upsampler(width), 10, UPSAMPLER_SIZE),
    ):
        assert unet.config.sample_size == size
        x = normal(1, channels, size, size)
        found = unet.eval()(x, 10, text).sample
        assert found.shape == (1, 3, size, size)
        assert float((unet(x, 10, text + 1).sample - found).abs().max()) > 1e-5


@torch.no_grad()
def test_the_pixel_unet_takes_pixels_alone() -> None:
    unet = tiny_pixel_unet().eval()
    assert unet(normal(1, 3, PIXEL_SIZE, PIXEL_SIZE), 10).sample.shape == (1, 3, PIXEL_SIZE, PIXEL_SIZE)
    assert unet.config.sample_size == PIXEL_SIZE


@torch.no_grad()
def test_clips_text_tower_starts_as_the_text_encoder(parts: Any) -> None:
    clip = tiny_clip(parts.text_encoder).eval()
    ids = torch.tensor([[0, 5, 7, 1] + [1] * 36, [0, 9, 1, 1] + [1] * 36])
    found, expected = clip.text_model(ids), parts.text_encoder(ids)
    torch.testing.assert_close(found.last_hidden_state, expected.last_hidden_state)
    # What stands at the first end of text sums a caption up.
    assert torch.equal(found.pooler_output, found.last_hidden_state[[0, 1], [3, 2]])
    assert clip.get_text_features(ids).pooler_output.shape == (2, 64)
    assert clip.get_image_features(normal(2, 3, CLIP_SIZE, CLIP_SIZE)).pooler_output.shape == (2, 64)
    assert "_name_or_path" not in clip.config.to_json_string()
    before = parts.text_encoder.state_dict()["final_layer_norm.weight"].clone()
    clip.text_model.final_layer_norm.weight += 1
    assert torch.equal(parts.text_encoder.state_dict()["final_layer_norm.weight"], before)


def test_clips_images_are_as_those_of_the_training(tmp_path: Path) -> None:
    """0 to 1 becomes −1 to 1."""
    processor = tiny_clip_processor()
    processor.save_pretrained(tmp_path)
    kept = type(processor).from_pretrained(tmp_path)
    picture = torch.randint(0, 256, (3, CLIP_SIZE, CLIP_SIZE), generator=torch.Generator().manual_seed(0)).byte()
    found = kept(picture, return_tensors="pt").pixel_values[0]
    torch.testing.assert_close(found, picture / 127.5 - 1, rtol=0, atol=1e-5)


def test_the_schedules_are_the_published_ones() -> None:
    linear, cosine = tiny_pixel_scheduler(), tiny_base_scheduler()
    betas = torch.linspace(1e-4, 0.02, 1000)
    torch.testing.assert_close(linear.betas, betas)
    angles = [(t / 1000 + 0.008) / 1.008 * math.pi / 2 for t in range(1001)]
    signal = [math.cos(angle) ** 2 for angle in angles]
    expected = [min(1 - after / before, 0.999) for before, after in pairwise(signal)]
    assert cosine.betas.tolist() == pytest.approx(expected, rel=1e-4)
    for scheduler in (linear, cosine):
        scheduler.set_timesteps(10)
        assert int(scheduler.timesteps[0]) == 999
        assert scheduler.config.clip_sample


def test_all_fit_the_repository(parts: Any) -> None:
    """20 MB for all in half precision, the pair's text encoder included; 300 KB are left for headers and texts."""
    unets = [tiny_inpainting_unet(tiny_unet()), tiny_glide_base(), tiny_glide_upsampler(), tiny_pixel_unet()]
    networks = [*unets, parts.text_encoder, tiny_clip(parts.text_encoder)]
    total = sum(p.numel() for network in networks for p in network.parameters())
    assert 15e6 < 2 * total < 19.7e6
