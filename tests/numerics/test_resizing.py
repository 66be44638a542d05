"""Resizing against Pillow, and what of an image counts as known at another size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ecdm.numerics.resizing import resized, resized_known


def draw(size: int = 32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    masks = torch.zeros(2, 1, size, size)
    masks[0, :, 5:14, 7:20], masks[1, :, :11, 3:] = 1, 1
    return torch.rand((2, 3, size, size), generator=generator), masks


@pytest.mark.parametrize(("height", "width"), [(8, 8), (12, 20), (32, 32), (48, 80)])
def test_resizing_is_that_of_pillow(height: int, width: int) -> None:
    images, _ = draw()
    found = resized(images, height, width)
    for image, output in zip(images.flatten(0, 1), found.flatten(0, 1), strict=True):
        expected = Image.fromarray(image.numpy()).resize((width, height), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(output.numpy(), np.asarray(expected), atol=1e-5)


@pytest.mark.parametrize("size", [8, 12, 32])
def test_a_known_pixel_is_the_mean_of_its_area_and_all_of_that_is_known(size: int) -> None:
    images, masks = draw()
    found, mask = resized_known(images, masks, size)
    assert found.shape == (2, 3, size, size)
    for number, row, column in np.ndindex(2, size, size):
        # Every pixel that the area touches: whole ones where the sizes divide each other.
        rows = slice(row * 32 // size, -(-(row + 1) * 32 // size))
        columns = slice(column * 32 // size, -(-(column + 1) * 32 // size))
        hidden = bool(masks[number, 0, rows, columns].any())
        assert bool(mask[number, 0, row, column]) == hidden
        if not hidden:
            expected = images[number, :, rows, columns].mean((1, 2))
            torch.testing.assert_close(found[number, :, row, column], expected)


def test_at_its_own_size_the_known_part_keeps_its_bits() -> None:
    images, masks = draw()
    found, mask = resized_known(images, masks, 32)
    assert torch.equal(mask, masks)
    known = (masks == 0).expand_as(images)
    assert torch.equal(found[known], images[known])


@pytest.mark.parametrize("size", [8, 12, 32, 48, 64])
@pytest.mark.parametrize("value", [0.0, 1.0, float("nan"), float("inf")])
def test_nothing_of_the_hole_is_left(size: int, value: float) -> None:
    images, masks = draw()
    spoiled = torch.where(masks > 0, value, images)
    for found, expected in zip(resized_known(spoiled, masks, size), resized_known(images, masks, size), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("size", [8, 12, 48, 64])
def test_known_pixels_beside_a_hole_have_none_of_its_filling(size: int) -> None:
    """Two colours whose mean is neither: it stands in the hole alone."""
    images, masks = torch.full((1, 1, 32, 32), 0.25), torch.zeros(1, 1, 32, 32)
    images[:, :, :, 20:] = 0.75
    masks[:, :, :, 12:24] = 1
    found, mask = resized_known(images, masks, size)
    known = found[mask == 0]
    near = torch.minimum((known - 0.25).abs(), (known - 0.75).abs())
    assert float(near.max()) < 1e-6
    inside = found[mask > 0]
    assert float(inside.std()) < 1e-6
    torch.testing.assert_close(inside.mean(), known.mean())


def test_where_nothing_is_known_everything_is_gray() -> None:
    images, masks = draw()
    found, mask = resized_known(images, torch.ones_like(masks), 8)
    assert float(mask.min()) == 1
    assert torch.equal(found, torch.full_like(found, 0.5))
