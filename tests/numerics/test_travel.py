"""Which levels are visited, and the noise put on between them."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from ecdm.numerics.diffusion import Schedule, q_sample
from ecdm.numerics.travel import journey, renoised

LEVELS = [8, 6, 4, 2, 0]


@pytest.mark.parametrize(
    ("jump", "passes", "expected"),
    [
        (2, 1, [8, 6, 4, 2, 0, -1]),
        (1, 2, [8, 6, 8, 6, 4, 6, 4, 2, 4, 2, 0, 2, 0, -1, 0, -1]),
        (2, 2, [8, 6, 4, 8, 6, 4, 2, 0, 4, 2, 0, -1, 0, -1]),
        (2, 3, [8, 6, 4, 8, 6, 4, 8, 6, 4, 2, 0, 4, 2, 0, 4, 2, 0, -1, 0, -1, 0, -1]),
        (10, 2, [8, 6, 4, 2, 0, -1, 8, 6, 4, 2, 0, -1]),
    ],
)
def test_the_way_goes_back_after_every_jump(jump: int, passes: int, expected: list[int]) -> None:
    found = journey(LEVELS, jump, passes)
    assert found == expected
    downward = [(a, b) for a, b in pairwise(found) if a > b]
    assert {pair: downward.count(pair) for pair in downward} == {
        pair: passes for pair in zip(LEVELS, [*LEVELS[1:], -1], strict=True)
    }


@pytest.mark.parametrize("t", [-1, 0, 3])
def test_noising_on_ends_at_the_level_as_noising_at_once_does(t: int) -> None:
    """Signal and variance of q(x_r | x_0), the noises being independent."""
    schedule = Schedule(torch.linspace(0.95, 0.05, 10, dtype=torch.float64))
    one, none = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    signal = renoised(q_sample(one, t, none, schedule), t, 7, schedule, none)
    first = renoised(q_sample(none, t, one, schedule), t, 7, schedule, none)
    second = renoised(none, t, 7, schedule, one)
    torch.testing.assert_close(signal, q_sample(one, 7, none, schedule))
    torch.testing.assert_close(first**2 + second**2, 1 - schedule.at(7, one).view(1, 1))
