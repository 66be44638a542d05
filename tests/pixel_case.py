"""A batch for the methods that sample pixels, and what all of them owe: no leak, no batch mates, no hidden failure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel
from torch import Tensor

from ecdm.data.dataset import Batch
from ecdm.methods.base import generator_for
from ecdm.methods.registry import Ingredients, Rival, make_method

IDS = [10, 11, 12]


def draw_batch() -> Batch:
    """Three images of 32 px; holes cross the cells of smaller sizes."""
    masks = torch.zeros(3, 1, 32, 32)
    masks[0, :, 5:24, 8:30], masks[1, :, 16:, 3:20], masks[2, :, :13, 9:] = 1, 1, 1
    images = torch.rand((3, 3, 32, 32), generator=torch.Generator().manual_seed(2))
    return Batch(images, masks, ["a red circle", "a blue square on the left", "a gray ring"], list(IDS))


def part(batch: Batch, rows: list[int]) -> Batch:
    """Some images of a batch."""
    captions, ids = ([values[i] for i in rows] for values in (batch.captions, batch.ids))
    return Batch(batch.images[rows], batch.masks[rows], captions, ids)  # type: ignore[arg-type]


def streams(ids: Sequence[int] = IDS, seed: int = 0) -> list[torch.Generator]:
    """One generator per image."""
    return [generator_for(seed, "pixels", number) for number in ids]


def draw(generator: torch.Generator, size: int) -> Tensor:
    """One image's next noise."""
    return torch.randn((1, 3, size, size), generator=generator)


def made(name: str, parts: Any, networks: Path, own: Any) -> Rival:
    """A method with its networks read from a folder."""
    return make_method(name, Ingredients(parts, networks, own, "no"))


def random_unet(channels: int, seed: int = 5) -> UNet2DModel:
    """An unconditional network on (b, 3, 8, 8) with random weights everywhere."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = UNet2DModel(
            sample_size=8,
            in_channels=3,
            out_channels=channels,
            down_block_types=("DownBlock2D",),
            up_block_types=("UpBlock2D",),
            block_out_channels=(8,),
            layers_per_block=1,
            norm_num_groups=4,
            add_attention=False,
        )
        for parameter in unet.parameters():
            parameter.data += 0.05 * torch.randn(parameter.shape)
    return unet.eval().requires_grad_(False)


def check_leaks(method: Rival) -> None:
    """Nothing of the hole is read; known pixels and the seed are."""
    batch = draw_batch()
    expected = method.inpaint(batch, streams())
    assert torch.equal(method.inpaint(batch, streams()), expected)
    for value in (0.0, 1.0, float("nan")):
        spoiled = torch.where(batch.masks > 0, value, batch.images)
        other = Batch(spoiled, batch.masks, batch.captions, batch.ids)
        assert torch.equal(method.inpaint(other, streams()), expected)
    images = batch.images.clone()
    images[:, :, 31, 31] = 1 - images[:, :, 31, 31]
    found = method.inpaint(Batch(images, batch.masks, batch.captions, batch.ids), streams())
    assert all(not torch.equal(*pair) for pair in zip(found, expected, strict=True))
    found = method.inpaint(batch, streams(seed=1))
    assert all(float((a - b).abs().mean()) > 0.01 for a, b in zip(found, expected, strict=True))


def check_batches(method: Rival) -> None:
    """Within one step of uint8, since matrix products of another size may round otherwise."""
    batch = draw_batch()
    together = method.inpaint(batch, streams())
    assert together.shape == batch.images.shape
    assert 0 <= float(together.min()) < float(together.max()) <= 1
    for rows in ([0], [2, 1]):
        some = part(batch, rows)
        alone = method.inpaint(some, streams(some.ids))
        steps = ((alone * 255).round() - (together[rows] * 255).round()).abs()
        assert float(steps.max()) <= 1


def check_failures(method: Rival, network: torch.nn.Module, value: float) -> None:
    """What a network gives for one image reaches that image's output, and no other's, where it is not finite."""
    batch = draw_batch()

    def spoil(module: Any, inputs: Any, output: Any) -> Any:
        # The last of three images is the last of the rows, whatever they are: guidance halves, what still descends.
        rows = [i for i in range(len(output.sample)) if i % 3 == 2] if len(output.sample) % 3 == 0 else []
        mark = torch.zeros(len(output.sample), 1, 1, 1)
        mark[rows] = 1
        output.sample = torch.where(mark > 0, value, output.sample)
        return output

    handle = network.register_forward_hook(spoil)
    try:
        finite = method.inpaint(batch, streams()).isfinite().flatten(1).all(1)
    finally:
        handle.remove()
    assert finite.tolist() == [True, True, False]


def timesteps_of(network: torch.nn.Module, work: Callable[[], object]) -> list[int]:
    """The timesteps at which a network is evaluated while something is done."""
    seen: list[int] = []
    handle = network.register_forward_pre_hook(lambda module, inputs: seen.append(int(inputs[1][0])))
    try:
        work()
    finally:
        handle.remove()
    return seen
