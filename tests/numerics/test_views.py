"""Views against OpenCV's homographies and torch's grid sampling."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ecdm.numerics.views import CHANCE, SHIFT, SQUEEZE, TURN, draw_views, taken

SQUARE = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], dtype=np.float32)


def views(count: int = 5, seed: int = 3) -> Tensor:
    return torch.stack([draw_views(torch.Generator().manual_seed(seed + i), count) for i in range(2)])


def test_views_turn_shift_and_then_squeeze_the_picture() -> None:
    draws = torch.rand((39, 13), generator=torch.Generator().manual_seed(1), dtype=torch.float64).numpy()
    found = draw_views(torch.Generator().manual_seed(1), 40).numpy()
    np.testing.assert_array_equal(found[0], np.eye(3))
    changed = draws[:, [0, 4]] < CHANCE
    assert {tuple(pair) for pair in changed.tolist()} == {(a, b) for a in (False, True) for b in (False, True)}
    for view, values, (turned, squeezed) in zip(found[1:], draws, changed, strict=True):
        angle, x, y = turned * (2 * values[1:4] - 1) * (TURN, SHIFT, SHIFT)
        cos, sin = math.cos(angle), math.sin(angle)
        affine = np.array([[cos, -sin, x], [sin, cos, y], [0, 0, 1]])
        corners = SQUARE * (1 - squeezed * SQUEEZE * values[5:].reshape(4, 2))
        whole = cv2.getPerspectiveTransform(SQUARE, corners.astype(np.float32)) @ affine
        back = np.linalg.inv(whole)
        np.testing.assert_allclose(view / view[2, 2], back / back[2, 2], atol=1e-5)


def test_no_view_folds_the_picture_over() -> None:
    """Seen in the view, the picture's corners go round in one direction and lie on one side of the horizon."""
    drawn = draw_views(torch.Generator().manual_seed(0), 3000)
    points = torch.cat([torch.from_numpy(SQUARE).double(), torch.ones(4, 1)], 1)
    seen = points @ torch.linalg.inv(drawn).transpose(1, 2)
    corners = seen[..., :2] / seen[..., 2:]
    sides = corners.roll(-1, 1) - corners
    after = sides.roll(-1, 1)
    turns = sides[..., 0] * after[..., 1] - sides[..., 1] * after[..., 0]
    assert float(turns.min()) > 0
    assert bool((seen[..., 2].sign() == seen[:, :1, 2].sign()).all())


def test_an_images_views_come_from_its_own_generator() -> None:
    assert torch.equal(views()[0], views()[0])
    assert not torch.equal(views()[0, 1:], views()[1, 1:])
    assert torch.equal(draw_views(torch.Generator(), 1), torch.eye(3, dtype=torch.float64)[None])


@pytest.mark.parametrize(("height", "width", "size"), [(8, 8, 8), (8, 8, 13), (12, 20, 6)])
def test_taking_views_is_grid_sampling_and_so_is_its_gradient(height: int, width: int, size: int) -> None:
    generator = torch.Generator().manual_seed(2)
    pictures = torch.randn((2, 3, height, width), generator=generator, dtype=torch.float64, requires_grad=True)
    weights = torch.randn((2, 5, 3, size, size), generator=generator, dtype=torch.float64)
    found = taken(pictures, views(), size)
    line = (torch.arange(size, dtype=torch.float64) * 2 + 1) / size - 1
    points = torch.stack([*torch.meshgrid(line, line, indexing="xy"), torch.ones(size, size)], -1)
    places = points.view(1, 1, -1, 3) @ views().transpose(2, 3)
    grid = (places[..., :2] / places[..., 2:]).view(2, 5 * size, size, 2)
    expected = F.grid_sample(pictures, grid, "bilinear", "zeros", align_corners=False)
    expected = expected.view(2, 3, 5, size, size).transpose(1, 2)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad((output * weights).sum(), pictures)[0] for output in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_the_first_view_at_its_own_size_is_the_picture() -> None:
    pictures = torch.rand((2, 3, 9, 9), generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(taken(pictures, views(1), 9)[:, 0], pictures, rtol=0, atol=1e-6)
