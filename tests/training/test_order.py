"""The order of training samples: by the seed alone, every sample once an epoch, few shards at a time."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from ecdm.training.draws import sample_order
from ecdm.training.order import WINDOW, Order

# Twenty shards of uneven size, whose samples do not follow one another.
PARTS = [int(part) for part in np.random.default_rng(0).integers(0, 20, 150)]


@pytest.mark.parametrize("parts", [[0] * 10, [3, 1, 0, 7, 3, 1, 9, 0, 0, 7], list(range(WINDOW))])
def test_few_shards_have_the_order_of_loose_files(parts: list[int]) -> None:
    assert Order(3, parts).numbers(4, 31) == sample_order(3, len(parts), 4, 31)


def test_every_sample_comes_once_an_epoch() -> None:
    order = Order(0, PARTS)
    epochs = [order.numbers(epoch * 150, 150) for epoch in range(3)]
    for numbers in epochs:
        assert sorted(numbers) == list(range(150))
    assert len({tuple(numbers) for numbers in epochs}) == 3
    assert Order(1, PARTS).numbers(0, 150) != epochs[0]


@pytest.mark.parametrize("cut", [1, 60, 149, 150, 299])
def test_any_stretch_can_be_told_at_once(cut: int) -> None:
    whole = Order(0, PARTS).numbers(0, 400)
    assert Order(0, PARTS).numbers(cut, 400 - cut) == whole[cut:]
    assert Order(0, PARTS).numbers(0, cut) == whole[:cut]


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_what_one_sees(processes: int) -> None:
    """Each step's batch of 12 in equal parts, as the loop deals them out."""
    whole, share = Order(0, PARTS).numbers(0, 156)[:150], 12 // processes
    seen = []
    for rank in range(processes):
        order = Order(0, PARTS)
        seen.append([n for step in range(13) for n in order.numbers(step * 12 + rank * share, share)])
    dealt = [seen[rank][step * share + i] for step in range(13) for rank in range(processes) for i in range(share)]
    assert dealt[:150] == whole
    halves = [set(numbers[: 12 * share]) for numbers in seen]
    assert sum(map(len, halves)) == len(set.union(*halves)) == 144


def test_a_window_of_shards_is_left_before_the_next_is_read() -> None:
    for epoch in range(3):
        shards = [PARTS[number] for number in Order(0, PARTS).numbers(epoch * 150, 150)]
        spans = {shard: (shards.index(shard), 149 - shards[::-1].index(shard)) for shard in set(shards)}
        for position in range(150):
            assert sum(first <= position <= last for first, last in spans.values()) <= WINDOW
        # Within a window the samples mix: hardly any two neighbours are of one shard.
        assert sum(a == b for a, b in pairwise(shards)) < 50
