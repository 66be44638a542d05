"""What leads Blended Diffusion: distance on the sphere of CLIP features, and how far colours leave their range."""

from __future__ import annotations

from torch import Tensor


def spherical_distance(a: Tensor, b: Tensor) -> Tensor:
    """Half the squared angle between unit vectors (..., d), radians²: 2 arcsin²(‖a − b‖ / 2)."""
    return 2 * ((a - b).norm(dim=-1) / 2).arcsin().square()


def range_loss(x0: Tensor) -> Tensor:
    """Mean square (b,) of what values (b, ...) exceed [-1, 1] by."""
    return (x0 - x0.clamp(-1, 1)).square().flatten(1).mean(1)
