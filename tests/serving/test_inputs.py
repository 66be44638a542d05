"""The forms of images and masks that a pipeline is called with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ecdm.serving.inputs import image_batch, mask_batch

MASKS = np.random.default_rng(0).random((3, 4, 5)) < 0.5
HOLES = torch.from_numpy(MASKS)[:, None].float()
IMAGES = np.random.default_rng(1).integers(0, 256, (3, 4, 5, 3), np.uint8)
PIXELS = torch.from_numpy(IMAGES).permute(0, 3, 1, 2).float() / 255


@pytest.mark.parametrize(
    "masks",
    [
        MASKS,
        MASKS[..., None],
        list(MASKS),
        list(MASKS[..., None]),
        np.where(MASKS, np.uint8(255), np.uint8(0)),
        torch.from_numpy(MASKS),
        torch.from_numpy(MASKS)[:, None],
        list(torch.from_numpy(MASKS)),
    ],
)
def test_batches_of_masks(masks: Any) -> None:
    assert torch.equal(mask_batch(masks), HOLES)


@pytest.mark.parametrize("mask", [MASKS[0], MASKS[0, ..., None], MASKS[0, None], torch.from_numpy(MASKS[0])])
def test_a_single_mask(mask: Any) -> None:
    assert torch.equal(mask_batch(mask), HOLES[:1])


@pytest.mark.parametrize("images", [IMAGES, list(IMAGES), IMAGES / 255, PIXELS, list(PIXELS), (PIXELS * 255).byte()])
def test_batches_of_images(images: Any) -> None:
    torch.testing.assert_close(image_batch(images), PIXELS, rtol=0, atol=1e-6 if images is not IMAGES else 0)


def test_a_single_image() -> None:
    assert torch.equal(image_batch(IMAGES[0]), PIXELS[:1])
    assert torch.equal(image_batch(PIXELS[0]), PIXELS[:1])
    assert torch.equal(image_batch(IMAGES[0, ..., 0]), PIXELS[:1, :1].expand(-1, 3, -1, -1))


@pytest.mark.parametrize("kind", [np.int64, np.int8, np.uint16])
def test_other_integers_may_mean_anything_and_are_refused(kind: Any) -> None:
    ones = np.ones((4, 5), kind)
    for given in (ones, torch.from_numpy(ones)):
        with pytest.raises(ValueError, match=rf"mask_image: found torch\.{np.dtype(kind).name}, expected uint8"):
            mask_batch(given)
    with pytest.raises(ValueError, match=rf"image: found torch\.{np.dtype(kind).name}, expected uint8"):
        image_batch(ones)


@pytest.mark.parametrize("shape", [(3,), (4, 5, 3), (2, 3, 4, 5)])
def test_masks_of_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"mask_image: found .*, expected"):
        mask_batch([torch.ones(shape)])
