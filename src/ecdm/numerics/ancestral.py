"""What respaced ancestral sampling needs beside the DDPM scheduler of diffusers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ecdm.numerics.diffusion import Schedule


def respaced(steps: int, total: int, shares: Sequence[float] = (1.0,)) -> list[int]:
    """Descending timesteps from total - 1 to 0 (Nichol & Dhariwal 2021).

    `shares`: of the steps, for equally wide parts of the timesteps, the least noisy part first; within a part the
    steps are evenly spaced. One step alone is total - 1. Where more steps fall to a part than it has timesteps there
    are fewer of them. ValueError for a number of steps outside of 1..total.
    """
    if not 1 <= steps <= total:
        raise ValueError(f"steps: expected 1..{total}, found {steps}")
    last = total - 1
    ends = last * np.cumsum([0.0, *shares]) / sum(shares)
    places = np.interp(np.linspace(last, 0, steps), ends, np.linspace(0, last, len(ends)))
    return sorted({int(place) for place in np.rint(places)}, reverse=True)


def posterior_variance(t: int, reached: int, schedule: Schedule, share: Tensor, like: Tensor) -> Tensor:
    """Variance of the step from timestep `t` to `reached`, -1 being clean, to broadcast with `like` (b, c, h, w).

    `share`: the network's output for its variance, in [-1, 1], which goes from that of q(x_reached | x_t, x0) to beta
    on a logarithmic scale (Nichol & Dhariwal 2021, eq. 15); without channels (b, 0, h, w) the variance is the former.
    """
    wide = like.double()
    signal, former = schedule.at(t, wide), schedule.at(reached, wide)
    beta = 1 - signal / former
    least = (1 - former) / (1 - signal) * beta
    if not share.shape[1]:
        return least.to(like.dtype)
    # As in diffusers: the step to clean data has no variance of its own, and its logarithm no value.
    least = least.clamp(min=1e-20)
    between = (share.double() + 1) / 2
    return torch.exp(between * beta.log() + (1 - between) * least.log()).to(like.dtype)


def clipped(x0: Tensor) -> Tensor:
    """x0 clipped to [-1, 1], where an infinity becomes NaN: clipped, it would pass for a pixel."""
    return x0.clamp(-1, 1) + 0 * x0
