"""Plain gradient steps on the state of each image, with backtracking."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# Shrinkings of a step length before an image's step is given up: by 0.8 each, to an 800th.
TRIALS = 30

# (states (n, ...), which rows of the batch they are (n,)) → values (n,), and what else was found on the way (n, ...).
Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def descend(objective: Objective, start: Tensor, steps: int, length: float, shrink: float) -> tuple[Tensor, Tensor]:
    """States (b, ...) after `steps` gradient steps from `start`, and what the objective finds there beside its values.

    A step of an image is x - length · gradient. While its objective is above the one before the step, or NaN, the
    image's `length` is multiplied by `shrink`, for its later steps as well, at most `TRIALS` times; then the image
    stays where it is. No image's objective ever rises, and none depends on another image. A gradient that is not finite
    makes the state NaN, so that it does not pass for a step given up.
    """
    rows = torch.arange(len(start), device=start.device)
    lengths = start.new_full((len(start), *[1] * (start.ndim - 1)), length)
    x, values, found = _evaluated(objective, start, rows)
    for _ in range(steps):
        (gradient,) = torch.autograd.grad(values, x, torch.ones_like(values))
        before, bounds = x.detach(), values.detach()
        x, values, found = _evaluated(objective, before - lengths * gradient, rows)
        worse = rows[~(values.detach() <= bounds)]
        if len(worse):
            moved, lengths = _backtracked(objective, before, gradient, bounds, lengths, shrink, worse)
            accepted = x.detach().index_copy(0, worse, moved)
            x, values, found = _evaluated(objective, accepted, rows)
    return x.detach(), found.detach()


def _evaluated(objective: Objective, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The states as what gradients are taken to, their values and what else the objective found."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        values, found = objective(leaf, rows)
    return leaf, values, found


@torch.no_grad()
def _backtracked(
    objective: Objective,
    x: Tensor,
    gradient: Tensor,
    bounds: Tensor,
    lengths: Tensor,
    shrink: float,
    worse: Tensor,
) -> tuple[Tensor, Tensor]:
    """New states of the rows `worse`, whose first trial failed, and the lengths of all rows."""
    # 0 · gradient is 0, or NaN where the gradient is not finite.
    moved, lengths, pending = x + 0 * gradient, lengths.clone(), worse
    for _ in range(TRIALS):
        lengths[pending] *= shrink
        trial = x[pending] - lengths[pending] * gradient[pending]
        good = objective(trial, pending)[0] <= bounds[pending]
        moved[pending[good]] = trial[good]
        pending = pending[~good]
        if not len(pending):
            break
    return moved[worse], lengths
