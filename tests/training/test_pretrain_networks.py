"""Training of the published methods' networks: what a step sees of images, holes and captions, and that it learns."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel, UNet2DModel
from network_case import BLOCKS, PLAIN, TEXT, small_clip
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.v2.functional import gaussian_blur
from transformers.models.clip.modeling_clip import image_text_contrastive_loss

from ecdm.models.foundation import token_ids
from ecdm.models.tiny import tiny_scheduler
from ecdm.models.tiny_networks import tiny_base_scheduler, tiny_clip, tiny_glide_base, tiny_pixel_scheduler
from ecdm.numerics.diffusion import Schedule
from ecdm.training import pretrain_networks
from ecdm.training.fitting import Fit
from ecdm.training.pretrain import draw_holes, to_signed
from ecdm.training.pretrain_networks import (
    Texts,
    contrastive_loss,
    degraded,
    masked_cells,
    resized,
    resized_holes,
    shifted,
    train_clip,
    train_glide_base,
    train_glide_upsampler,
    train_inpainting,
    train_pixel,
)
from ecdm.training.scene_set import SceneSet

LossOf = Callable[[torch.Generator], dict[str, Tensor]]
NAMES = ("sd_inpaint", "glide_base", "glide_upsampler", "pixel", "clip")


class World:
    """Eight scenes of 64 px with their captions, some holes, the tests' foundation, and a training of each network."""

    def __init__(self, parts: Any) -> None:
        data = SceneSet(0, 8, 64, 1)
        self.parts, self.pixels = parts, data.pixels
        self.holes = draw_holes(0, 6, 64, 64)
        self.texts = Texts(data.tokens(parts.tokenizer), token_ids(parts.tokenizer, [""])[0], parts.text_encoder)

    def train(self, name: str, steps: int, batch: int, lr: float = 1e-3) -> tuple[Any, list[float]]:
        """The trained network and its losses."""
        losses: list[float] = []

        def report(found: str, step: int, values: dict[str, float]) -> None:
            assert (found, step) == (name, len(losses))
            losses.append(values["loss"])

        fit: tuple[Any, ...] = (Fit(steps, batch, lr), 0, report)
        parts, pixels, holes, texts = self.parts, self.pixels, self.holes, self.texts
        if name == "sd_inpaint":
            return train_inpainting(parts.vae, parts.unet, pixels, holes, texts, *fit), losses
        if name == "glide_base":
            return train_glide_base(resized(pixels, 32), resized_holes(holes, 32), texts, *fit), losses
        if name == "glide_upsampler":
            return train_glide_upsampler(pixels, resized(pixels, 32), holes, texts, *fit), losses
        if name == "pixel":
            return train_pixel(pixels, *fit), losses
        return train_clip(resized(pixels, self.side), texts, *fit), losses

    side = 128


@pytest.fixture(scope="module")
def world(parts: Any) -> World:
    return World(parts)


@pytest.fixture
def small(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """The same with networks of the tests' size, which train in a moment."""
    entries = len(world.parts.tokenizer)
    makers: dict[str, Callable[[], Any]] = {
        "tiny_glide_base": lambda: UNet2DConditionModel(in_channels=7, **TEXT, **BLOCKS),
        "tiny_glide_upsampler": lambda: UNet2DConditionModel(in_channels=10, **TEXT, **BLOCKS),
        "tiny_pixel_unet": lambda: UNet2DModel(**PLAIN, **BLOCKS),
        "tiny_clip": lambda: small_clip(entries),
    }
    for name, make in makers.items():
        monkeypatch.setattr(pretrain_networks, name, lambda *given, make=make: make())
    monkeypatch.setattr(world, "side", 16)
    monkeypatch.setattr(pretrain_networks, "WINDOW", 32)
    return world


def same(first: Any, second: Any) -> bool:
    a, b = first.state_dict(), second.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("name", NAMES)
def test_training_is_repeatable_and_leaves_the_foundation_alone(small: World, name: str) -> None:
    parts = small.parts
    before = {key: [p.clone() for p in getattr(parts, key).parameters()] for key in ("vae", "unet", "text_encoder")}
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        found.append(small.train(name, 2, 2))
    assert same(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]
    assert not any(p.requires_grad for p in found[0][0].parameters())
    assert not found[0][0].training
    for key, weights in before.items():
        assert all(torch.equal(a, b) for a, b in zip(weights, getattr(parts, key).parameters(), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_a_step_moves_every_layer(small: World, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps: the first has learning rate 0."""
    start: list[dict[str, Tensor]] = []
    fit = pretrain_networks.fit

    def watched(name: str, groups: Any, *rest: Any) -> None:
        ((parameters, factor),) = groups
        given = list(parameters)
        start.append({str(i): p.detach().clone() for i, p in enumerate(given)})
        assert factor == 1
        fit(name, [(given, 1)], *rest)

    monkeypatch.setattr(pretrain_networks, "fit", watched)
    model, _ = small.train(name, 2, 2)
    still = [not bool((p - start[0][str(i)]).any()) for i, p in enumerate(model.parameters())]
    assert sum(still) <= 0.1 * len(still)


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_falls(small: World, name: str) -> None:
    _, losses = small.train(name, 20, 4, 1e-2)
    assert np.mean(losses[-4:]) < 0.85 * np.mean(losses[:4])


class Watched(nn.Module):
    """Stands for a UNet: keeps what it is given and predicts no noise."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.channels = nn.Parameter(torch.zeros(1)), channels
        self.x: list[Tensor] = []
        self.t: list[Tensor] = []
        self.text: list[Tensor | None] = []

    def forward(self, x: Tensor, t: Tensor, text: Tensor | None = None) -> Any:
        self.x.append(x)
        self.t.append(t)
        self.text.append(text)
        return type("Output", (), {"sample": self.weight * x[:, : self.channels]})


@pytest.fixture
def watch(world: World, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Watched, LossOf]]:
    """A training's step, with a network that only watches."""

    def make(name: str, maker: str, channels: int, batch: int) -> tuple[Watched, LossOf]:
        model, steps = Watched(channels), []
        monkeypatch.setattr(pretrain_networks, maker, lambda *given: model)
        monkeypatch.setattr(pretrain_networks, "fit", lambda name, groups, loss_of, *rest: steps.append(loss_of))
        world.train(name, 1, batch)
        return model, steps[0]

    return make


def nearest(found: Tensor, known: Tensor) -> Tensor:
    """For each of found (b, ...) the number of the nearest of known (n, ...)."""
    return (found[:, None] - known[None]).flatten(2).square().mean(2).argmin(1)


def noised(x_t: Tensor, x0: Tensor, t: Tensor, scheduler: Any) -> Tensor:
    """The noise (b, ...) in x_t if it shows x0."""
    signal, noise = Schedule(scheduler.alphas_cumprod.double()).scales(t, x_t)
    return (x_t - signal * x0) / noise


def balance(t: Tensor, scheduler: Any) -> float:
    """The loss of who guesses no noise: noise over signal at t (b,), at most 8, on average."""
    kept = scheduler.alphas_cumprod[t]
    return float(((1 - kept) / kept).sqrt().clamp(max=8).mean())


def test_the_inpainting_unet_sees_latents_mask_and_masked_latents(world: World, watch: Any) -> None:
    model, step = watch("sd_inpaint", "tiny_inpainting_unet", 4, 256)
    generator = torch.Generator().manual_seed(5)
    loss = step(generator)["loss"]
    (x,), (t,), (text,) = model.x, model.t, model.text
    assert x.shape == (256, 9, 8, 8)
    images = world.pixels.float() / 255
    own = world.holes[[0, 1, 2, 3, 4, 5, 0, 1]]
    parts = world.parts
    masked = parts.latents(parts.moments(torch.where(own, 0.5, images)))
    gray = parts.latents(parts.moments(torch.full((1, 3, 64, 64), 0.5)))
    mask, beside = x[:, 4:5], x[:, 5:]
    whole = mask.flatten(1).all(1)
    assert 0.15 < float(whole.float().mean()) < 0.35
    torch.testing.assert_close(beside[whole], gray.expand(int(whole.sum()), -1, -1, -1), rtol=1e-3, atol=1e-4)
    rows = nearest(beside[~whole], masked)
    torch.testing.assert_close(beside[~whole], masked[rows], rtol=1e-3, atol=1e-4)
    # Its cell is the mask's first pixel there, as nearest interpolation has it.
    assert torch.equal(mask[~whole], own[rows][..., ::8, ::8].float())
    latents = parts.latents(parts.moments(images))
    eps = noised(x[~whole, :4], latents[rows], t[~whole], tiny_scheduler())
    assert float(eps.std()) == pytest.approx(1, abs=0.05)
    assert float(loss) == pytest.approx(balance(t, tiny_scheduler()), rel=0.05)
    empty = (text == world.texts.embed(world.texts.empty[None])).flatten(1).all(1)
    assert 0.04 < float(empty.float().mean()) < 0.17


def test_masked_cells_keep_nothing_of_the_hole(world: World) -> None:
    found = masked_cells(world.parts.vae, world.pixels[:6], world.holes)
    assert found.shape == (6, 5, 8, 8)
    changed = torch.where(world.holes, 255 - world.pixels[:6], world.pixels[:6])
    assert torch.equal(masked_cells(world.parts.vae, changed, world.holes), found)


def test_the_base_sees_the_known_part_of_what_it_denoises(world: World, watch: Any) -> None:
    model, step = watch("glide_base", "tiny_glide_base", 3, 200)
    step(torch.Generator().manual_seed(5))
    (x,), (t,), (text,) = model.x, model.t, model.text
    assert x.shape == (200, 7, 32, 32)
    known, shown = x[:, 6:] == 1, x[:, 3:6]
    assert set(x[:, 6].unique().tolist()) == {0, 1}
    assert not bool(shown[(~known).expand_as(shown)].any())
    whole = ~known.flatten(1).any(1)
    assert 0.15 < float(whole.float().mean()) < 0.36
    # Every area of 2 x 2 pixels that a hole touches is hole.
    small = F.max_pool2d(world.holes.float(), 2).bool()
    for hole in ~known[~whole]:
        assert any(torch.equal(hole, one) for one in small)
    scenes = to_signed(resized(world.pixels, 32))
    fits = known[~whole].expand(-1, 3, -1, -1)
    matches = (~fits[:, None] | (shown[~whole, None] == scenes[None])).flatten(2).all(2)
    assert bool(matches.any(1).all())
    rows = matches.int().argmax(1)
    eps = noised(x[~whole, :3], scenes[rows], t[~whole], tiny_base_scheduler())
    assert float(eps.std()) == pytest.approx(1, abs=0.05)
    empty = (text == world.texts.embed(world.texts.empty[None])).flatten(1).all(1)
    assert 0.1 < float(empty.float().mean()) < 0.3
    captions = world.texts.embed(world.texts.tokens.flatten(0, 1))
    own = nearest(text[~whole & ~empty], captions) // world.texts.tokens.shape[1]
    assert torch.equal(own, rows[~empty[~whole]])


def test_the_upsampler_sees_windows_and_the_small_image(
    world: World, watch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrain_networks, "WINDOW", 32)
    monkeypatch.setattr(pretrain_networks, "degraded", lambda low, generator: low)
    model, step = watch("glide_upsampler", "tiny_glide_upsampler", 3, 4)
    generator, scenes = torch.Generator().manual_seed(5), to_signed(world.pixels)
    large = F.interpolate(to_signed(resized(world.pixels, 32)), scale_factor=2, mode="bilinear", align_corners=False)
    places = [(top, left) for top in range(0, 33, 8) for left in range(0, 33, 8)]
    windows = torch.stack([large[..., top : top + 32, left : left + 32] for top, left in places])
    seen = set()
    for _ in range(40):
        loss = step(generator)["loss"]
        x, t = model.x[-1], model.t[-1]
        assert float(loss) == pytest.approx(balance(t, tiny_pixel_scheduler()), rel=0.1)
        assert x.shape == (4, 10, 32, 32)
        place, *rest = {int(i) for i in nearest(x[:, 7:], windows.flatten(0, 1)) // len(scenes)}
        assert not rest
        seen.add(places[place])
        top, left = places[place]
        rows = nearest(x[:, 7:], windows[place])
        assert torch.equal(x[:, 7:], windows[place][rows])
        truth, known = scenes[rows, :, top : top + 32, left : left + 32], x[:, 6:7] == 1
        assert torch.equal(x[:, 3:6], torch.where(known, truth, 0))
        assert float(noised(x[:, :3], truth, t, tiny_pixel_scheduler()).std()) == pytest.approx(1, abs=0.1)
        for hole in (~known)[known.flatten(1).any(1)]:
            assert any(torch.equal(hole, one[..., top : top + 32, left : left + 32]) for one in world.holes)
    assert {top for top, _ in seen} == {left for _, left in seen} == {0, 8, 16, 24, 32}


def test_small_images_are_degraded_within_bounds(world: World) -> None:
    low = to_signed(resized(world.pixels, 32)).repeat(40, 1, 1, 1)
    found = degraded(low, torch.Generator().manual_seed(3))
    blurred = gaussian_blur(low, [3, 3], [0.6, 0.6])
    sharp, soft = ((found - one).flatten(1).std(1) for one in (low, blurred))
    share = float((sharp < soft).float().mean())
    assert 0.4 < share < 0.6
    spread = torch.minimum(sharp, soft)
    assert float(spread.max()) < 0.105
    assert float(spread.min()) < 0.01
    assert float(spread.mean()) == pytest.approx(0.05, abs=0.01)
    assert torch.equal(degraded(low, torch.Generator().manual_seed(3)), found)


def test_the_pixel_unet_sees_noisy_scenes_alone(world: World, watch: Any) -> None:
    model, step = watch("pixel", "tiny_pixel_unet", 3, 64)
    loss = step(torch.Generator().manual_seed(5))["loss"]
    (x,), (t,), (text,) = model.x, model.t, model.text
    assert text is None
    scenes, low = to_signed(world.pixels), t < 200
    rows = nearest(x[low], scenes)
    assert float(noised(x[low], scenes[rows], t[low], tiny_pixel_scheduler()).std()) == pytest.approx(1, abs=0.05)
    assert float(loss) == pytest.approx(balance(t, tiny_pixel_scheduler()), rel=0.05)
    assert 0 <= int(t.min()) < 200
    assert 800 <= int(t.max()) < 1000


def test_clip_sees_each_scene_once_with_a_caption_of_its_own(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    model, steps = tiny_clip(world.parts.text_encoder), []
    images: list[Tensor] = []
    texts: list[Tensor] = []

    def watched(look: Callable[[Tensor], Any], kept: list[Tensor]) -> Callable[[Tensor], Any]:
        def look_and_keep(given: Tensor) -> Any:
            kept.append(given)
            return look(given)

        return look_and_keep

    monkeypatch.setattr(model, "get_image_features", watched(model.get_image_features, images))
    monkeypatch.setattr(model, "get_text_features", watched(model.get_text_features, texts))
    monkeypatch.setattr(pretrain_networks, "tiny_clip", lambda encoder: model)
    monkeypatch.setattr(pretrain_networks, "shifted", lambda pictures, generator: pictures)
    monkeypatch.setattr(pretrain_networks, "fit", lambda name, groups, loss_of, *rest: steps.append(loss_of))
    world.train("clip", 1, 8)
    chosen: set[int] = set()
    generator, scenes = torch.Generator().manual_seed(5), to_signed(resized(world.pixels, 128))
    for _ in range(6):
        loss = steps[0](generator)["loss"]
        rows = nearest(images[-1], scenes)
        assert torch.equal(images[-1], scenes[rows])
        assert sorted(rows.tolist()) == list(range(8))
        same_tokens = (texts[-1][:, None] == world.texts.tokens[rows]).all(2)
        assert bool(same_tokens.any(1).all())
        chosen |= set(same_tokens.int().argmax(1).tolist())
    assert chosen == {0, 1, 2, 3}
    assert float(loss.detach()) == pytest.approx(math.log(8), abs=1.5)


def test_the_contrastive_loss_is_clips() -> None:
    generator = torch.Generator().manual_seed(0)
    images, texts = torch.randn(2, 6, 5, generator=generator)
    unit = [one / one.norm(dim=1, keepdim=True) for one in (images, texts)]
    expected = image_text_contrastive_loss(math.exp(2.5) * unit[1] @ unit[0].T)
    torch.testing.assert_close(contrastive_loss(images, texts, torch.tensor(2.5)), expected)
    torch.testing.assert_close(contrastive_loss(3 * images, 7 * texts, torch.tensor(2.5)), expected)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(contrastive_loss(images, texts, torch.tensor(2.5)), expected)


def test_clips_scale_stays_below_a_hundred(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    model, scales, steps = tiny_clip(world.parts.text_encoder), [], []

    def loss(images: Tensor, texts: Tensor, log_scale: Tensor) -> Tensor:
        scales.append(float(log_scale))
        return images.sum()

    monkeypatch.setattr(pretrain_networks, "tiny_clip", lambda encoder: model)
    monkeypatch.setattr(pretrain_networks, "contrastive_loss", loss)
    monkeypatch.setattr(pretrain_networks, "fit", lambda name, groups, loss_of, *rest: steps.append(loss_of))
    world.train("clip", 1, 2)
    for value in (4.0, 9.0):
        model.logit_scale.data.fill_(value)
        steps[0](torch.Generator().manual_seed(0))
    assert scales == pytest.approx([4.0, math.log(100)])


def test_clips_images_move_by_a_few_pixels() -> None:
    images = torch.arange(2 * 3 * 24 * 24.0).reshape(2, 3, 24, 24)
    generator, moves = torch.Generator().manual_seed(0), set()
    for _ in range(200):
        found = shifted(images, generator)
        offset = int(found[0, 0, 12, 12] - images[0, 0, 12, 12])
        down, right = round(offset / 24), offset - 24 * round(offset / 24)
        moves.add((down, right))
        assert torch.equal(found[..., 7:17, 7:17], images[..., 7 + down : 17 + down, 7 + right : 17 + right])
    assert {down for down, _ in moves} == {right for _, right in moves} == set(range(-6, 7))


def test_sizes_change_by_means_and_holes_grow(world: World) -> None:
    blocks = world.pixels.double().unflatten(2, (32, 2)).unflatten(4, (32, 2)).mean((3, 5))
    assert float((resized(world.pixels, 32).double() - blocks).abs().max()) <= 0.5
    assert resized(world.pixels, 32).dtype == torch.uint8
    assert resized(world.pixels, 64) is world.pixels
    large = resized(world.pixels, 128)
    assert torch.equal(large[..., ::2, ::2], world.pixels)
    hole = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    hole[..., 33, 10] = True
    found = resized_holes(hole, 32)
    assert found.nonzero().tolist() == [[0, 0, 16, 5]]
    assert torch.equal(resized_holes(hole, 64), hole)


def test_texts_are_embedded_in_full_precision(world: World) -> None:
    ids = world.texts.tokens[:2, 0]
    with torch.autocast("cpu", torch.bfloat16):
        found = world.texts.embed(ids)
    torch.testing.assert_close(found, world.parts.text_encoder(ids)[0], rtol=1e-4, atol=1e-5)
    assert not found.requires_grad
    assert world.texts.width == 96


def test_the_base_is_as_wide_as_the_text(world: World) -> None:
    assert isinstance(world.train("glide_base", 1, 1)[0], UNet2DConditionModel)
    assert tiny_glide_base(world.texts.width).config.cross_attention_dim == world.texts.width
