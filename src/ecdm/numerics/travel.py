"""Time travel: the noise levels that a sampler visits when it goes back on its way (Lugmayr et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ecdm.numerics.diffusion import Schedule


def journey(timesteps: Sequence[int], jump: int, passes: int) -> list[int]:
    """The timesteps visited, -1 (clean) at the end, from descending ones.

    After every `jump` steps it goes back by as many, until each was taken `passes` times; the last jump may be shorter.
    """
    levels, visited = [*timesteps, -1], [timesteps[0]]
    for start in range(0, len(timesteps), jump):
        part = levels[start + 1 : start + jump + 1]
        visited += part
        for _ in range(passes - 1):
            visited += [levels[start], *part]
    return visited


def renoised(x: Tensor, t: int, reached: int, schedule: Schedule, eps: Tensor) -> Tensor:
    """x (b, ...) at timestep `t` noised on to the higher one `reached`: a sample of q(x_reached | x_t)."""
    wide = x.double()
    kept = (schedule.at(reached, wide) / schedule.at(t, wide)).sqrt()
    return kept.to(x.dtype) * x + (1 - kept**2).sqrt().to(x.dtype) * eps
