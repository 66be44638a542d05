"""Batches for inpainting: what stands in the files arrives, and files that do not fit are named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ecdm.data.coco import CaptionedImage, write_split
from ecdm.data.dataset import Batch, CaptionedFolder, MaskedFolder, load_mask
from ecdm.data.files import png_name, save_png

SIZE = (8, 12)
IDS = (30, 10, 20)


def image_of(image_id: int) -> np.ndarray:
    return np.random.default_rng(image_id).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def mask_of(image_id: int) -> np.ndarray:
    return (np.random.default_rng(image_id + 1000).random(SIZE) < 0.4).astype(np.uint8) * 255


@pytest.fixture
def data(tmp_path: Path) -> Path:
    images = []
    for image_id in IDS:
        name = f"picture-{image_id}.png"
        save_png(tmp_path / "test" / name, image_of(image_id))
        save_png(tmp_path / "masks" / "10-20" / png_name(image_id), mask_of(image_id))
        save_png(tmp_path / "edges" / png_name(image_id), 255 - mask_of(image_id))
        images.append(CaptionedImage(image_id, name, (f"first {image_id}", f"second {image_id}")))
    write_split(tmp_path, "test", images)
    return tmp_path


def test_batches_hold_the_files(data: Path) -> None:
    batches = list(MaskedFolder(data, data / "masks", "10-20", 2))
    assert [batch.ids for batch in batches] == [[10, 20], [30]]
    assert [batch.captions for batch in batches] == [["first 10", "first 20"], ["first 30"]]
    for batch in batches:
        assert batch.edges is None
        assert batch.images.dtype == batch.masks.dtype == torch.float32
        for row, image_id in enumerate(batch.ids):
            stored = (batch.images[row] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
            assert np.array_equal(stored, image_of(image_id))
            assert np.array_equal(batch.masks[row, 0].numpy(), mask_of(image_id) / 255)


@pytest.mark.parametrize(("batch", "count"), [(1, 3), (2, 2), (3, 1), (4, 1)])
def test_the_number_of_batches_is_known_before_they_are_read(data: Path, batch: int, count: int) -> None:
    batches = MaskedFolder(data, data / "masks", "10-20", batch)
    assert len(batches) == count == len(list(batches))


def test_a_batch_is_read_when_its_turn_comes(data: Path) -> None:
    batches = iter(MaskedFolder(data, data / "masks", "10-20", 2))
    (data / "test" / "picture-30.png").unlink()
    assert next(batches).ids == [10, 20]
    with pytest.raises(ValueError, match=r"picture-30\.png"):
        next(batches)


def test_edges_come_along(data: Path) -> None:
    batch = next(iter(MaskedFolder(data, data / "masks", "10-20", 3, edges=data / "edges")))
    assert batch.edges is not None
    assert torch.equal(batch.edges, 1 - batch.masks)


def test_samples_carry_every_caption(data: Path) -> None:
    folder = CaptionedFolder(data, "test", data / "edges")
    assert len(folder) == 3
    sample = folder[1]
    assert (sample.id, sample.captions) == (20, ("first 20", "second 20"))
    assert sample.image.shape == (3, *SIZE)
    assert sample.edges is not None
    assert np.array_equal(sample.edges[0].numpy(), 1 - mask_of(20) / 255)


def test_a_mask_of_another_size_is_named(data: Path) -> None:
    save_png(data / "masks" / "10-20" / png_name(20), np.zeros((12, 8), np.uint8))
    with pytest.raises(ValueError, match=r"000000000020\.png: found mask of 12x8 px, expected 8x12"):
        list(MaskedFolder(data, data / "masks", "10-20", 2))


def test_edges_of_another_size_are_named(data: Path) -> None:
    save_png(data / "edges" / png_name(20), np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match=r"000000000020\.png: found edges of 4x4 px"):
        CaptionedFolder(data, "test", data / "edges")[1]


def test_a_missing_mask_is_named(data: Path) -> None:
    with pytest.raises(ValueError, match=r"masks/30-40/000000000010\.png"):
        list(MaskedFolder(data, data / "masks", "30-40", 2))


def test_an_unreadable_image_is_named(data: Path) -> None:
    (data / "test" / "picture-30.png").write_text("no image")
    with pytest.raises(ValueError, match=r"picture-30\.png"):
        list(MaskedFolder(data, data / "masks", "10-20", 2))


def test_images_of_different_sizes_do_not_mix(data: Path) -> None:
    save_png(data / "test" / "picture-20.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match="image id 20: found 8x8 px, expected 8x12"):
        list(MaskedFolder(data, data / "masks", "10-20", 2))


def test_a_batch_size_below_one_is_refused(data: Path) -> None:
    with pytest.raises(ValueError, match="batch: found 0"):
        MaskedFolder(data, data / "masks", "10-20", 0)


def test_soft_masks_become_hard(tmp_path: Path) -> None:
    save_png(tmp_path / "m.png", np.array([[0, 127, 128, 255]], np.uint8))
    assert load_mask(tmp_path / "m.png", (1, 4)).tolist() == [[[0, 0, 1, 1]]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.zeros(2, 1, 4, 4)}, "images"),
        ({"masks": torch.zeros(2, 1, 4, 5)}, "masks"),
        ({"edges": torch.zeros(1, 1, 4, 4)}, "edges"),
        ({"captions": ["a"]}, "captions"),
        ({"ids": [1, 2, 3]}, "ids"),
    ],
)
def test_a_batch_whose_parts_disagree_is_refused(change: dict[str, object], message: str) -> None:
    good = Batch(torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 4, 4), ["a", "b"], [1, 2])
    with pytest.raises(ValueError, match=f"^{message}: found"):
        replace(good, **change)  # type: ignore[arg-type]
