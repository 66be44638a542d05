"""A step sees the same samples however many processes share it and however small their passes are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from ecdm.config import Train
from ecdm.training.shares import Shares


def shares(batch: int, micro: int, processes: int) -> Shares:
    return Shares.of(cast(Train, SimpleNamespace(batch=batch, micro_batch=micro)), processes)


@pytest.mark.parametrize(("micro", "processes"), [(8, 1), (2, 1), (8, 2), (2, 2), (1, 4), (64, 8)])
def test_every_position_is_seen_once(micro: int, processes: int) -> None:
    found = shares(8, micro, processes)
    assert found.passes * found.micro * processes == 8
    for step in (0, 3):
        starts = [start for process in range(processes) for start in found.starts(step, process)]
        seen = [position for start in starts for position in range(start, start + found.micro)]
        assert seen == list(range(8 * step, 8 * step + 8))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((6, 6, 4), "train.batch: found 6, expected a multiple of the 4 processes"),
        ((8, 3, 1), "train.micro_batch: found 3, expected a divisor of the 8 images per process"),
        ((8, 3, 2), "train.micro_batch: found 3, expected a divisor of the 4 images per process"),
    ],
)
def test_what_cannot_be_shared_is_refused(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        shares(*given)
