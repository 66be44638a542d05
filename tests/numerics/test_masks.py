"""Masks inside their buckets, keyed generators and eq. 6."""

import hashlib
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ecdm.numerics import masks
from ecdm.numerics.buckets import bucket_bounds
from ecdm.numerics.masks import STYLES, StrokeStyle, draw_bucket, draw_set, draw_training, mask_rng

BUCKETS = ["10-20", "30-40", "50-60"]


def digest(mask: NDArray[np.bool_]) -> str:
    return hashlib.sha256(np.packbits(mask).tobytes()).hexdigest()


@pytest.mark.parametrize("bucket", BUCKETS)
def test_a_thousand_draws_lie_in_their_bucket(bucket: str) -> None:
    lower, upper = bucket_bounds(bucket)
    drawn = [draw_bucket(mask_rng(0, "scenes", i, bucket), 128, 128, lower, upper) for i in range(1000)]
    fractions = np.array([mask.mean() for mask in drawn])
    assert fractions.min() >= lower
    assert fractions.max() <= upper
    assert drawn[0].shape == (128, 128)
    assert drawn[0].dtype == np.bool_
    # Spread over the bucket instead of crowding at a border, and no mask twice.
    assert np.histogram(fractions, 4, (lower, upper))[0].min() > 120
    assert len({digest(mask) for mask in drawn}) == 1000


@pytest.mark.parametrize("name", ["wide", "narrow"])
def test_a_thousand_draws_of_a_set_lie_in_its_bounds(name: str) -> None:
    fractions = [draw_set(mask_rng(1, "scenes", i, name), 64, 96, name).mean() for i in range(1000)]
    assert min(fractions) >= masks.SET_BOUNDS[0]
    assert max(fractions) <= masks.SET_BOUNDS[1]


def test_wide_holes_are_thicker_than_narrow_ones() -> None:
    def depth(name: str) -> float:
        """Median over masks of the hole's largest distance to known pixels."""
        drawn = (draw_set(mask_rng(2, i, name), 128, 128, name) for i in range(60))
        return float(np.median([cv2.distanceTransform(m.astype(np.uint8), cv2.DIST_L2, 3).max() for m in drawn]))

    assert depth("wide") > 2 * depth("narrow")


def test_a_thousand_training_ratios_are_uniform() -> None:
    fractions = np.array([draw_training(mask_rng(3, i), 64, 64).mean() for i in range(1000)])
    assert fractions.min() >= 0.1
    assert fractions.max() <= 0.6
    counts = np.histogram(fractions, 5, (0.1, 0.6))[0]
    # 200 expected, standard deviation 12.6.
    assert counts.min() > 150
    assert counts.max() < 250


def test_training_ratios_keep_to_a_given_range() -> None:
    fractions = [draw_training(mask_rng(4, i), 32, 32, 0.3, 0.35).mean() for i in range(50)]
    assert min(fractions) >= 0.3
    assert max(fractions) <= 0.35


@pytest.mark.parametrize("size", [(16, 16), (40, 100), (129, 65)])
def test_buckets_are_filled_at_small_and_odd_sizes(size: tuple[int, int]) -> None:
    for bucket in BUCKETS:
        lower, upper = bucket_bounds(bucket)
        for i in range(30):
            mask = draw_bucket(mask_rng(5, i, bucket), *size, lower, upper)
            assert mask.shape == size
            assert lower <= mask.mean() <= upper


@pytest.mark.parametrize("name", list(STYLES))
def test_every_style_draws_and_scales_with_the_image(name: str) -> None:
    small, large = (
        np.mean([draw_bucket(mask_rng(6, i), side, side, 0, 1, styles=[name]).mean() for i in range(200)])
        for side in (64, 256)
    )
    assert 0.02 < small < 0.9
    assert small == pytest.approx(large, abs=0.06)


def test_every_style_serves_every_bucket() -> None:
    for name in STYLES:
        for bucket in BUCKETS:
            lower, upper = bucket_bounds(bucket)
            for i in range(20):
                mask = draw_bucket(mask_rng(7, i), 64, 64, lower, upper, styles=(name,))
                assert lower <= mask.mean() <= upper


def test_one_straight_stroke_has_the_area_of_its_outline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A single level segment of length L and width w covers about L w and two half discs."""
    monkeypatch.setitem(STYLES, "straight", StrokeStyle(200, (1, 1), (1, 1), (20, 20), (40, 40), (0.0, 0.0)))
    areas = [draw_bucket(mask_rng(8, i), 200, 200, 0, 1, styles=["straight"]).sum() for i in range(300)]
    assert max(areas) == pytest.approx(40 * 20 + np.pi * 10**2, rel=0.08)


def test_same_key_same_mask_in_any_order() -> None:
    keys = [(9, "scenes", image, bucket) for image in ("000001", "000002") for bucket in BUCKETS]

    def draw(key: tuple[int, str, str, str]) -> str:
        return digest(draw_bucket(mask_rng(*key), 64, 64, *bucket_bounds(key[3])))

    forward = {key: draw(key) for key in keys}
    assert {key: draw(key) for key in reversed(keys)} == forward
    assert len(set(forward.values())) == len(keys)


def test_any_part_of_the_key_changes_the_draws() -> None:
    def first(*key: int | str) -> int:
        return int(mask_rng(0, *key).integers(2**62))

    assert first("a", "bc") != first("ab", "c")
    assert first("a", "b") != first("b", "a")
    assert first("a", 7) == first("a", "7")
    assert mask_rng(1, "a").integers(2**62) != mask_rng(0, "a").integers(2**62)


def test_keys_do_not_depend_on_the_process() -> None:
    code = (
        "from ecdm.numerics.masks import *;"
        "print(draw_bucket(mask_rng(0, 'scenes', 7, '10-20'), 32, 32, .1, .2).nonzero()[0].tolist())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    other = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    here = draw_bucket(mask_rng(0, "scenes", 7, "10-20"), 32, 32, 0.1, 0.2)
    assert other.stdout.strip() == str(here.nonzero()[0].tolist())


@pytest.mark.parametrize(
    ("lower", "upper", "message"),
    [
        (0.5, 0.4, "expected 0 <= lower <= upper"),
        (0.5, 1.5, "expected 0 <= lower <= upper"),
        (0.0, 0.0, "no number of hole pixels"),
        (0.50001, 0.50002, "no number of hole pixels"),
        (0.9995, 0.9996, "no mask of 128x128"),
    ],
)
def test_a_bucket_that_no_mask_can_fill_is_refused(lower: float, upper: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_bucket(mask_rng(0), 128, 128, lower, upper, max_draws=200)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="wide, narrow"):
        draw_set(mask_rng(0), 32, 32, "medium")
    with pytest.raises(ValueError, match="lama_thick"):
        draw_bucket(mask_rng(0), 32, 32, 0.1, 0.2, styles=("thick",))


def images(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(2, 3, 16, 24, generator=generator) * 2 - 1
    return image, (torch.rand(2, 1, 16, 24, generator=generator) > 0.5).float()


@pytest.mark.parametrize("fill", [0.0, -1.0, 0.25])
def test_masked_image_is_equation_6(fill: float) -> None:
    image, mask = images(0)
    before = image.clone()
    expected = image.numpy() * (1 - mask.numpy()) + fill * mask.numpy()
    assert np.array_equal(masks.masked_image(image, mask, fill).numpy(), expected.astype(np.float32))
    assert torch.equal(masks.masked_image(image, mask.bool(), fill), masks.masked_image(image, mask, fill))
    assert torch.equal(image, before)


def test_masked_image_holds_nothing_of_the_hole() -> None:
    image, mask = images(1)
    other = torch.where(mask.bool(), torch.tensor(float("nan")), image)
    first, second = masks.masked_image(image, mask), masks.masked_image(other, mask)
    assert first.numpy().tobytes() == second.numpy().tobytes()


def test_latent_mask_marks_every_cell_that_touches_the_hole() -> None:
    mask = torch.zeros(2, 1, 16, 24)
    mask[0, 0, 7, 8] = 1
    mask[1, 0, 8:, :8] = 1
    found = masks.latent_mask(mask, 8)
    assert found.tolist() == [[[[0, 1, 0], [0, 0, 0]]], [[[0, 0, 0], [1, 0, 0]]]]
    assert torch.equal(masks.latent_mask(mask.bool(), 8), found)
    assert masks.latent_mask(mask.double(), 8).dtype == torch.float64
    assert torch.equal(masks.latent_mask(mask, 1), mask)


def test_latent_mask_spares_cells_up_to_a_share_of_hidden_pixels() -> None:
    mask = torch.zeros(1, 1, 4, 12)
    mask[0, 0, :2, 4:8] = 1
    mask[0, 0, :3, 8:] = 1
    for spared, expected in ((0.0, [0, 1, 1]), (0.49, [0, 1, 1]), (0.5, [0, 0, 1]), (0.75, [0, 0, 0])):
        assert masks.latent_mask(mask, 4, spared).tolist() == [[[expected]]]


def test_latent_mask_refuses_sizes_that_do_not_divide() -> None:
    with pytest.raises(ValueError, match="divisible by 8, found 16x20"):
        masks.latent_mask(torch.zeros(1, 1, 16, 20), 8)


def test_mean_filled_takes_each_images_known_colour_and_reads_no_hole() -> None:
    images = torch.rand((3, 3, 8, 10), generator=torch.Generator().manual_seed(0))
    holes = torch.zeros(3, 1, 8, 10)
    holes[0, :, 2:5, 3:9], holes[1] = 1, 1
    spoiled = torch.where(holes > 0, float("nan"), images)
    found = masks.mean_filled(spoiled, holes)
    assert torch.equal(found[2], images[2])
    assert (found[1] == 0.5).all()
    known = images[0][:, holes[0, 0] == 0]
    assert torch.equal(found[0][:, holes[0, 0] == 0], known)
    expected = known.double().mean(1).float()[:, None].expand(3, 18)
    torch.testing.assert_close(found[0][:, holes[0, 0] == 1], expected)
