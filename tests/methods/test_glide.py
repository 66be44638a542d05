"""GLIDE against a plain loop over its networks, diffusers' DDPM, and what its steps are handed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from network_case import write_networks
from pixel_case import check_batches, check_failures, check_leaks, draw, draw_batch, made, streams
from torch import Tensor
from torch.nn import functional as F

from ecdm.data.dataset import Batch
from ecdm.methods.glide import GlideInpainting, GuidedNetwork, sample_known
from ecdm.methods.pixels import Known
from ecdm.models.networks import PixelUnet
from ecdm.sections.compare import Glide as Settings

BASE_LEVELS, UPSAMPLER_LEVELS = [999, 666, 333, 0], [999, 270, 0]


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory, parts: Any, foundation_folder: Path) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    write_networks(folder, parts, foundation_folder)
    return folder


@pytest.fixture
def make(parts: Any, networks: Path) -> Callable[..., GlideInpainting]:
    def method(guidance: float = 3.0, skipped: int = 0) -> GlideInpainting:
        upsampler: dict[str, Any] = {"upsampler_steps": 3, "upsampler_skipped": skipped, "upsampler_noise": 0.9}
        own = Settings(images=2, batch=2, steps=4, guidance=guidance, **upsampler)
        found = made("glide", parts, networks, own)
        assert isinstance(found, GlideInpainting)
        return found

    return method


def text_unet(channels: int) -> UNet2DConditionModel:
    """A base on (b, 7, 8, 8) whose output has so many channels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        unet = UNet2DConditionModel(
            sample_size=8,
            in_channels=7,
            out_channels=channels,
            down_block_types=("CrossAttnDownBlock2D",),
            up_block_types=("CrossAttnUpBlock2D",),
            block_out_channels=(8,),
            layers_per_block=1,
            attention_head_dim=2,
            norm_num_groups=4,
            cross_attention_dim=96,
        )
    return unet.requires_grad_(False)


def reduced(batch: Batch, row: int, size: int) -> tuple[Tensor, Tensor]:
    """One image in [−1, 1] as means over areas, and 1 where an area is known throughout, (1, 3 and 1, s, s)."""
    side = 32 // size
    known = 1 - batch.masks[row : row + 1].unfold(2, side, side).unfold(3, side, side).amax((4, 5))
    return batch.images[row : row + 1].unfold(2, side, side).unfold(3, side, side).mean((4, 5)) * 2 - 1, known


def plain_step(x: Tensor, x0: Tensor, levels: list[int], place: int, betas: Tensor, noise: Tensor | None) -> Tensor:
    """Eq. 6 and 7 of Ho et al. (2020) between two respaced levels."""
    alpha_bar = torch.cat([(1 - betas.double()).cumprod(0), torch.ones(1)])
    a, b = (float(alpha_bar[t]) for t in (*levels, -1)[place : place + 2])
    beta = 1 - a / b
    mean = b**0.5 * beta / (1 - a) * x0 + (a / b) ** 0.5 * (1 - b) / (1 - a) * x
    return mean if noise is None else mean + (beta * (1 - b) / (1 - a)) ** 0.5 * noise


def plain_loop(
    net: PixelUnet,
    predict: Callable[[Tensor, int], Tensor],
    x: Tensor,
    image: Tensor,
    known: Tensor,
    levels: list[int],
    generator: torch.Generator,
) -> Tensor:
    for place, t in enumerate(levels):
        signal = float((1 - net.scheduler.betas.double()).cumprod(0)[t])
        x0 = ((x - (1 - signal) ** 0.5 * predict(x, t)) / signal**0.5).clamp(-1, 1)
        x0 = x0 * (1 - known) + image * known
        noise = draw(generator, x.shape[-1]) if t else None
        x = plain_step(x, x0, levels, place, net.scheduler.betas, noise)
    return x


@pytest.mark.parametrize(("guidance", "skipped"), [(1.0, 0), (3.0, 0), (3.0, 1)])
def test_it_is_a_plain_loop(make: Callable[..., GlideInpainting], guidance: float, skipped: int) -> None:
    """One image at a time, guidance in two passes, channels put together by hand."""
    method, batch = make(guidance, skipped), draw_batch()
    found = method.inpaint(batch, streams())
    base, upsampler = method.glide.base, method.glide.upsampler
    for row, generator in enumerate(streams()):
        text, empty = method.embed([batch.captions[row]]), method.embed([""])
        image, known = reduced(batch, row, 8)

        def base_eps(
            x: Tensor, t: int, given: tuple[Tensor, ...] = (image * known, known), texts: Any = (empty, text)
        ) -> Tensor:
            x = torch.cat([x, *given], 1)
            without, with_text = (base.unet(x, torch.tensor([t]), each).sample for each in texts)
            return without + guidance * (with_text - without)

        small = plain_loop(base, base_eps, draw(generator, 8), image, known, BASE_LEVELS, generator)
        image, known = reduced(batch, row, 16)
        low = F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)

        def eps(x: Tensor, t: int, given: tuple[Tensor, ...] = (image * known, known, low), text: Tensor = text) -> Any:
            return upsampler.unet(torch.cat([x, *given], 1), torch.tensor([t]), text).sample

        start, levels = 0.9 * draw(generator, 16), UPSAMPLER_LEVELS[skipped:]
        if skipped:
            signal = float((1 - upsampler.scheduler.betas.double()).cumprod(0)[levels[0]])
            start = signal**0.5 * low + (1 - signal) ** 0.5 * start
        large = plain_loop(upsampler, eps, start, image, known, levels, generator)
        expected = F.interpolate(large / 2 + 0.5, scale_factor=2, mode="bilinear", align_corners=False)
        torch.testing.assert_close(found[row : row + 1], expected, rtol=1e-4, atol=1e-4)


def test_every_step_of_both_networks_gets_the_known_pixels(
    make: Callable[..., GlideInpainting], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    step = DDPMScheduler.step

    def watched(self: DDPMScheduler, x0: Tensor, *rest: Any, **options: Any) -> Any:
        seen.append(x0)
        return step(self, x0, *rest, **options)

    monkeypatch.setattr(DDPMScheduler, "step", watched)
    batch = draw_batch()
    make().inpaint(batch, streams())
    assert [x0.shape[-1] for x0 in seen] == [8] * 4 + [16] * 3
    for x0 in seen:
        known = Known.of(batch, x0.shape[-1])
        outside = (~known.hole).expand_as(x0)
        assert torch.equal(x0[outside], known.image[outside])
        assert float((x0 - known.image)[~outside].abs().mean()) > 0.1
        assert float(x0.abs().max()) <= 1


def test_the_upsampler_sees_noise_known_image_known_mask_and_the_bases_image(
    make: Callable[..., GlideInpainting],
) -> None:
    method, batch, inputs, outputs = make(), draw_batch(), [], []
    hooks = [
        method.glide.upsampler.unet.register_forward_pre_hook(lambda _, given: inputs.append(given[0])),
        method.glide.base.unet.register_forward_pre_hook(lambda _, given: outputs.append(given[0])),
    ]
    generators = streams()
    method.inpaint(batch, generators)
    for hook in hooks:
        hook.remove()
    known = Known.of(batch, 16)
    for given in inputs:
        mask = given[:, 6:7]
        assert given.shape == (3, 10, 16, 16)
        assert torch.equal(mask, (~known.hole).float())
        assert torch.equal(given[:, 3:6], known.image * mask)
    # Known pixels of the base's image are its own known ones, which the enlargement leaves where a whole area is known.
    low, small = inputs[0][:, 7:], Known.of(batch, 8)
    expected = F.interpolate(small.image, scale_factor=2, mode="bilinear", align_corners=False)
    sure = F.interpolate(F.max_pool2d(small.hole.float(), 3, 1, 1), scale_factor=2) == 0
    assert int(sure.sum()) > 100
    torch.testing.assert_close(low[sure.expand_as(low)], expected[sure.expand_as(low)])
    assert all(torch.equal(given[:, 7:], low) for given in inputs)
    again = streams()
    for generator in again:
        for _ in range(4):
            draw(generator, 8)
    assert torch.equal(inputs[0][:, :3], 0.9 * torch.cat([draw(generator, 16) for generator in again]))


def test_guidance_is_that_of_two_passes_and_a_learned_variance_that_under_the_caption(parts: Any) -> None:
    unet = text_unet(6)
    batch, net = draw_batch(), PixelUnet(unet, DDPMScheduler())
    known, x = Known.of(batch, 8), torch.cat([draw(generator, 8) for generator in streams()])
    empty, text = parts.embed([""] * 3), parts.embed(batch.captions)
    given = torch.cat([x, known.image * ~known.hole, ~known.hole], 1)
    without, with_text = (unet(given, torch.tensor([70] * 3), each).sample for each in (empty, text))
    assert float((without - with_text).abs().mean()) > 1e-4
    found = GuidedNetwork(net, False, known, torch.cat([empty, text]), 4.0)(x, 70)
    expected = without + 4 * (with_text - without)
    torch.testing.assert_close(found.eps, expected[:, :3])
    torch.testing.assert_close(found.share, with_text[:, 3:])
    alone = GuidedNetwork(net, False, known, text, 1.0)(x, 70)
    torch.testing.assert_close(torch.cat(alone, 1), with_text)


@pytest.mark.parametrize("channels", [3, 6])
def test_where_nothing_is_known_it_is_the_ddpm_of_diffusers(parts: Any, channels: int) -> None:
    """With the variance that the network learned, where it gives one."""
    unet = text_unet(channels)
    kind = "fixed_small" if channels == 3 else "learned_range"
    scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2", variance_type=kind, clip_sample=True)
    scheduler.set_timesteps(timesteps=BASE_LEVELS)
    batch = draw_batch()
    whole = Batch(batch.images, torch.ones_like(batch.masks), batch.captions, batch.ids)
    text, beside = parts.embed(batch.captions), torch.zeros(3, 4, 8, 8)
    generators = streams()
    expected = torch.cat([draw(generator, 8) for generator in generators])
    for t in BASE_LEVELS:
        output = unet(torch.cat([expected, beside], 1), torch.tensor([t] * 3), text).sample
        expected = scheduler.step(output, t, expected, generator=generators).prev_sample
    net = PixelUnet(unet, DDPMScheduler(beta_schedule="squaredcos_cap_v2"))
    network = GuidedNetwork(net, False, Known.of(whole, 8), text, 1.0)
    with torch.no_grad():
        generators = streams()
        start = torch.cat([draw(generator, 8) for generator in generators])
        found = sample_known(network, start, BASE_LEVELS, generators)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_it_leaks_nothing(make: Callable[..., GlideInpainting]) -> None:
    check_leaks(make())


def test_it_reads_the_caption(make: Callable[..., GlideInpainting]) -> None:
    method, batch = make(), draw_batch()
    other = Batch(batch.images, batch.masks, ["a green star"] * 3, batch.ids)
    assert not torch.equal(method.inpaint(other, streams()), method.inpaint(batch, streams()))


def test_an_output_depends_on_no_batch_mate(make: Callable[..., GlideInpainting]) -> None:
    check_batches(make())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("network", ["base", "upsampler"])
def test_what_is_not_finite_reaches_the_output(
    make: Callable[..., GlideInpainting], network: str, value: float
) -> None:
    method = make()
    check_failures(method, method.networks[network], value)


def test_its_native_size_is_the_upsamplers(make: Callable[..., GlideInpainting]) -> None:
    assert make().native_size == 16
