"""The split UNet against diffusers' own forward, and the decoder features of eq. 9."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from ecdm.models.split_unet import Residuals, SplitUNet

CROSS, UP = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"
TEXT = (5, 12)


def stable_diffusion() -> UNet2DConditionModel:
    """Stable Diffusion 1.5's blocks, two layers each, with few channels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        unet = UNet2DConditionModel(
            in_channels=4,
            out_channels=4,
            down_block_types=(CROSS, CROSS, CROSS, "DownBlock2D"),
            up_block_types=("UpBlock2D", UP, UP, UP),
            block_out_channels=(8, 16, 24, 32),
            layers_per_block=2,
            cross_attention_dim=12,
            attention_head_dim=2,
            norm_num_groups=4,
        )
    return unet.requires_grad_(False).eval()


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def inputs(unet: Any, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    text = normal(1, 2, 5, unet.config.cross_attention_dim)
    return normal(0, 2, 4, height, width), torch.tensor([3, 870]), text


def residuals_for(unet: Any, z: Tensor, t: Tensor, text: Tensor) -> Residuals:
    encoded = SplitUNet(unet).encode(z, t, text)
    down = tuple(normal(10 + i, *skip.shape) for i, skip in enumerate(encoded.skips))
    return Residuals(down, normal(9, *encoded.middle.shape))


# 15 x 18 is no multiple of the overall upsampling factor: sizes have to be handed to the upsamplers.
@pytest.mark.parametrize(("height", "width"), [(16, 16), (15, 18), (8, 24)])
@pytest.mark.parametrize("added", [True, False])
def test_equals_the_forward_of_diffusers(height: int, width: int, added: bool) -> None:
    unet = stable_diffusion()
    z, t, text = inputs(unet, height, width)
    extra = residuals_for(unet, z, t, text) if added else None
    options: dict[str, Any] = {}
    if extra:
        options = {
            "down_block_additional_residuals": extra.down,
            "mid_block_additional_residual": extra.middle,
        }
    expected = unet(z, t, text, **options).sample
    split = SplitUNet(unet)
    found, _ = split.decode(split.encode(z, t, text), extra)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    if added:
        assert float((expected - unet(z, t, text).sample).abs().mean()) > 0.01


def test_equals_the_forward_of_diffusers_for_the_tiny_blocks(parts: Any) -> None:
    z, t, text = inputs(parts.unet, 4, 8)
    extra = residuals_for(parts.unet, z, t, text)
    expected = parts.unet(
        z, t, text, down_block_additional_residuals=extra.down, mid_block_additional_residual=extra.middle
    ).sample
    split = SplitUNet(parts.unet)
    torch.testing.assert_close(split.decode(split.encode(z, t, text), extra)[0], expected, rtol=1e-5, atol=1e-6)


def test_stable_diffusion_has_twelve_features_of_the_decoder() -> None:
    """One for each ResNet; a block's last one is twice as large, being taken after the upsampler."""
    unet, split = stable_diffusion(), SplitUNet(stable_diffusion())
    encoded = split.encode(*inputs(unet, 16, 16))
    _, features = split.decode(encoded)
    shapes = [
        (c, side) for c, sides in ((32, (2, 2, 4)), (24, (4, 4, 8)), (16, (8, 8, 16)), (8, (16,) * 3)) for side in sides
    ]
    assert [tuple(feature.shape) for feature in features] == [(2, c, side, side) for c, side in shapes]
    assert len(encoded.skips) == 12
    assert len(Residuals(encoded.skips, encoded.middle).all) == 13


def test_features_of_odd_sizes_have_the_sizes_of_the_skips() -> None:
    split = SplitUNet(stable_diffusion())
    _, features = split.decode(split.encode(*inputs(split.unet, 15, 18)))
    sides = [tuple(feature.shape[2:]) for feature in features]
    assert sides == [(2, 3)] * 2 + [(4, 5)] * 3 + [(8, 9)] * 3 + [(15, 18)] * 4


def _recorded(modules: list[nn.Module], run: Any) -> list[Tensor]:
    seen: list[Tensor] = []
    handles = [m.register_forward_hook(lambda module, args, output: seen.append(output)) for m in modules]
    run()
    for handle in handles:
        handle.remove()
    return seen


def test_features_are_what_the_blocks_of_diffusers_put_out() -> None:
    unet = stable_diffusion()
    z, t, text = inputs(unet, 16, 16)
    extra = residuals_for(unet, z, t, text)
    options = {"down_block_additional_residuals": extra.down, "mid_block_additional_residual": extra.middle}
    blocks = _recorded(list(unet.up_blocks), lambda: unet(z, t, text, **options))
    split = SplitUNet(unet)
    output, features = split.decode(split.encode(z, t, text), extra)
    for feature, block in zip(features[2::3], blocks, strict=True):
        torch.testing.assert_close(feature, block, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(unet.conv_out(unet.conv_act(unet.conv_norm_out(features[-1]))), output)
    # Within a block: the first feature is what the second ResNet receives, joined with a skip connection.
    second = unet.up_blocks[1].resnets[1]
    joined: list[Tensor] = []
    handle = second.register_forward_pre_hook(lambda module, args: joined.append(args[0]))
    split.decode(split.encode(z, t, text), extra)
    handle.remove()
    assert torch.equal(joined[0][:, : features[3].shape[1]], features[3])


def test_one_encoding_serves_several_decodings() -> None:
    split = SplitUNet(stable_diffusion())
    z, t, text = inputs(split.unet, 16, 16)
    encoded, extra = split.encode(z, t, text), residuals_for(split.unet, z, t, text)
    kept = [skip.clone() for skip in encoded.skips]
    first = split.decode(encoded, extra)[0]
    split.decode(encoded)
    assert torch.equal(split.decode(encoded, extra)[0], first)
    assert all(torch.equal(a, b) for a, b in zip(kept, encoded.skips, strict=True))


def test_gradients_reach_every_residual_and_no_weight() -> None:
    split = SplitUNet(stable_diffusion())
    z, t, text = inputs(split.unet, 16, 16)
    extra = residuals_for(split.unet, z, t, text)
    for tensor in extra.all:
        tensor.requires_grad_()
    split.decode(split.encode(z, t, text), extra)[0].square().sum().backward()
    assert all(tensor.grad is not None and bool(tensor.grad.any()) for tensor in extra.all)
    assert all(parameter.grad is None for parameter in split.unet.parameters())


def test_a_missing_residual_is_refused_and_leaves_no_hook() -> None:
    split = SplitUNet(stable_diffusion())
    z, t, text = inputs(split.unet, 16, 16)
    encoded, extra = split.encode(z, t, text), residuals_for(split.unet, z, t, text)
    with pytest.raises(ValueError, match="shorter"):
        split.decode(encoded, Residuals(extra.down[:-1], extra.middle))
    wrong = Residuals((*extra.down[:-1], normal(0, 2, 32, 5, 5)), extra.middle)
    with pytest.raises(RuntimeError):
        split.decode(encoded, wrong)
    split.decode(encoded, extra)
    assert not any(module._forward_hooks for module in split.unet.modules())
