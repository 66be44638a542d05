"""Bootstrap intervals against the normal theory and against loops over resamples."""

import math

import numpy as np
import pytest

from ecdm.numerics.statistics import Interval, bootstrap, paired_bootstrap

Z = 1.959964


def test_matches_the_normal_interval() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 2000)
    found = bootstrap(values, np.random.default_rng(1), resamples=4000)
    half = Z * values.std() / math.sqrt(len(values))
    assert found.mean == pytest.approx(values.mean(), rel=1e-12)
    assert found.low == pytest.approx(values.mean() - half, abs=0.06 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.06 * half)
    assert found.n == 2000


def test_level_widens_the_interval_as_the_normal_does() -> None:
    values = np.random.default_rng(0).normal(0.0, 1.0, 1000)
    wide = bootstrap(values, np.random.default_rng(1), resamples=4000, level=0.95)
    slim = bootstrap(values, np.random.default_rng(1), resamples=4000, level=0.6826895)
    assert (wide.high - wide.low) / (slim.high - slim.low) == pytest.approx(Z, rel=0.06)


def test_covers_the_true_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(400):
        found = bootstrap(rng.normal(1.0, 1.0, 60), rng, resamples=400)
        hits += found.low <= 1.0 <= found.high
    assert 0.90 <= hits / 400 <= 0.98


def test_two_levels_add_their_variances() -> None:
    """With value = seed effect + image effect the variance of the mean is the sum of both parts'."""
    rng = np.random.default_rng(3)
    seeds, images = rng.normal(0, 1, 40), rng.normal(0, 2, 100)
    table = seeds[:, None] + images[None, :]
    found = bootstrap(table, np.random.default_rng(4), resamples=6000)
    deviation = math.sqrt(seeds.var() / 40 + images.var() / 100)
    assert (found.high - found.low) / 2 == pytest.approx(Z * deviation, rel=0.05)
    assert found.n == 4000


def test_two_levels_equal_an_explicit_loop() -> None:
    table = np.random.default_rng(5).gamma(1.0, 1.0, (3, 8))
    found = bootstrap(table, np.random.default_rng(6), resamples=20000)
    rng = np.random.default_rng(7)
    means = [table[rng.integers(3, size=3)][:, rng.integers(8, size=8)].mean() for _ in range(20000)]
    low, high = np.quantile(means, (0.025, 0.975))
    width = high - low
    assert found.low == pytest.approx(low, abs=0.03 * width)
    assert found.high == pytest.approx(high, abs=0.03 * width)


def test_one_seed_is_the_plain_bootstrap() -> None:
    values = np.random.default_rng(8).normal(size=50)
    plain = bootstrap(values, np.random.default_rng(9))
    assert bootstrap(values[None], np.random.default_rng(9)) == plain


def test_pairing_removes_what_both_share() -> None:
    rng = np.random.default_rng(10)
    shared = rng.normal(0, 10, 200)
    a, b = shared + 0.5 + rng.normal(0, 0.5, 200), shared
    paired = paired_bootstrap(a, b, np.random.default_rng(11))
    assert paired.mean == pytest.approx((a - b).mean())
    assert paired.excludes_zero
    assert paired.low > 0
    assert paired == bootstrap(a - b, np.random.default_rng(11))
    # Unpaired, the same difference drowns.
    assert bootstrap(a, rng).low < bootstrap(b, rng).high


def test_same_generator_state_same_interval() -> None:
    values = np.arange(10.0)
    assert bootstrap(values, np.random.default_rng(0)) == bootstrap(values, np.random.default_rng(0))
    assert bootstrap(values, np.random.default_rng(0)) != bootstrap(values, np.random.default_rng(1))


@pytest.mark.parametrize(
    ("low", "high", "excludes"), [(0.1, 0.3, True), (-0.3, -0.1, True), (-0.1, 0.1, False), (0.0, 0.1, False)]
)
def test_excludes_zero(low: float, high: float, excludes: bool) -> None:
    assert Interval((low + high) / 2, low, high, 5).excludes_zero is excludes


def test_bad_input_is_refused() -> None:
    rng = np.random.default_rng(0)
    for values in (np.zeros(0), np.zeros(1), np.zeros((3, 1)), np.zeros((0, 4)), np.zeros((2, 2, 2)), 3.0):
        with pytest.raises(ValueError, match="values"):
            bootstrap(values, rng)
    with pytest.raises(ValueError, match="finite"):
        bootstrap([1.0, float("nan")], rng)
    with pytest.raises(ValueError, match=r"\(3,\) and \(2,\)"):
        paired_bootstrap([1.0, 2.0, 3.0], [1.0, 2.0], rng)
    with pytest.raises(ValueError, match="level"):
        bootstrap([1.0, 2.0], rng, level=1.0)
    with pytest.raises(ValueError, match="resamples"):
        bootstrap([1.0, 2.0], rng, resamples=0)
