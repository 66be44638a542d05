"""Random views of a picture, taken so that their gradients are the same bits each time on any device."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Of a view: most turn in radians, most shift and most inward move of a corner in half sides, chance of each change.
# Blended Diffusion moves corners by up to 0.7; beyond 0.5 the quadrilateral may lose its convexity and fold over.
TURN, SHIFT, SQUEEZE, CHANCE = math.pi / 12, 0.2, 0.5, 0.7


def draw_views(generator: torch.Generator, count: int) -> Tensor:
    """Homographies (count, 3, 3) float64 from points of a view to points of the picture; both range over [-1, 1]².

    The first is the identity. The others turn and shift the picture, then move its corners inwards, each change with
    probability `CHANCE` (Avrahami et al. 2022, whose ranges these are).
    """
    draws = torch.rand((count - 1, 13), generator=generator, dtype=torch.float64, device=generator.device).cpu()
    turned = draws[:, :1] < CHANCE
    angle, shift = TURN * turned * (2 * draws[:, 1:2] - 1), SHIFT * turned * (2 * draws[:, 2:4] - 1)
    moved = SQUEEZE * (draws[:, 4:5] < CHANCE) * draws[:, 5:]
    views = _unturned(angle[:, 0], shift) @ _unsqueezed(moved.unflatten(1, (4, 2)))
    return torch.cat([torch.eye(3, dtype=torch.float64)[None], views])


def _unturned(angle: Tensor, shift: Tensor) -> Tensor:
    """The inverse of a turn by `angle` (n,) and a shift (n, 2) after it, (n, 3, 3)."""
    cos, sin, (x, y) = angle.cos(), angle.sin(), shift.unbind(1)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    rows = [[cos, sin, -cos * x - sin * y], [-sin, cos, sin * x - cos * y], [zero, zero, one]]
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


def _unsqueezed(moved: Tensor) -> Tensor:
    """The homography (n, 3, 3) from the square's corners moved inwards by `moved` (n, 4, 2) to the square's corners."""
    square = moved.new_tensor([[-1, -1], [1, -1], [1, 1], [-1, 1]]).expand_as(moved)
    corners = square * (1 - moved)
    zero, ones = torch.zeros_like(moved), torch.ones_like(moved[..., :1])
    blank = torch.cat([zero, 0 * ones], dim=-1)
    full = torch.cat([corners, ones], dim=-1)
    # Per corner (x, y) → (u, v), two equations in eight unknown entries: u (h31 x + h32 y + 1) = h11 x + h12 y + h13.
    along = torch.cat([full, blank, -square[..., :1] * corners], dim=-1)
    across = torch.cat([blank, full, -square[..., 1:] * corners], dim=-1)
    system = torch.stack([along, across], dim=2).flatten(1, 2)
    entries = torch.linalg.solve(system, square.flatten(1)[..., None])[..., 0]
    return torch.cat([entries, torch.ones_like(entries[:, :1])], dim=1).unflatten(1, (3, 3))


def taken(pictures: Tensor, views: Tensor, size: int) -> Tensor:
    """Views (b, v, c, size, size) of pictures (b, c, h, w) by homographies (b, v, 3, 3), bilinear, 0 outside.

    The picture is read by `gather`, whose gradient a GPU can sum in a fixed order; that of `grid_sample` it cannot.
    """
    height, width = pictures.shape[-2:]
    x, y = _places(views, size, pictures)
    x, y = ((x + 1) * width - 1) / 2, ((y + 1) * height - 1) / 2
    left, top = x.floor(), y.floor()
    flat = pictures.flatten(2)
    total = flat.new_zeros(())
    for column, along in ((left, left + 1 - x), (left + 1, x - left)):
        for row, across in ((top, top + 1 - y), (top + 1, y - top)):
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            index = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).long()
            values = flat.gather(2, index[:, None].expand(-1, flat.shape[1], -1))
            total = total + values * (along * across * inside)[:, None]
    return total.unflatten(2, (views.shape[1], size, size)).transpose(1, 2)


def _places(views: Tensor, size: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Where in the picture the pixels of the views lie: x and y, each (b, v · size²), in the dtype of `like`."""
    line = (2 * torch.arange(size, dtype=views.dtype) + 1) / size - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    points = views.cpu() @ torch.stack([x.flatten(), y.flatten(), torch.ones(size**2, dtype=views.dtype)])
    places = (points[:, :, :2] / points[:, :, 2:]).to(like.dtype).to(like.device)
    return places[:, :, 0].flatten(1), places[:, :, 1].flatten(1)
