"""Gradient steps on quadratic forms, whose right lengths are known, and on objectives made to fail."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ecdm.numerics.descent import TRIALS, Objective, descend

CURVATURES = torch.tensor([0.5, 4.0, 300.0], dtype=torch.float64)


def start() -> Tensor:
    return torch.arange(1.0, 13.0, dtype=torch.float64).view(3, 4)


def quadratic(curvatures: Tensor = CURVATURES, sizes: list[int] | None = None) -> Objective:
    """½ k ‖x‖² for a curvature k of each image; beside it, 10 x."""

    def value(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        if sizes is not None:
            sizes.append(len(x))
        return curvatures[rows] * x.square().sum(1) / 2, 10 * x

    return value


def test_a_step_is_the_length_times_the_gradient() -> None:
    x, found = descend(quadratic(), start(), 3, 0.005, 0.8)
    expected = start() * (1 - 0.005 * CURVATURES[:, None]) ** 3
    torch.testing.assert_close(x, expected)
    torch.testing.assert_close(found, 10 * expected)
    assert not x.requires_grad
    assert not found.requires_grad


def test_each_image_shortens_its_own_steps_and_keeps_them_short() -> None:
    """A length L does not raise ½ k x² as long as L k ≤ 2."""
    sizes: list[int] = []
    x, _ = descend(quadratic(sizes=sizes), start(), 2, 1.0, 0.5)
    lengths = torch.tensor([1.0, 0.5, 1 / 256], dtype=torch.float64)
    torch.testing.assert_close(x, start() * (1 - lengths * CURVATURES)[:, None] ** 2)
    # All, all, what pends of it until nothing does, all again; the second step needs no shortening.
    assert sizes == [3, 3, 2, *[1] * 7, 3, 3]


@pytest.mark.parametrize("length", [1e-3, 1.0, 1e3, 1e9])
def test_no_objective_ever_rises(length: float) -> None:
    values = [quadratic()(start(), torch.arange(3))[0]]
    for steps in (1, 2, 5):
        x, _ = descend(quadratic(), start(), steps, length, 0.8)
        values.append(quadratic()(x, torch.arange(3))[0])
        assert bool((values[-1] <= values[-2]).all())


def test_no_image_depends_on_another() -> None:
    together, _ = descend(quadratic(), start(), 3, 1.0, 0.8)
    for row in range(3):
        alone, _ = descend(quadratic(CURVATURES[row : row + 1]), start()[row : row + 1], 3, 1.0, 0.8)
        assert torch.equal(alone[0], together[row])


def test_a_step_that_only_raises_the_objective_is_given_up() -> None:
    """Its gradient points the wrong way."""
    calls: list[int] = []

    def value(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        calls.append(len(x))
        right = x.square().sum(1)
        return right.detach() * 2 - right, x

    x, _ = descend(value, start(), 1, 0.1, 0.8)
    assert torch.equal(x, start())
    assert len(calls) == 2 + TRIALS + 1


def test_a_step_to_where_the_objective_is_nan_is_shortened() -> None:
    def value(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        return x.sqrt().sum(1), x

    x, _ = descend(value, torch.full((1, 1), 4.0), 1, 1e3, 0.5)
    # The gradient is ¼; of 250, 125, ... the first below 4 is 3.90625.
    torch.testing.assert_close(x, torch.full((1, 1), 4 - 3.90625))


@pytest.mark.parametrize("spoiled", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_shows_in_the_state(spoiled: float) -> None:
    """Where the objective itself is finite, the image would pass for one whose step was given up."""

    class Spoil(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: object, *gradients: Tensor) -> Tensor:
            gradient = gradients[0].clone()
            gradient[1] = spoiled
            return gradient

    def value(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        return quadratic()(Spoil.apply(x), rows)

    x, _ = descend(value, start(), 1, 0.001, 0.8)
    assert x.isnan().any(1).tolist() == [False, True, False]
    torch.testing.assert_close(x[0], start()[0] * (1 - 0.001 * 0.5))


def test_an_objective_that_is_nan_from_the_start_lets_the_state_be() -> None:
    def value(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        return quadratic()(x, rows)[0] + torch.where(rows == 2, math.nan, 0.0), x

    x, _ = descend(value, start(), 1, 0.001, 0.8)
    assert torch.equal(x[2], start()[2])
    assert not torch.equal(x[:2], start()[:2])


def test_the_start_is_not_changed() -> None:
    given = start()
    descend(quadratic(), given, 2, 1.0, 0.8)
    assert torch.equal(given, start())
