"""Distance and range loss in closed form."""

from __future__ import annotations

import math

import pytest
import torch

from ecdm.numerics.guidance import range_loss, spherical_distance


@pytest.mark.parametrize("degrees", [0, 30, 60, 90, 135, 180])
def test_the_distance_is_half_the_squared_angle(degrees: int) -> None:
    angle, start = math.radians(degrees), 0.7
    a, b = (torch.tensor([math.cos(x), 0, math.sin(x)], dtype=torch.float64) for x in (start, start + angle))
    assert float(spherical_distance(a, b)) == pytest.approx(angle**2 / 2, abs=1e-6)
    assert float(spherical_distance(b, a)) == pytest.approx(angle**2 / 2, abs=1e-6)


def test_distances_broadcast_over_all_but_the_last_axis() -> None:
    a, b = torch.eye(4).view(2, 2, 4), torch.eye(4)[:1]
    assert spherical_distance(a, b).shape == (2, 2)
    torch.testing.assert_close(spherical_distance(a, b).flatten(), (math.pi**2 / 8) * torch.tensor([0.0, 1, 1, 1]))


def test_the_range_loss_is_the_mean_square_of_the_excess() -> None:
    x0 = torch.tensor([[0.5, -1.0, 1.5, -3.0], [0.0, 1.0, -0.2, 0.9]]).view(2, 1, 2, 2)
    assert range_loss(x0).tolist() == [(0.25 + 4) / 4, 0]
