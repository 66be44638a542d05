"""Uni-paint: what it tunes on, how it samples, and that it leaves the UNet as it was."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from latent_case import check_leaks, draw_batch, one, streams
from torch import Tensor
from torch.nn import functional as F

from ecdm.data.dataset import Batch
from ecdm.methods.base import generator_for
from ecdm.methods.registry import Ingredients, make_method
from ecdm.methods.unipaint import Unipaint, known_loss, trainable_for_now, tune
from ecdm.models.attention_masks import masked_attention
from ecdm.models.foundation import Components
from ecdm.numerics.masks import mean_filled
from ecdm.sections.compare import Unipaint as Settings

LEVELS = [999, 749, 499, 249, -1]
SETTINGS = Settings(images=2, batch=2, iterations=3, lr=1e-3, steps=4, guidance=2.0)


def masked_batch() -> Batch:
    """Holes small enough that cells stay known; the second one lies between the nearest pixels of its cells."""
    masks = torch.zeros(2, 1, 32, 32)
    masks[0, :, 5:14, :7], masks[1, :, 25:28, 19:30] = 1, 1
    return draw_batch(masks)


def grown() -> Tensor:
    """Their cells, counted by hand: nearest pixels and those around them, and the cells of the thin hole alone."""
    hole = torch.zeros(2, 1, 4, 4)
    hole[0, :, :3, :2], hole[1, :, 3, 2:] = 1, 1
    return hole


def made(parts: Any, settings: Settings = SETTINGS) -> Unipaint:
    method = make_method("unipaint", Ingredients(parts, Path("none"), settings, "no"))
    assert isinstance(method, Unipaint)
    return method


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The latents that are decoded from here on."""
    seen: list[Tensor] = []
    decode = Components.decode

    def keep(components: Components, z0: Tensor) -> Tensor:
        seen.append(z0)
        return decode(components, z0)

    monkeypatch.setattr(Components, "decode", keep)
    return seen


def visible_latents(parts: Any, batch: Batch) -> Tensor:
    filled = mean_filled(batch.images, batch.masks)
    return torch.cat([1.5 * parts.vae.encode(image[None] * 2 - 1).latent_dist.mean for image in filled])


class State:
    """All of a network that a method could leave changed."""

    def __init__(self, network: Any) -> None:
        self.weights = {name: value.clone() for name, value in network.state_dict().items()}
        self.processors = network.attn_processors
        self.flags = [parameter.requires_grad for parameter in network.parameters()]
        self.modes = [module.training for module in network.modules()]

    def assert_is(self, network: Any) -> None:
        after = State(network)
        assert after.weights.keys() == self.weights.keys()
        for name, value in self.weights.items():
            assert torch.equal(after.weights[name], value), name
        assert all(after.processors[name] is processor for name, processor in self.processors.items())
        assert (after.flags, after.modes) == (self.flags, self.modes)
        assert all(parameter.grad is None for parameter in network.parameters())


def test_the_unet_is_afterwards_what_it_was(parts: Any) -> None:
    before = State(parts.unet)
    assert not any(before.flags)
    made(parts).inpaint(masked_batch(), streams())
    before.assert_is(parts.unet)


@pytest.mark.parametrize("place", ["tuning", "sampling"])
def test_also_after_an_error(parts: Any, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before, seen = State(parts.unet), []

    def fail(*args: Any, **kwargs: Any) -> Any:
        now = State(parts.unet)
        seen.append(any(not torch.equal(now.weights[name], value) for name, value in before.weights.items()))
        raise RuntimeError("on purpose")

    if place == "tuning":
        step = torch.optim.Adam.step

        def step_and_fail(optimiser: torch.optim.Adam, *args: Any) -> Any:
            step(optimiser)
            fail()

        monkeypatch.setattr(torch.optim.Adam, "step", step_and_fail)
    else:
        monkeypatch.setattr(Components, "decode", fail)
    with pytest.raises(RuntimeError, match="on purpose"):
        made(parts).inpaint(masked_batch(), streams())
    assert seen == [True]
    before.assert_is(parts.unet)


def test_the_context_restores_bits_that_are_no_numbers(parts: Any) -> None:
    before = State(parts.unet)
    with trainable_for_now(parts.unet):
        assert all(parameter.requires_grad for parameter in parts.unet.parameters())
        for parameter in parts.unet.parameters():
            parameter.data.fill_(float("nan"))
            parameter.grad = torch.ones_like(parameter)
    before.assert_is(parts.unet)


def test_the_loss_is_that_of_the_known_cells(parts: Any) -> None:
    batch, t = one(masked_batch(), 0), torch.tensor([412])
    z0, eps = visible_latents(parts, batch), torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(5))
    known, text = 1 - grown()[:1], parts.embed([""])
    a = float(parts.scheduler.alphas_cumprod[412])
    prediction = parts.unet(a**0.5 * z0 + (1 - a) ** 0.5 * eps, t, text).sample
    error = (prediction - eps).detach().square()
    expected = sum(float(error[0, :, row, column].sum()) for row, column in known[0, 0].nonzero())
    found = known_loss(parts, text, z0, known, t, eps)
    assert float(found) == pytest.approx(expected / 64, rel=1e-4)


def test_tuning_lowers_the_loss_on_what_is_known(parts: Any) -> None:
    batch = one(masked_batch(), 0)
    z0, known, text = visible_latents(parts, batch), 1 - grown()[:1], parts.embed([""])
    probes = [(torch.tensor([t]), torch.randn(z0.shape, generator=torch.Generator().manual_seed(t))) for t in (99, 599)]

    @torch.no_grad()
    def losses() -> list[float]:
        return [float(known_loss(parts, text, z0, known, t, eps)) for t, eps in probes]

    before = losses()
    with trainable_for_now(parts.unet):
        tune(parts, z0, known, SETTINGS.model_copy(update={"iterations": 30}), generator_for(0))
        after = losses()
    assert all(late < 0.9 * early for early, late in zip(before, after, strict=True))
    assert losses() == before


def test_tuning_is_adam_on_all_weights(parts: Any) -> None:
    """Against Adam's formulas (Kingma & Ba 2015) on gradients by diffusers' forward."""
    batch, rate = one(masked_batch(), 0), SETTINGS.lr
    z0, known, text = visible_latents(parts, batch), 1 - grown()[:1], parts.embed([""])
    with trainable_for_now(parts.unet):
        tune(parts, z0, known, SETTINGS.model_copy(update={"iterations": 2}), generator_for(0))
        found = {name: value.detach().clone() for name, value in parts.unet.named_parameters()}
    generator = generator_for(0)
    moments: dict[str, Any] = {name: (0.0, 0.0) for name in found}
    with trainable_for_now(parts.unet):
        for n in (1, 2):
            t = torch.randint(1000, (1,), generator=generator)
            eps = torch.randn(1, 4, 4, 4, generator=generator)
            a = float(parts.scheduler.alphas_cumprod[int(t)])
            prediction = parts.unet(a**0.5 * z0 + (1 - a) ** 0.5 * eps, t, text).sample
            parameters = dict(parts.unet.named_parameters())
            gradients = torch.autograd.grad(((prediction - eps) * known).square().mean(), list(parameters.values()))
            for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True):
                first, second = moments[name]
                moments[name] = m, v = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
                parameter.data -= rate * (m / (1 - 0.9**n)) / ((v / (1 - 0.999**n)).sqrt() + 1e-8)
        expected = {name: value.detach().clone() for name, value in parts.unet.named_parameters()}
    moved = 0
    for name, value in found.items():
        # Where a gradient is nearly 0, its sign and with it the step hang on rounding.
        near = (value - expected[name]).abs() < 0.02 * rate
        assert float(near.double().mean()) > 0.97, name
        moved += int(not torch.equal(value, parts.unet.state_dict()[name]))
    assert moved == len(found)


def test_known_cells_are_at_the_end_the_known_latents(parts: Any, decoded: list[Tensor]) -> None:
    batch = masked_batch()
    made(parts).inpaint(batch, streams())
    known = (grown() == 0).expand(2, 4, 4, 4)
    z, z0 = torch.cat(decoded), visible_latents(parts, batch)
    torch.testing.assert_close(z[known], z0[known], rtol=1e-5, atol=1e-5)
    for row in (0, 1):
        assert float((z - z0)[row][~known[row]].abs().min()) > 1e-3


def test_it_is_a_plain_loop_over_the_tuned_unet(parts: Any, decoded: list[Tensor]) -> None:
    """DDIM without noise by Song's formula, known latents put in before every step."""
    batch, method = one(masked_batch(), 0), made(parts)
    method.inpaint(batch, streams()[:1])
    generator, hole, z0 = streams()[0], grown()[:1], visible_latents(parts, batch)
    signal = {t: float(parts.scheduler.alphas_cumprod[t]) for t in LEVELS[:-1]} | {-1: 1.0}

    def noise() -> Tensor:
        return torch.randn(1, 4, 4, 4, generator=generator)

    with torch.no_grad(), trainable_for_now(parts.unet):
        tune(parts, z0, 1 - hole, SETTINGS, generator)
        z = noise()
        for t, after in pairwise(LEVELS):
            a, b = signal[t], signal[after]
            z = hole * z + (1 - hole) * (a**0.5 * z0 + (1 - a) ** 0.5 * noise())
            with masked_attention(parts.unet, batch.masks, 8):
                without, with_text = (
                    parts.unet(z, torch.tensor([t]), parts.embed([caption])).sample for caption in ("", "a red circle")
                )
            eps = without + 2.0 * (with_text - without)
            z = b**0.5 * (z - (1 - a) ** 0.5 * eps) / a**0.5 + (1 - b) ** 0.5 * eps
    inside = hole.expand_as(z) > 0
    torch.testing.assert_close(decoded[0][inside], z[inside], rtol=1e-4, atol=1e-4)


def test_attention_is_masked_while_sampling_and_only_then(parts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fused attention of diffusers is at work in the tuning and in the decoder."""
    passes: list[set[str]] = []

    def noted(function: Callable[..., Tensor], kind: str) -> Callable[..., Tensor]:
        def call(*args: Any, **options: Any) -> Tensor:
            if passes:
                passes[-1].add(kind)
            return function(*args, **options)

        return call

    monkeypatch.setattr(F, "scaled_dot_product_attention", noted(F.scaled_dot_product_attention, "plain"))
    monkeypatch.setattr(torch, "baddbmm", noted(torch.baddbmm, "masked"))
    layers = (parts.unet.conv_in, parts.vae.decoder.conv_in)
    handles = [layer.register_forward_pre_hook(lambda *_: passes.append(set())) for layer in layers]
    made(parts).inpaint(one(masked_batch(), 0), streams()[:1])
    for handle in handles:
        handle.remove()
    assert passes == [{"plain"}] * SETTINGS.iterations + [{"masked"}] * SETTINGS.steps + [{"plain"}]


def test_an_image_alone_and_one_among_others_come_out_alike(parts: Any) -> None:
    batch, method = masked_batch(), made(parts)
    together = method.inpaint(batch, streams())
    assert together.shape == (2, 3, 32, 32)
    for row in (0, 1):
        assert torch.equal(method.inpaint(one(batch, row), [streams()[row]]), together[row : row + 1])


def test_every_image_has_a_generator(parts: Any) -> None:
    with pytest.raises(ValueError, match="zip"):
        made(parts).inpaint(masked_batch(), streams()[:1])


def test_it_leaks_nothing(parts: Any) -> None:
    check_leaks(made(parts), masked_batch(), known=(20, 30))


def test_what_a_table_says_of_it(parts: Any) -> None:
    method = made(parts)
    assert (method.name, method.native_size, dict(method.networks)) == ("unipaint", None, {"unet": parts.unet})


def test_no_library_complains(parts: Any, library_messages: Callable[[], list[str]]) -> None:
    made(parts).inpaint(masked_batch(), streams())
    assert library_messages() == []
