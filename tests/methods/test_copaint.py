"""CoPaint against a plain loop, diffusers' DDIM, and what its descent promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
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
from ecdm.methods.copaint import Copaint
from ecdm.methods.pixels import Known
from ecdm.models.networks import PixelUnet
from ecdm.numerics.descent import TRIALS
from ecdm.sections.compare import Copaint as Settings

SETTINGS = Settings(
    images=2,
    batch=2,
    steps=4,
    gradient_steps=2,
    lr=0.02,
    growth=1.5,
    shrink=0.8,
    weight=0.01,
    jump=2,
    passes=1,
)
LEVELS = [750, 500, 250, 0]


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory, parts: Any, foundation_folder: Path) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    write_networks(folder, parts, foundation_folder)
    return folder


@pytest.fixture
def make(parts: Any, networks: Path) -> Callable[..., Copaint]:
    """The method on a network of 8 px with so many outputs, or, for none, on the folder's of 16 px."""

    def method(channels: int | None = 3, **changes: Any) -> Copaint:
        found = made("copaint", parts, networks, SETTINGS.model_copy(update=changes))
        assert isinstance(found, Copaint)
        if channels is None:
            return found
        return replace(found, net=PixelUnet(random_unet(channels), DDPMScheduler(beta_schedule="linear")))

    return method


def error(method: Copaint, x: Tensor, origin: Tensor, t: int, known: Known) -> Tensor:
    """The objective, each image by itself."""
    signal = float((1 - method.net.scheduler.betas.double()).cumprod(0)[t])
    values = []
    for row in range(len(x)):
        eps = method.net.unet(x[row : row + 1], torch.tensor([t])).sample[:, :3]
        x0 = ((x[row : row + 1] - (1 - signal) ** 0.5 * eps) / signal**0.5).clamp(-1, 1)[0]
        missed = ((known.image[row] - x0)[:, ~known.hole[row, 0]] ** 2).sum()
        values.append(missed + method.settings.weight * ((origin[row] - x[row]) ** 2).sum())
    return torch.stack(values)


def start(size: int = 8) -> Tensor:
    return torch.cat([draw(generator, size) for generator in streams()])


@pytest.mark.parametrize("channels", [3, 6])
def test_it_is_a_plain_loop(make: Callable[..., Copaint], channels: int) -> None:
    """Two gradient steps and one of DDIM, one image at a time, with a length that never has to shrink."""
    method, batch = make(channels, lr=0.002), draw_batch()
    found = method.inpaint(batch, streams())
    alpha_bar = (1 - method.net.scheduler.betas.double()).cumprod(0)
    native = Known.of(batch, 8)
    for row, generator in enumerate(streams()):
        x = draw(generator, 8)
        known = Known(native.image[row : row + 1], native.hole[row : row + 1])
        for number, t in enumerate(LEVELS):
            length = 0.002 * 1.5**number * float((alpha_bar[t] / alpha_bar[0]) ** 0.5)
            origin, value = x, error(method, x, x, t, known)
            for _ in range(2):
                x = x.detach().requires_grad_()
                x = (x - length * torch.autograd.grad(error(method, x, origin, t, known).sum(), x)[0]).detach()
                after = error(method, x, origin, t, known)
                assert after < value
                value = after
            a, b = float(alpha_bar[t]), float(alpha_bar[LEVELS[number + 1]]) if t else 1.0
            eps = method.net.unet(x, torch.tensor([t])).sample[:, :3]
            x0 = ((x - (1 - a) ** 0.5 * eps) / a**0.5).clamp(-1, 1)
            x = b**0.5 * x0 + (1 - b) ** 0.5 * eps
        expected = F.interpolate(x / 2 + 0.5, scale_factor=4, mode="bilinear")
        torch.testing.assert_close(found[row : row + 1], expected, rtol=1e-4, atol=1e-4)


def test_without_a_descent_it_is_the_ddim_of_diffusers(make: Callable[..., Copaint]) -> None:
    """A length so small that no bit of the state moves."""
    method, batch = make(lr=1e-30, steps=5), draw_batch()
    scheduler = DDIMScheduler(beta_schedule="linear", clip_sample=True, timestep_spacing="leading")
    scheduler.set_timesteps(5)
    x = start()
    for t in scheduler.timesteps:
        x = scheduler.step(method.net.unet(x, t).sample, int(t), x).prev_sample
    expected = F.interpolate(x / 2 + 0.5, scale_factor=4, mode="bilinear")
    torch.testing.assert_close(method.inpaint(batch, streams()), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("t", LEVELS)
def test_the_objective_falls_over_the_inner_steps(make: Callable[..., Copaint], t: int) -> None:
    known = Known.of(draw_batch(), 8)
    values = [error(make(), start(), start(), t, known)]
    for steps in (1, 2, 4):
        x, eps = make(gradient_steps=steps).consistent(start(), t, 0, known)
        torch.testing.assert_close(eps, make().net.unet(x, torch.tensor([t] * 3)).sample)
        values.append(error(make(), x, start(), t, known))
    assert all(bool((after < before).all()) for before, after in pairwise(values))


def test_too_long_a_step_is_shortened_until_the_objective_does_not_rise(make: Callable[..., Copaint]) -> None:
    known, method = Known.of(draw_batch(), 8), make(lr=20.0, gradient_steps=1, weight=1.0)
    before = error(method, start(), start(), 0, known)
    leaf = start().requires_grad_()
    gradient = torch.autograd.grad(error(method, leaf, start(), 0, known).sum(), leaf)[0]
    assert bool((error(method, start() - 20 * gradient, start(), 0, known) > before).all())
    evaluated = timesteps_of(method.net.unet, lambda: method.consistent(start(), 0, 0, known))
    assert 4 < len(evaluated) < TRIALS
    x, _ = method.consistent(start(), 0, 0, known)
    after = error(method, x, start(), 0, known)
    assert bool((after < before).all())
    # The first of the lengths 20 · 0.8ⁿ that does not raise an image's objective is its own.
    moved = ((start() - x) / gradient).flatten(1).median(1).values
    for row, length in enumerate(moved):
        n = round(float((length / 20).log() / torch.tensor(0.8).log()))
        assert n >= 1
        assert float(length) == pytest.approx(20 * 0.8**n, rel=1e-3)
        longer = error(method, start() - 20 * 0.8 ** (n - 1) * gradient, start(), 0, known)
        assert longer[row] > before[row]


def test_an_image_that_goes_on_alone_is_compared_with_its_own_origin_and_its_own_image(
    make: Callable[..., Copaint],
) -> None:
    """The first image has nothing to descend on, so that the rows of those that go on are not their numbers."""
    method, whole = make(lr=20.0, gradient_steps=1, weight=1.0), Known.of(draw_batch(), 8)
    hole = whole.hole.clone()
    hole[0] = True
    together, _ = method.consistent(start(), 0, 0, Known(whole.image, hole))
    assert torch.equal(together[0], start()[0])
    for row in (1, 2):
        known = Known(whole.image[row : row + 1], hole[row : row + 1])
        alone, _ = method.consistent(start()[row : row + 1], 0, 0, known)
        assert not torch.equal(alone[0], start()[row])
        torch.testing.assert_close(together[row], alone[0], rtol=1e-4, atol=1e-4)


def test_a_step_that_stays_too_long_is_given_up(make: Callable[..., Copaint]) -> None:
    known, method = Known.of(draw_batch(), 8), make(lr=1e12)
    evaluated = timesteps_of(method.net.unet, lambda: method.consistent(start(), 0, 0, known))
    assert len(evaluated) == 1 + 2 * (1 + TRIALS + 1)
    x, _ = method.consistent(start(), 0, 0, known)
    assert torch.equal(x, start())


def test_time_travel_goes_back_after_every_jump(make: Callable[..., Copaint]) -> None:
    method, batch = make(lr=1e-30, gradient_steps=1, steps=5, jump=2, passes=2), draw_batch()
    evaluated = timesteps_of(method.net.unet, lambda: method.inpaint(batch, streams()))
    # One evaluation to descend from and one after it.
    assert evaluated[::2] == evaluated[1::2]
    assert evaluated[::2] == [800, 600, 800, 600, 400, 200, 400, 200, 0, 0]


def test_on_the_way_back_the_state_is_noised_on(make: Callable[..., Copaint]) -> None:
    method, batch, inputs = make(lr=1e-30, gradient_steps=1, steps=2, jump=1, passes=2), draw_batch(), []
    hook = method.net.unet.register_forward_pre_hook(lambda _, given: inputs.append(given[0].detach()))
    method.inpaint(batch, streams())
    hook.remove()
    alpha_bar = (1 - method.net.scheduler.betas.double()).cumprod(0)
    kept = float(alpha_bar[500] / alpha_bar[0])
    for row, generator in enumerate(streams()):
        first, eps = draw(generator, 8), draw(generator, 8)
        torch.testing.assert_close(inputs[0][row : row + 1], first)
        output = method.net.unet(first, torch.tensor([500])).sample
        scheduler = DDIMScheduler(beta_schedule="linear", clip_sample=True, timestep_spacing="leading")
        scheduler.set_timesteps(2)
        below = scheduler.step(output, 500, first).prev_sample
        expected = kept**0.5 * below + (1 - kept) ** 0.5 * eps
        torch.testing.assert_close(inputs[2][row : row + 1], expected, rtol=1e-5, atol=1e-5)


def test_it_leaks_nothing(make: Callable[..., Copaint]) -> None:
    check_leaks(make(steps=3, passes=2))


def test_it_reads_no_caption(make: Callable[..., Copaint]) -> None:
    method, batch = make(), draw_batch()
    other = Batch(batch.images, batch.masks, ["a green star"] * 3, batch.ids)
    assert torch.equal(method.inpaint(other, streams()), method.inpaint(batch, streams()))


def test_an_output_depends_on_no_batch_mate(make: Callable[..., Copaint]) -> None:
    """Some images have to shorten their steps where others do not."""
    check_batches(make(None, passes=2))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_reaches_the_output(make: Callable[..., Copaint], value: float) -> None:
    method = make(lr=0.002)
    check_failures(method, method.net.unet, value)


def test_its_native_size_is_the_networks(make: Callable[..., Copaint]) -> None:
    assert make(None).native_size == 16
