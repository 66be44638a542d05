"""Respaced timesteps by their definition, variances against diffusers' scheduler."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from diffusers import DDPMScheduler

from ecdm.numerics.ancestral import clipped, posterior_variance, respaced
from ecdm.numerics.diffusion import Schedule


@pytest.mark.parametrize(("steps", "total"), [(100, 1000), (25, 1000), (27, 1000), (7, 10), (10, 10), (2, 10)])
def test_timesteps_are_evenly_spaced_from_the_last_to_the_first(steps: int, total: int) -> None:
    """The rule of guided diffusion: multiples of (T − 1)/(n − 1), rounded."""
    expected = [round(i * (total - 1) / (steps - 1)) for i in range(steps)]
    assert respaced(steps, total) == expected[::-1]


def test_a_single_step_starts_at_the_last_timestep() -> None:
    assert respaced(1, 1000) == respaced(1, 1000, (10, 10, 3, 2, 2)) == [999]


def test_steps_are_shared_out_among_parts_of_the_timesteps() -> None:
    levels = respaced(27, 1000, (10, 10, 3, 2, 2))
    assert levels[0] == 999
    assert levels[-1] == 0
    assert levels == sorted(set(levels), reverse=True)
    assert Counter(t // 200 for t in levels) == {0: 10, 1: 10, 2: 3, 3: 2, 4: 2}


def test_parts_too_small_for_their_steps_have_fewer_of_them() -> None:
    levels = respaced(1000, 1000, (10, 10, 3, 2, 2))
    assert levels[0] == 999
    assert len(levels) == len(set(levels)) < 1000
    assert set(range(390)) < set(levels)


@pytest.mark.parametrize("steps", [0, 11])
def test_an_impossible_number_of_steps_is_refused(steps: int) -> None:
    with pytest.raises(ValueError, match=rf"steps: expected 1\.\.10, found {steps}"):
        respaced(steps, 10)


@pytest.mark.parametrize("schedule", ["linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("learned", [False, True])
def test_the_variance_is_the_schedulers(schedule: str, learned: bool) -> None:
    kind = "learned_range" if learned else "fixed_small"
    scheduler = DDPMScheduler(beta_schedule=schedule, variance_type=kind)
    levels = [999, 600, 250, 3, 0]
    scheduler.set_timesteps(timesteps=levels)
    x = torch.zeros(2, 3, 4, 4)
    share = torch.linspace(-1.2, 1.2, 96).view(2, 3, 4, 4) if learned else x[:, :0]
    own = Schedule(scheduler.alphas_cumprod.double())
    for t, reached in zip(levels, [*levels[1:], -1], strict=True):
        expected = scheduler._get_variance(t, share)
        found = posterior_variance(t, reached, own, share, x)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected.exp() if learned else expected, rtol=1e-3, atol=1e-9)


def test_the_step_to_clean_data_has_no_variance() -> None:
    schedule, x = Schedule(torch.linspace(0.9, 0.1, 9, dtype=torch.float64)), torch.zeros(1, 3, 2, 2)
    assert float(posterior_variance(5, -1, schedule, x[:, :0], x)) == 0
    assert float(posterior_variance(5, 4, schedule, x[:, :0], x)) == pytest.approx(0.5 / 0.6 * (1 - 0.4 / 0.5))


def test_clipping_keeps_what_is_inside_and_hides_no_infinity() -> None:
    values = torch.tensor([-3.0, -1.0, -0.25, 0.0, 0.7, 1.0, 40.0, math.inf, -math.inf, math.nan])
    found = clipped(values)
    assert found[:7].tolist() == torch.tensor([-1, -1, -0.25, 0, 0.7, 1, 1]).tolist()
    assert bool(found[7:].isnan().all())
