"""Blended Diffusion against finite differences, a plain loop, and diffusers' DDPM."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler
from network_case import write_networks
from pixel_case import (
    check_batches,
    check_failures,
    check_leaks,
    draw,
    draw_batch,
    made,
    random_unet,
    streams,
    timesteps_of,
)
from torch import Tensor
from torch.nn import functional as F

from ecdm.data.dataset import Batch
from ecdm.methods.blended import BlendedDiffusion
from ecdm.methods.pixels import Known
from ecdm.models.networks import PixelUnet
from ecdm.models.similarity import text_features
from ecdm.numerics.views import draw_views
from ecdm.sections.compare import Blended as Settings

SETTINGS = Settings(images=2, batch=2, steps=4, skipped=1, clip_weight=1000.0, range_weight=50.0, views=3, candidates=1)
# Of the channels, as the folder of CLIP has them.
MEANS, DEVIATIONS = torch.tensor([[0.4, 0.5, 0.6], [0.2, 0.3, 0.4]])[..., None, None]


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory, parts: Any, foundation_folder: Path) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    write_networks(folder, parts, foundation_folder)
    return folder


@pytest.fixture
def make(parts: Any, networks: Path) -> Callable[..., BlendedDiffusion]:
    """The method on a network of 8 px with so many outputs, or, for none, on the folder's of 16 px."""

    def method(channels: int | None = 3, **changes: Any) -> BlendedDiffusion:
        found = made("blended", parts, networks, SETTINGS.model_copy(update=changes))
        assert isinstance(found, BlendedDiffusion)
        if channels is None:
            return found
        return replace(found, net=PixelUnet(random_unet(channels), DDPMScheduler(beta_schedule="linear")))

    return method


def in_double(method: BlendedDiffusion) -> BlendedDiffusion:
    net = PixelUnet(copy.deepcopy(method.net.unet).double(), method.net.scheduler)
    return replace(method, net=net, clip=replace(method.clip, model=copy.deepcopy(method.clip.model).double()))


@pytest.mark.parametrize("weights", [(1000.0, 0.0), (0.0, 50.0), (1000.0, 50.0)], ids=["clip", "range", "both"])
def test_the_gradient_is_that_of_finite_differences(make: Callable[..., BlendedDiffusion], weights: Any) -> None:
    """Through both networks, in the direction of the gradient and in one across all pixels."""
    method = in_double(make(6, clip_weight=weights[0], range_weight=weights[1]))
    batch, generator = draw_batch(), torch.Generator().manual_seed(1)
    known, text = Known.of(batch, 8), text_features(method.clip, batch.captions)
    x = torch.randn((3, 3, 8, 8), generator=generator, dtype=torch.float64)
    views = torch.stack([draw_views(stream, 3) for stream in streams()])
    prediction, found = method.gradient(x, 500, known.hole, text, views)
    assert prediction.eps.shape == prediction.share.shape == x.shape
    assert not found.requires_grad

    def loss(x: Tensor) -> Tensor:
        with torch.no_grad():
            eps = method.net.unet(x, torch.tensor([500])).sample[:, :3]
            return method.loss(x, eps, 500, known.hole, text, views)

    for direction in (found, torch.randn(x.shape, generator=generator, dtype=torch.float64)):
        step = 1e-5 * direction / direction.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        expected = (loss(x + step) - loss(x - step)) / 2
        slope = (found * step).flatten(1).sum(1)
        assert float(expected.abs().min()) > 0
        torch.testing.assert_close(slope, expected, rtol=1e-5, atol=1e-12)


def plain_distance(method: BlendedDiffusion, picture: Tensor, text: Tensor, views: Tensor) -> Tensor:
    """Half the mean squared angle between CLIP's features of the views of a picture (1, 3, h, w) and of the text."""
    side = method.clip.size
    line = (torch.arange(side) * 2 + 1) / side - 1
    points = torch.stack([*torch.meshgrid(line, line, indexing="xy"), torch.ones(side, side)], -1).double()
    places = points.view(1, -1, 3) @ views.transpose(1, 2)
    grid = (places[..., :2] / places[..., 2:]).view(-1, side, side, 2).float()
    seen = F.grid_sample(picture.expand(len(views), -1, -1, -1), grid, "bilinear", "zeros", align_corners=False)
    features = method.clip.model.get_image_features(((seen + 1) / 2 - MEANS) / DEVIATIONS).pooler_output
    return 0.5 * F.cosine_similarity(features, text).arccos().square().mean()


@pytest.mark.parametrize("channels", [3, 6])
def test_it_is_a_plain_loop(make: Callable[..., BlendedDiffusion], channels: int) -> None:
    """The published update, one image at a time, with the loss and its gradient written out."""
    method, batch = make(channels), draw_batch()
    found = method.inpaint(batch, streams())
    alpha_bar = torch.cat([(1 - method.net.scheduler.betas.double()).cumprod(0), torch.ones(1)])
    levels, native = [666, 333, 0, -1], Known.of(batch, 8)
    for row, generator in enumerate(streams()):
        image, hole = native.image[row : row + 1], native.hole[row : row + 1].float()
        text = text_features(method.clip, [batch.captions[row]]).detach()
        first = float(alpha_bar[666])
        x = first**0.5 * image + (1 - first) ** 0.5 * draw(generator, 8)
        for t, reached in pairwise(levels):
            views = draw_views(generator, 3)
            a, b = float(alpha_bar[t]), float(alpha_bar[reached])
            x = x.detach().requires_grad_()
            output = method.net.unet(x, torch.tensor([t])).sample
            x0 = (x - (1 - a) ** 0.5 * output[:, :3]) / a**0.5
            f = (1 - a) ** 0.5
            excess = F.relu(x0.abs() - 1).square().mean()
            loss = 1000 * plain_distance(method, (x0 * f + x * (1 - f)) * hole, text, views) + 50 * excess
            gradient = torch.autograd.grad(loss, x)[0]
            beta, least = 1 - a / b, max((1 - b) / (1 - a) * (1 - a / b), 1e-20 if channels == 6 else 0.0)
            variance = torch.tensor(least)
            if channels == 6:
                share = (output[:, 3:] + 1) / 2
                variance = torch.tensor(beta) ** share * torch.tensor(least) ** (1 - share)
            mean = b**0.5 * beta / (1 - a) * x0 + (a / b) ** 0.5 * (1 - b) / (1 - a) * x
            stepped = mean - variance * gradient
            if t:
                stepped = stepped + variance.sqrt() * draw(generator, 8)
            x = stepped * hole + (b**0.5 * image + (1 - b) ** 0.5 * draw(generator, 8)) * (1 - hole)
        expected = F.interpolate(x.detach().clamp(-1, 1) / 2 + 0.5, scale_factor=4, mode="bilinear")
        torch.testing.assert_close(found[row : row + 1], expected, rtol=1e-3, atol=1e-3)


def test_skipped_steps_are_not_taken_and_the_start_is_the_known_image_noised(
    make: Callable[..., BlendedDiffusion],
) -> None:
    method, batch, inputs = make(steps=6, skipped=2), draw_batch(), []
    hook = method.net.unet.register_forward_pre_hook(lambda _, given: inputs.append(given[0].detach()))
    taken = timesteps_of(method.net.unet, lambda: method.inpaint(batch, streams()))
    hook.remove()
    assert taken == [599, 400, 200, 0]
    signal = float(method.net.scheduler.alphas_cumprod[599])
    small = F.avg_pool2d(batch.images, 4)
    hole = F.max_pool2d(batch.masks, 4)
    for row, generator in enumerate(streams()):
        known = hole[row, 0] == 0
        filled = small[row].clone()
        filled[:, ~known] = small[row][:, known].mean(1, keepdim=True)
        expected = signal**0.5 * (2 * filled - 1) + (1 - signal) ** 0.5 * draw(generator, 8)[0]
        torch.testing.assert_close(inputs[0][row], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("channels", [3, 6])
def test_without_guidance_in_a_hole_without_end_it_is_the_ddpm_of_diffusers(
    make: Callable[..., BlendedDiffusion], channels: int
) -> None:
    method = make(channels, clip_weight=0.0, range_weight=0.0, skipped=0, views=1)
    batch = draw_batch()
    whole = Known.of(Batch(batch.images, torch.ones_like(batch.masks), batch.captions, batch.ids), 8)
    with torch.no_grad():
        found = method.sample(whole, text_features(method.clip, batch.captions), streams())
    kind = "fixed_small" if channels == 3 else "learned_range"
    scheduler = DDPMScheduler(beta_schedule="linear", variance_type=kind, clip_sample=False)
    scheduler.set_timesteps(timesteps=[999, 666, 333, 0])
    generators = streams()
    x = torch.cat([draw(generator, 8) for generator in generators])
    x = (1 - float(scheduler.alphas_cumprod[999])) ** 0.5 * x
    for t in scheduler.timesteps:
        output = method.net.unet(x, t).sample
        x = scheduler.step(output, int(t), x, generator=generators).prev_sample
        for generator in generators:  # the known image's noise, which nothing shows of
            draw(generator, 8)
    torch.testing.assert_close(found, x, rtol=1e-4, atol=1e-4)


def test_of_several_candidates_the_nearest_to_the_text_is_kept(make: Callable[..., BlendedDiffusion]) -> None:
    method, batch = make(candidates=3), draw_batch()
    known, text = Known.of(batch, 8), text_features(method.clip, batch.captions).detach()
    generators = streams()
    candidates = [method.sample(known, text, generators) for _ in range(3)]
    plain = torch.eye(3, dtype=torch.float64)[None]
    expected = []
    for row in range(3):
        hole = known.hole[row : row + 1].float()
        pictures = [each[row : row + 1].clamp(-1, 1) * hole for each in candidates]
        distances = [float(plain_distance(method, each, text[row : row + 1], plain).detach()) for each in pictures]
        assert len(set(distances)) == 3
        expected.append(candidates[distances.index(min(distances))][row])
    assert torch.equal(method.nearest(candidates, known, text), torch.stack(expected))
    one = replace(method, settings=SETTINGS)
    assert not torch.equal(method.inpaint(batch, streams()), one.inpaint(batch, streams()))


@pytest.mark.parametrize("failed", [0, 1, 2])
def test_a_failed_candidate_is_not_passed_over(make: Callable[..., BlendedDiffusion], failed: int) -> None:
    method, batch = make(), draw_batch()
    known, text = Known.of(batch, 8), text_features(method.clip, batch.captions).detach()
    candidates = [torch.zeros(3, 3, 8, 8), torch.ones(3, 3, 8, 8), -torch.ones(3, 3, 8, 8)]
    candidates[failed][1] = torch.nan
    finite = method.nearest(candidates, known, text).isfinite().flatten(1).all(1)
    assert finite.tolist() == [True, False, True]


def test_it_leaks_nothing(make: Callable[..., BlendedDiffusion]) -> None:
    check_leaks(make())


def test_it_reads_the_caption(make: Callable[..., BlendedDiffusion]) -> None:
    method, batch = make(), draw_batch()
    other = Batch(batch.images, batch.masks, ["a green star"] * 3, batch.ids)
    assert not torch.equal(method.inpaint(other, streams()), method.inpaint(batch, streams()))


def test_an_output_depends_on_no_batch_mate(make: Callable[..., BlendedDiffusion]) -> None:
    check_batches(make(None, candidates=2))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_reaches_the_output(make: Callable[..., BlendedDiffusion], value: float) -> None:
    method = make()
    check_failures(method, method.net.unet, value)


def test_its_native_size_is_the_networks(make: Callable[..., BlendedDiffusion]) -> None:
    assert make(None).native_size == 16
