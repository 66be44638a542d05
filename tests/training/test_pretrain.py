"""Training of the embedded foundation's components: what each learns from, and what it leaves alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ecdm.data import files
from ecdm.data.scenes import draw_scene
from ecdm.models.classifier import labels
from ecdm.models.tiny import tiny_text_encoder, tiny_unet, train_tokenizer
from ecdm.numerics.canny import canny
from ecdm.numerics.diffusion import Schedule
from ecdm.training.fitting import balanced_loss
from ecdm.training.pretrain import (
    Fit,
    draw_scenes,
    edge_hints,
    encode,
    fit,
    hole_hints,
    to_pixels,
    to_signed,
    train_branch,
    train_classifier,
    train_unet,
    train_vae,
)


class Log:
    """Collects what is reported."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.names: set[str] = set()

    def __call__(self, name: str, step: int, values: dict[str, float]) -> None:
        assert step == len(self.losses)
        self.names.add(name)
        self.losses.append(values["loss"])


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    return to_pixels(draw_scenes(0, 4, 32, 1))


def same(first: Any, second: Any) -> bool:
    a, b = first.state_dict(), second.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_fitting_reaches_the_least_squares_solution() -> None:
    """Targets scatter around 3 x; the average over steps comes closer than any one of them would."""
    weight, log = nn.Parameter(torch.zeros(1)), Log()

    def loss_of(generator: torch.Generator) -> dict[str, Tensor]:
        x, noise = torch.randn(2, 64, generator=generator)
        return {"loss": (weight * x - 3 * x - 0.5 * noise).square().mean()}

    fit("line", [([weight], 1)], loss_of, Fit(300, 64, 0.1), 0, log)
    assert float(weight) == pytest.approx(3, abs=0.05)
    assert len(log.losses) == 300
    assert log.names == {"line"}
    assert np.mean(log.losses[-20:]) == pytest.approx(0.25, rel=0.2)


def test_fitting_draws_from_its_own_generator() -> None:
    def draws(global_seed: int, seed: int) -> list[float]:
        weight, found = nn.Parameter(torch.zeros(1)), []

        def loss_of(generator: torch.Generator) -> dict[str, Tensor]:
            found.append(float(torch.rand((), generator=generator)))
            return {"loss": weight.sum()}

        torch.manual_seed(global_seed)
        fit("x", [([weight], 1)], loss_of, Fit(4, 1, 0.1), seed, Log())
        return found

    assert draws(1, 0) == draws(2, 0) != draws(1, 5)


def test_the_learning_rate_warms_up_and_decays() -> None:
    weight, seen = nn.Parameter(torch.zeros(1)), []

    def loss_of(generator: torch.Generator) -> dict[str, Tensor]:
        seen.append(float(weight))
        return {"loss": weight.sum()}

    fit("x", [([weight], 1)], loss_of, Fit(100, 1, 0.1), 0, Log())
    moves = -np.diff(seen)
    assert moves[0] == 0
    assert moves.argmax() in range(5, 8)
    assert moves.max() == pytest.approx(0.1, rel=0.01)
    assert moves[-1] < 0.002


def test_a_group_has_a_factor_on_the_learning_rate() -> None:
    slow, fast = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    groups = [([slow], 1.0), ([fast], 10.0)]
    fit("x", groups, lambda generator: {"loss": slow.sum() + fast.sum()}, Fit(20, 1, 0.01), 0, Log())
    assert float(slow) < -0.01
    assert float(fast / slow) == pytest.approx(10, rel=0.01)


@pytest.mark.parametrize("most", [math.inf, 1.0])
def test_the_balanced_loss_weighs_by_noise_over_signal_up_to_its_limit(most: float) -> None:
    """With ᾱ = 0.8, 0.5, 0.1 the weights are 1/2, 1, 3."""
    schedule = Schedule(torch.tensor([0.8, 0.5, 0.1], dtype=torch.float64))
    prediction = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64).view(3, 1, 1, 1).expand(3, 2, 4, 4)
    found = balanced_loss(torch.zeros_like(prediction), prediction, torch.arange(3), schedule, most)
    weights = [min(weight, most) for weight in (0.5, 1.0, 3.0)]
    assert float(found) == pytest.approx(sum(w * size**2 for w, size in zip(weights, (1, 2, 3), strict=True)) / 3)


def test_scenes_are_the_training_splits_whatever_the_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "JOBS_PER_WORKER", 1)
    monkeypatch.setattr(files, "CHUNK", 1)
    for items in (None, 1):
        expected = [draw_scene(3, "train", i, 32, items=items) for i in range(4)]
        for workers in (1, 2):
            found = draw_scenes(3, 4, 32, workers, items)
            assert [s.captions for s in found] == [s.captions for s in expected]
            assert all(np.array_equal(a.image, b.image) for a, b in zip(found, expected, strict=True))


def test_pixels_are_signed_exactly(pixels: Tensor) -> None:
    assert pixels.dtype == torch.uint8
    assert pixels.shape == (4, 3, 32, 32)
    assert to_signed(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1, 1]
    assert np.array_equal(pixels[1].permute(1, 2, 0).numpy(), draw_scene(0, "train", 1, 32).image)


def test_the_autoencoder_learns_and_its_latents_have_unit_spread(pixels: Tensor) -> None:
    log = Log()
    vae = train_vae(pixels, Fit(12, 4, 2e-3), 16, 0, log)
    assert min(log.losses[-3:]) < 0.8 * log.losses[0]
    assert float(encode(vae, pixels).std()) == pytest.approx(1, rel=1e-3)
    assert not any(parameter.requires_grad for parameter in vae.parameters())
    torch.testing.assert_close(encode(vae, pixels, batch=1), encode(vae, pixels), rtol=1e-3, atol=1e-4)
    with torch.no_grad():
        mean = vae.encode(pixels.float() / 127.5 - 1).latent_dist.mean
    torch.testing.assert_close(encode(vae, pixels, scale=2.0), 2 * mean, rtol=1e-4, atol=1e-5)


def test_unet_and_text_encoder_learn_together() -> None:
    scenes = draw_scenes(0, 2, 32, 1)
    tokenizer = train_tokenizer([caption for scene in scenes for caption in scene.captions])
    options: dict[str, Any] = {"padding": "max_length", "max_length": 40, "return_tensors": "pt"}
    tokens = torch.stack([tokenizer(list(scene.captions), **options).input_ids for scene in scenes])
    empty = tokenizer([""], **options).input_ids[0]
    found = []
    for global_seed in (1, 2):
        torch.manual_seed(7)
        encoder = tiny_text_encoder(tokenizer)
        before = {name: value.clone() for name, value in encoder.state_dict().items()}
        torch.manual_seed(global_seed)
        log = Log()
        unet = train_unet(normal(0, 2, 8, 4, 4), tokens, empty, encoder, Fit(2, 2, 1e-3), 0, log)
        moved = [not torch.equal(value, before[name]) for name, value in encoder.state_dict().items()]
        assert sum(moved) > len(moved) / 2
        assert not any(parameter.requires_grad for parameter in unet.parameters())
        found.append((unet, encoder, log.losses))
    assert same(found[0][0], found[1][0])
    assert same(found[0][1], found[1][1])
    assert found[0][2] == found[1][2]


def test_a_branch_learns_from_its_hints_and_leaves_the_unet_alone(pixels: Tensor) -> None:
    torch.manual_seed(0)
    unet = tiny_unet().requires_grad_(False).eval()
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    asked: list[Tensor] = []
    hints = hole_hints(pixels, 0, masks=8)

    def hint_of(rows: Tensor, generator: torch.Generator) -> Tensor:
        asked.append(rows)
        return hints(rows, generator)

    text, log = normal(1, 4, 2, 40, 96), Log()
    fit_settings = Fit(3, 2, 1e-3)
    branch = train_branch(
        "inpaint", hint_of, unet, normal(0, 4, 8, 4, 4), text, normal(2, 40, 96), fit_settings, 0, log
    )
    assert all(torch.equal(value, before[name]) for name, value in unet.state_dict().items())
    assert [len(rows) for rows in asked] == [2, 2, 2]
    assert bool(branch.controlnet_mid_block.weight.any())
    assert bool(branch.controlnet_cond_embedding.conv_out.weight.any())
    assert not any(parameter.requires_grad for parameter in branch.parameters())


def test_edge_hints_are_the_edges_on_three_channels(pixels: Tensor) -> None:
    hint = edge_hints(pixels, 100, 200)(torch.tensor([2, 0]), torch.Generator())
    for row, number in enumerate((2, 0)):
        expected = canny(pixels[number].permute(1, 2, 0).contiguous().numpy(), 100, 200) > 0
        assert expected.any()
        for channel in hint[row]:
            assert np.array_equal(channel.numpy(), expected.astype(np.float32))


def test_hole_hints_are_the_image_with_a_hole_of_minus_one(pixels: Tensor) -> None:
    make, rows = hole_hints(pixels, 0, masks=8), torch.tensor([2, 0, 1, 3])
    hint = make(rows, torch.Generator().manual_seed(0))
    hole = (hint == -1).all(1, keepdim=True)
    shares = hole.float().mean((1, 2, 3))
    assert 0.1 <= float(shares.min()) <= float(shares.max()) <= 0.6
    known = ~hole.expand_as(hint)
    assert torch.equal((hint[known] * 255).round(), pixels[rows].float()[known])
    assert torch.equal(make(rows, torch.Generator().manual_seed(0)), hint)
    assert not torch.equal(make(rows, torch.Generator().manual_seed(1)), hint)


def test_the_classifier_learns_its_scenes() -> None:
    scenes, log = draw_scenes(0, 6, 32, 1, items=1), Log()
    model = train_classifier(scenes, Fit(40, 6, 5e-3), 0, log)
    assert log.losses[-1] < 0.5 * log.losses[0]
    truth = labels([scene.items[0] for scene in scenes])
    with torch.no_grad():
        logits = model(to_signed(to_pixels(scenes)))
    right = torch.cat([logits[name].argmax(1) == truth[name] for name in truth])
    assert float(right.float().mean()) > 0.6
