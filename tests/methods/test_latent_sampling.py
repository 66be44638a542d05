"""Eq. 7 and 8 through whole methods: what is kept, what is read, and what an image's output depends on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ecdm.config import Acda as AcdaParams
from ecdm.config import Generate
from ecdm.data.dataset import Batch
from ecdm.methods.base import ControlledMethod, LatentSampler, generator_for
from ecdm.methods.ours import teacher, unet_alone, variant
from ecdm.models.branch import start_branch
from ecdm.models.denoiser import branch_control
from ecdm.models.foundation import Components
from ecdm.numerics.masks import mean_filled

DDIM = Generate(sampler="ddim", steps=4, guidance=2.0, eta=0.0, precision="no", batch=4)
SOLVER = DDIM.model_copy(update={"sampler": "dpmsolver++"})
STOCHASTIC = DDIM.model_copy(update={"eta": 1.0})
ACDA = AcdaParams(radius=2.0, window="circle", domain="image", amplitude="log", lr=1e-3)


def draw_batch(count: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(2)
    masks = torch.zeros(count, 1, 32, 32)
    for i in range(count):
        masks[i, :, 3 + 2 * i : 22, 5 : 14 + 3 * i] = 1
    images = torch.rand((count, 3, 32, 32), generator=generator)
    edges = (torch.rand((count, 1, 32, 32), generator=generator) > 0.8).float()
    captions, ids = [f"a red circle number {i}" for i in range(count)], [10 + i for i in range(count)]
    return Batch(images, masks, captions, ids, edges)


def part(batch: Batch, rows: list[int]) -> Batch:
    assert batch.edges is not None
    return Batch(
        batch.images[rows],
        batch.masks[rows],
        [batch.captions[i] for i in rows],
        [batch.ids[i] for i in rows],
        batch.edges[rows],
    )


def with_images(batch: Batch, images: Tensor) -> Batch:
    return Batch(images, batch.masks, batch.captions, batch.ids, batch.edges)


def generators(batch: Batch, seed: int = 0) -> list[torch.Generator]:
    return [generator_for(seed, "test", number) for number in batch.ids]


def methods(parts: Any, settings: Generate) -> dict[str, Any]:
    branch = start_branch(parts, ACDA, 0)
    generator = torch.Generator().manual_seed(4)
    for parameter in branch.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return {
        "ours": variant("ours", parts, branch.requires_grad_(False), settings),
        "untuned": variant("untuned", parts, start_branch(parts, None, 0), settings),
        "unet": unet_alone(parts, settings),
        "teacher": teacher(parts, settings),
    }


NAMES = ["ours", "untuned", "unet", "teacher"]


class Watch:
    """The state before every step, its time step, and the latents that are decoded."""

    def __init__(self, parts: Any, settings: Generate, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
        self.states: list[tuple[int, Tensor]] = []
        self.decoded: list[Tensor] = []
        decode, branch = Components.decode, start_branch(parts, None, 0)
        inner = branch_control(parts, branch, batch.images, batch.masks)

        def keep(components: Components, z0: Tensor) -> Tensor:
            self.decoded.append(z0)
            return decode(components, z0)

        def control(z: Tensor, t: Tensor, text: Tensor) -> Any:
            self.states.append((int(t[0]), z[: len(batch.ids)]))
            return inner(z, t, text)

        monkeypatch.setattr(Components, "decode", keep)
        method = ControlledMethod("watched", LatentSampler(parts, settings), lambda batch: control)
        self.output = method.inpaint(batch, generators(batch))


def hole_cells(masks: Tensor, alpha_bar: float = 1.0) -> Tensor:
    """A latent cell is hole when more than half the noise level's share of its 8 x 8 pixels is; any, without noise."""
    share = masks.unflatten(2, (4, 8)).unflatten(4, (4, 8)).mean((3, 5))
    return (share > (1 - alpha_bar) ** 0.5 / 2).expand(3, 4, 4, 4)


@pytest.mark.parametrize("settings", [DDIM, SOLVER], ids=lambda settings: settings.sampler)
def test_known_latents_stay_at_the_noise_level_of_every_step(
    parts: Any, settings: Generate, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = draw_batch()
    watch = Watch(parts, settings, batch, monkeypatch)
    visible = torch.stack(
        [
            torch.where(hole > 0, image[:, hole[0] == 0].mean(1)[:, None, None], image)
            for image, hole in zip(batch.images, batch.masks, strict=True)
        ]
    )
    # The mean's last bit hangs on the processor, and the encoder makes more of it: the same pixels from here on.
    filled = mean_filled(batch.images, batch.masks)
    torch.testing.assert_close(filled, visible, rtol=1e-6, atol=1e-6)
    z0 = parts.vae.encode(filled * 2 - 1).latent_dist.mean * 1.5
    streams = generators(batch)
    noise = [torch.stack([torch.randn(4, 4, 4, generator=g) for g in streams]) for _ in range(4)]
    assert [t for t, _ in watch.states] == [999, 749, 499, 249]
    last = float(parts.scheduler.alphas_cumprod[999])
    torch.testing.assert_close(watch.states[0][1], last**0.5 * z0 + (1 - last) ** 0.5 * noise[0], rtol=1e-5, atol=1e-5)
    for (t, z), eps in zip(watch.states[1:], noise[1:], strict=True):
        alpha_bar = float(parts.scheduler.alphas_cumprod[t])
        expected = alpha_bar**0.5 * z0 + (1 - alpha_bar) ** 0.5 * eps
        hole = hole_cells(batch.masks, alpha_bar)
        torch.testing.assert_close(z[~hole], expected[~hole], rtol=1e-5, atol=1e-5)
        assert float((z - expected)[hole].abs().mean()) > 0.1
    hole = hole_cells(batch.masks)
    torch.testing.assert_close(watch.decoded[0][~hole], z0[~hole], rtol=1e-6, atol=1e-6)
    assert float((watch.decoded[0] - z0)[hole].abs().mean()) > 0.1


def test_without_a_hole_the_output_is_the_autoencoders(parts: Any) -> None:
    batch = draw_batch()
    whole = Batch(batch.images, torch.zeros_like(batch.masks), batch.captions, batch.ids)
    found = methods(parts, DDIM)["ours"].inpaint(whole, generators(whole))
    expected = parts.decode(parts.vae.encode(batch.images * 2 - 1).latent_dist.mean * 1.5)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_pictures_and_differ_between_images(parts: Any, name: str) -> None:
    batch = draw_batch()
    found = methods(parts, DDIM)[name].inpaint(batch, generators(batch))
    assert found.shape == batch.images.shape
    assert 0 <= float(found.min()) < float(found.max()) <= 1
    assert float(((found > 0) & (found < 1)).float().mean()) > 0.5
    assert float((found[0] - found[1]).abs().mean()) > 0.01


@pytest.mark.parametrize("settings", [DDIM, STOCHASTIC, SOLVER], ids=["ddim", "eta 1", "dpmsolver++"])
def test_an_output_depends_neither_on_batch_mates_nor_on_their_order(parts: Any, settings: Generate) -> None:
    """Within one step of uint8, since matrix products of another size may round otherwise."""
    batch = draw_batch()
    for method in methods(parts, settings).values():
        together = method.inpaint(batch, generators(batch))
        for rows in ([0], [2, 1]):
            some = part(batch, rows)
            alone = method.inpaint(some, generators(some))
            steps = ((alone * 255).round() - (together[rows] * 255).round()).abs()
            assert float(steps.max()) <= 1


def test_the_same_generators_give_the_same_bits(parts: Any) -> None:
    batch = draw_batch()
    for method in methods(parts, STOCHASTIC).values():
        torch.manual_seed(1)
        first = method.inpaint(batch, generators(batch))
        torch.manual_seed(2)
        assert torch.equal(method.inpaint(batch, generators(batch)), first)
        other = method.inpaint(batch, generators(batch, seed=1))
        assert float((other - first).abs().mean()) > 0.01


@pytest.mark.parametrize("name", NAMES)
def test_no_method_reads_the_hole(parts: Any, name: str) -> None:
    """The teacher sees the hole's edges, which stay as they are here, and nothing else of it."""
    batch, method = draw_batch(), methods(parts, DDIM)[name]
    expected = method.inpaint(batch, generators(batch))
    for value in (0.0, 1.0, float("nan")):
        spoiled = with_images(batch, torch.where(batch.masks > 0, value, batch.images))
        assert not torch.equal(spoiled.images, batch.images)
        assert torch.equal(method.inpaint(spoiled, generators(spoiled)), expected)


@pytest.mark.parametrize("name", NAMES)
def test_every_method_reads_the_known_pixels_and_the_caption(parts: Any, name: str) -> None:
    batch, method = draw_batch(), methods(parts, DDIM)[name]
    expected = method.inpaint(batch, generators(batch))
    shifted = with_images(batch, torch.where(batch.masks > 0, batch.images, 1 - batch.images))
    assert not torch.equal(method.inpaint(shifted, generators(batch)), expected)
    other = Batch(batch.images, batch.masks, ["a blue square"] * 3, batch.ids, batch.edges)
    assert not torch.equal(method.inpaint(other, generators(batch)), expected)


def test_the_teacher_reads_the_edges_and_needs_them(parts: Any) -> None:
    batch, method = draw_batch(), methods(parts, DDIM)["teacher"]
    assert batch.edges is not None
    expected = method.inpaint(batch, generators(batch))
    turned = Batch(batch.images, batch.masks, batch.captions, batch.ids, 1 - batch.edges)
    assert not torch.equal(method.inpaint(turned, generators(batch)), expected)
    without = Batch(batch.images, batch.masks, batch.captions, batch.ids)
    with pytest.raises(ValueError, match="teacher: found a batch without edges"):
        method.inpaint(without, generators(without))


def test_a_generator_is_keyed_by_all_it_is_told() -> None:
    def first(*key: Any) -> float:
        return float(torch.randn((), generator=generator_for(*key)))

    keys = [(0,), (1,), (0, "a"), (0, "a", 1), (0, "a", 2), (0, "b", 1), (1, "a", 1), (0, "a", "1"), (0, "a1")]
    values = [first(*key) for key in keys]
    assert len(set(values)) == len(keys)
    assert [first(*key) for key in reversed(keys)] == values[::-1]
