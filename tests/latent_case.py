"""A batch for the methods that sample latents, and what they owe: no leak, no batch mates."""

from __future__ import annotations

import torch
from torch import Tensor

from ecdm.data.dataset import Batch
from ecdm.methods.base import generator_for
from ecdm.methods.registry import Rival

IDS = [10, 11]


def draw_batch(masks: Tensor) -> Batch:
    """Two images of 32 px under masks (2, 1, 32, 32)."""
    images = torch.rand((2, 3, 32, 32), generator=torch.Generator().manual_seed(2))
    return Batch(images, masks, ["a red circle", "a blue square on the left"], list(IDS))


def streams(seed: int = 0) -> list[torch.Generator]:
    """One generator per image."""
    return [generator_for(seed, number) for number in IDS]


def one(batch: Batch, row: int) -> Batch:
    """An image of a batch."""
    rows = slice(row, row + 1)
    return Batch(batch.images[rows], batch.masks[rows], batch.captions[rows], batch.ids[rows])


def check_leaks(method: Rival, batch: Batch, known: tuple[int, int]) -> None:
    """Nothing of the hole is read; the known pixel in that row and column, the captions and the seed are."""
    expected = method.inpaint(batch, streams())
    for value in (0.0, 1.0, float("nan")):
        spoiled = torch.where(batch.masks > 0, value, batch.images)
        found = method.inpaint(Batch(spoiled, batch.masks, batch.captions, batch.ids), streams())
        assert torch.equal(found, expected)
    images, (row, column) = batch.images.clone(), known
    assert not bool(batch.masks[:, :, row, column].any())
    images[:, :, row, column] = 1 - images[:, :, row, column]
    others = [
        Batch(images, batch.masks, batch.captions, batch.ids),
        Batch(batch.images, batch.masks, ["a green star"] * 2, batch.ids),
    ]
    for found in (*(method.inpaint(other, streams()) for other in others), method.inpaint(batch, streams(seed=1))):
        assert all(not torch.equal(*pair) for pair in zip(found, expected, strict=True))


def check_batches(method: Rival, batch: Batch) -> None:
    """But for rounding, since matrix products of another size may round otherwise."""
    together = method.inpaint(batch, streams())
    assert together.shape == batch.images.shape
    for row, generator in enumerate(streams()):
        torch.testing.assert_close(
            method.inpaint(one(batch, row), [generator]), together[row : row + 1], rtol=1e-4, atol=1e-4
        )
