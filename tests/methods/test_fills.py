"""The fills without learning, and the two bounds that do read the hole."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch

from ecdm.data.dataset import Batch
from ecdm.methods.fills import FILLS, Reconstruction

BY_NAME = {fill.name: fill for fill in FILLS}


def draw_batch() -> Batch:
    images = torch.randint(256, (2, 3, 32, 32), generator=torch.Generator().manual_seed(0)).float() / 255
    masks = torch.zeros(2, 1, 32, 32)
    masks[0, :, 4:20, 4:28], masks[1, :, 16:] = 1, 1
    return Batch(images, masks, ["a", "b"], [1, 2])


def test_the_reference_rows_are_these() -> None:
    assert list(BY_NAME) == ["mean_fill", "telea", "navier_stokes"]


@pytest.mark.parametrize("name", BY_NAME)
def test_known_pixels_are_kept(name: str) -> None:
    batch = draw_batch()
    found = BY_NAME[name].inpaint(batch, [])
    known = batch.masks.expand_as(batch.images) == 0
    assert torch.equal((found * 255).round()[known], (batch.images * 255).round()[known])
    assert float(found[~known].mean()) > 0.2


def test_mean_fill_is_the_mean_of_the_known_pixels() -> None:
    batch = draw_batch()
    found = BY_NAME["mean_fill"].inpaint(batch, [])
    for image, output, mask in zip(batch.images, found, batch.masks[:, 0], strict=True):
        for before, after in zip(image, output, strict=True):
            mean = float(before[mask == 0].double().mean()) * 255
            assert (after[mask > 0] * 255).round().unique().tolist() == [round(mean)]


def test_mean_fill_without_known_pixels_is_gray() -> None:
    batch = draw_batch()
    whole = Batch(batch.images, torch.ones_like(batch.masks), batch.captions, batch.ids)
    assert (BY_NAME["mean_fill"].inpaint(whole, []) * 255).round().unique().tolist() == [128]


@pytest.mark.parametrize(("name", "flag"), [("telea", cv2.INPAINT_TELEA), ("navier_stokes", cv2.INPAINT_NS)])
def test_opencvs_fills_are_opencvs(name: str, flag: int) -> None:
    batch = draw_batch()
    found = (BY_NAME[name].inpaint(batch, []) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    for image, output, mask in zip(batch.images, found, batch.masks[:, 0], strict=True):
        hole = mask.byte().numpy()
        known = (image * 255).round().byte().permute(1, 2, 0).numpy() * (1 - hole[..., None])
        assert np.array_equal(output, cv2.inpaint(known, hole, 3, flag))


def spoiled(batch: Batch) -> Batch:
    images = torch.where(batch.masks > 0, 1 - batch.images, batch.images)
    return Batch(images, batch.masks, batch.captions, batch.ids)


@pytest.mark.parametrize("name", BY_NAME)
def test_no_fill_reads_the_hole(name: str) -> None:
    batch = draw_batch()
    assert torch.equal(BY_NAME[name].inpaint(spoiled(batch), []), BY_NAME[name].inpaint(batch, []))


def test_the_autoencoders_ceiling_is_its_reconstruction_of_the_truth(parts: Any) -> None:
    batch = draw_batch()
    found = Reconstruction(parts).inpaint(batch, [])
    mean = parts.vae.encode(batch.images * 2 - 1).latent_dist.mean
    torch.testing.assert_close(found, (parts.vae.decode(mean).sample / 2 + 0.5).clamp(0, 1), rtol=1e-5, atol=1e-5)
    assert not torch.equal(Reconstruction(parts).inpaint(spoiled(batch), []), found)
