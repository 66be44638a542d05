"""Edge maps against geometry and scikit-image."""

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.feature import canny as reference

from ecdm.numerics.canny import canny


def square() -> NDArray[np.uint8]:
    image = np.zeros((48, 40, 3), np.uint8)
    image[12:36, 10:30] = (255, 120, 60)
    return image


def test_edges_lie_on_the_outline() -> None:
    edges = canny(square(), 100, 200)
    assert edges.shape == (48, 40)
    assert edges.dtype == np.uint8
    assert set(np.unique(edges)) == {0, 255}
    near = np.zeros((48, 40), bool)
    near[11:38, 9:32] = True
    near[14:34, 12:28] = False
    assert not edges[~near].any()
    # All four sides are there.
    assert edges[12:36].any(axis=1).all()
    assert edges[:, 10:30].any(axis=0).all()


def test_agrees_with_scikit_image_up_to_a_pixel() -> None:
    gray = square() @ np.array([0.299, 0.587, 0.114])
    rows, columns = np.nonzero(canny(square(), 100, 200))
    others = np.stack(np.nonzero(reference(gray / 255, sigma=0.5)), axis=1)
    distance = np.abs(others[None] - np.stack([rows, columns], axis=1)[:, None]).max(axis=2)
    assert distance.min(axis=1).max() <= 1
    assert distance.min(axis=0).max() <= 1


def test_flat_image_and_high_thresholds_give_no_edges() -> None:
    assert not canny(np.full((16, 16, 3), 90, np.uint8), 10, 20).any()
    faint = np.full((16, 16, 3), 90, np.uint8)
    faint[:, 8:] += 20
    assert canny(faint, 10, 20).any()
    assert not canny(faint, 100, 200).any()


def test_colours_count_by_their_luma() -> None:
    """A step of 100 is one of 30 in red, 11 in blue; the Sobel response is four times that."""
    red, blue = np.zeros((2, 16, 16, 3), np.uint8)
    red[:, 8:, 0] = 100
    blue[:, 8:, 2] = 100
    assert canny(red, 80, 100).any()
    assert not canny(blue, 80, 100).any()


def test_faint_edges_stay_where_they_continue_strong_ones() -> None:
    image = np.full((32, 16, 3), 50, np.uint8)
    image[:16, 8:] += 60
    image[16:, 8:] += 20
    assert canny(image, 60, 200)[20:30].any(axis=1).all()
    assert not canny(image, 200, 200)[20:30].any()


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        canny(np.zeros((8, 8), np.uint8), 1, 2)
    with pytest.raises(ValueError, match="uint8"):
        canny(np.zeros((8, 8, 3), np.float32), 1, 2)
    with pytest.raises(ValueError, match="thresholds"):
        canny(square(), 200, 100)
