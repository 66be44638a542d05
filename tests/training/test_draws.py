"""The randomness of training: a function of its key alone, with the stated distributions."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from ecdm.training.draws import Draw, draw, sample_order

SHAPES = ((4, 4, 4), (32, 32))


def one(seed: int = 0, sample: int = 7, step: int = 3, dropout: float = 0.1) -> Draw:
    return draw(seed, sample, step, *SHAPES, 1000, dropout)


def equal(a: Draw, b: Draw) -> bool:
    tensors = [torch.equal(x, y) for x, y in ((a.eps, b.eps), (a.posterior, b.posterior), (a.mask, b.mask))]
    return all(tensors) and (a.t, a.caption, a.keep_text) == (b.t, b.caption, b.keep_text)


def test_a_draw_is_a_function_of_its_key() -> None:
    first = one()
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    one(step=4)
    assert equal(one(), first)


def test_the_global_generators_are_left_alone() -> None:
    states = torch.get_rng_state(), np.random.get_state(legacy=False), random.getstate()
    one()
    sample_order(0, 10, 0, 30)
    assert torch.equal(torch.get_rng_state(), states[0])
    after: Any = np.random.get_state(legacy=False)
    assert np.array_equal(after["state"]["key"], states[1]["state"]["key"])
    assert random.getstate() == states[2]


@pytest.mark.parametrize("key", [(1, 7, 3), (0, 8, 3), (0, 7, 4), (0, 73, 0), (0, 3, 7)])
def test_each_part_of_the_key_changes_everything(key: tuple[int, int, int]) -> None:
    first, other = one(), one(*key)
    assert not torch.equal(first.eps, other.eps)
    assert not torch.equal(first.posterior, other.posterior)
    assert not torch.equal(first.mask, other.mask)
    assert (first.t, first.caption) != (other.t, other.caption)


def test_noise_and_posterior_are_independent() -> None:
    found = one()
    both = torch.stack([found.eps.flatten(), found.posterior.flatten()])
    assert abs(float(torch.corrcoef(both)[0, 1])) < 0.5


def test_dropout_changes_the_text_alone() -> None:
    kept, dropped = one(dropout=0.0), one(dropout=1.0)
    assert kept.keep_text
    assert not dropped.keep_text
    assert torch.equal(kept.eps, dropped.eps)
    assert torch.equal(kept.mask, dropped.mask)
    assert (kept.t, kept.caption) == (dropped.t, dropped.caption)


def test_draws_have_the_stated_distributions() -> None:
    """Bounds of five standard errors over 600 draws."""
    draws = [one(step=i) for i in range(600)]
    t = np.array([d.t for d in draws])
    assert 0 <= t.min() < 20
    assert 980 < t.max() <= 999
    assert abs(t.mean() - 499.5) < 5 * 288.7 / 600**0.5
    captions = np.array([d.caption for d in draws])
    assert 0 <= captions.min() <= captions.max() < 1
    assert abs(captions.mean() - 0.5) < 5 * 0.289 / 600**0.5
    assert abs(np.mean([not d.keep_text for d in draws]) - 0.1) < 5 * (0.09 / 600) ** 0.5
    shares = np.array([float(d.mask.mean()) for d in draws])
    assert 0.1 <= shares.min() < 0.15
    assert 0.55 < shares.max() <= 0.6
    assert abs(shares.mean() - 0.35) < 5 * 0.144 / 600**0.5 + 0.02
    eps = torch.stack([d.eps for d in draws])
    assert abs(float(eps.mean())) < 5 / eps.numel() ** 0.5
    assert float(eps.std()) == pytest.approx(1, abs=0.02)
    assert set(torch.cat([d.mask for d in draws]).unique().tolist()) == {0.0, 1.0}
    assert draws[0].mask.shape == (1, 32, 32)


def test_an_epoch_is_a_permutation() -> None:
    order = sample_order(3, 10, 0, 40)
    epochs = [order[i : i + 10] for i in range(0, 40, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


@pytest.mark.parametrize("cut", [1, 7, 10, 13, 30])
def test_the_order_goes_on_seamlessly(cut: int) -> None:
    whole = sample_order(3, 10, 0, 40)
    assert sample_order(3, 10, 0, cut) + sample_order(3, 10, cut, 40 - cut) == whole


def test_the_seed_decides_the_order() -> None:
    assert sample_order(3, 10, 0, 10) != sample_order(4, 10, 0, 10)
    assert sample_order(3, 1, 5, 3) == [0, 0, 0]
