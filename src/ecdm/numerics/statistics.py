"""Bootstrap intervals of means, plain and paired, over images and over seeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Interval:
    """A mean with its bootstrap interval; `n` is the number of values that enter the mean."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside [low, high]."""
        return self.low > 0 or self.high < 0


def bootstrap(values: ArrayLike, rng: np.random.Generator, resamples: int = 1000, level: float = 0.95) -> Interval:
    """Percentile bootstrap interval of the mean (Efron and Tibshirani 1993).

    `values`: (images,) or (seeds, images). A matrix is resampled on both levels, seeds and images
    independently: one resample keeps the same images under each of its seeds, since all seeds saw the same
    images. With one seed this is the plain bootstrap over images. ValueError for fewer than two images,
    another shape, values that are not finite, no resamples, or a level outside (0, 1).
    """
    table = _table(values)
    if resamples < 1 or not 0 < level < 1:
        raise ValueError(f"bootstrap: expected resamples >= 1, 0 < level < 1, found {resamples} and {level}")
    seeds, images = table.shape
    seed_weights = _weights(rng, seeds, resamples)
    image_weights = _weights(rng, images, resamples)
    means = ((seed_weights @ table) * image_weights).sum(axis=1)
    low, high = np.quantile(means, ((1 - level) / 2, (1 + level) / 2))
    return Interval(float(table.mean()), float(low), float(high), table.size)


def paired_bootstrap(
    a: ArrayLike, b: ArrayLike, rng: np.random.Generator, resamples: int = 1000, level: float = 0.95
) -> Interval:
    """Bootstrap interval of mean(a - b), values paired by position; shapes and errors as in `bootstrap`."""
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"paired values: expected equal shapes, found {first.shape} and {second.shape}")
    return bootstrap(first - second, rng, resamples, level)


def _table(values: ArrayLike) -> NDArray[np.float64]:
    table = np.asarray(values, dtype=np.float64)
    if table.ndim not in (1, 2) or table.shape[-1] < 2 or not table.size:
        raise ValueError(f"values: expected (images,) or (seeds, images), images >= 2, found {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError("values: expected finite numbers, found NaN or infinity")
    return np.atleast_2d(table)


def _weights(rng: np.random.Generator, count: int, resamples: int) -> NDArray[np.float64]:
    """Shares (resamples, count) that drawing `count` items with replacement gives each item."""
    draws = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
    return draws / count
