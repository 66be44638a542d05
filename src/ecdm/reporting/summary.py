"""Means, intervals and paired differences of the scores, and the files that hold them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecdm.numerics.statistics import Interval, bootstrap, paired_bootstrap
from ecdm.reporting.gates import Gates
from ecdm.reporting.records import csv_text
from ecdm.reporting.scores import Cell, Scores

HEADER = ("variant", "seed", "bucket", "metric", "pasted", "mean", "ci_low", "ci_high", "n")
ALL_SEEDS = "all"
DECIMALS = 6
# What a line of `dvc exp show` can hold.
BRIEF = ("psnr", "ssim", "l1", "lpips", "lpips_random")


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are drawn: resamples, level in (0, 1), seed of the draws."""

    resamples: int
    level: float
    seed: int

    def mean(self, values: NDArray[np.float64]) -> Interval:
        """Interval of the mean; every call makes the same draws, so no cell depends on the others."""
        return bootstrap(values, np.random.default_rng(self.seed), self.resamples, self.level)

    def difference(self, a: NDArray[np.float64], b: NDArray[np.float64]) -> Interval:
        """Interval of the mean of a - b, paired by seed and image."""
        return paired_bootstrap(a, b, np.random.default_rng(self.seed), self.resamples, self.level)


@dataclass(frozen=True)
class Row:
    """One line of a summary; `seed` is a number or `all`, `pooled` marks the line that tables show."""

    variant: str
    seed: str
    bucket: str
    metric: str
    pasted: bool
    interval: Interval
    pooled: bool


# variant, bucket, metric, pasted
Key = tuple[str, str, str, bool]


def summarise(scores: Scores, dataset: str, draws: Bootstrap) -> list[Row]:
    """Mean with interval of every cell of `dataset`: per seed, and over all seeds where there are several."""
    rows = []
    for cell in _cells(scores, dataset, (*scores.variants, *scores.references)):
        for seed, part, pooled in _parts(scores.seeds[cell.variant]):
            rows.append(_row(cell, seed, draws.mean(scores.values[cell][part]), pooled))
    return rows


def differences(scores: Scores, dataset: str, draws: Bootstrap, baseline: str = "baseline") -> list[Row]:
    """Mean of (variant - baseline) per image with interval, rows as in `summarise`; none without baseline."""
    if baseline not in scores.variants:
        return []
    rows = []
    for cell in _cells(scores, dataset, [name for name in scores.variants if name != baseline]):
        other = scores.values[cell._replace(variant=baseline)]
        for seed, part, pooled in _parts(scores.seeds[cell.variant]):
            interval = draws.difference(scores.values[cell][part], other[part])
            rows.append(_row(cell, seed, interval, pooled))
    return rows


def shown(rows: Iterable[Row]) -> dict[Key, Row]:
    """The rows that tables and figures show: over all seeds, or of the only one."""
    return {(row.variant, row.bucket, row.metric, row.pasted): row for row in rows if row.pooled}


def pooled(rows: Iterable[Row]) -> dict[Key, Interval]:
    """The intervals of the rows that are shown."""
    return {key: row.interval for key, row in shown(rows).items()}


def to_csv(rows: Iterable[Row]) -> str:
    """The rows as CSV text under `HEADER`, numbers with six decimals; the header alone without rows."""
    lines = []
    for row in rows:
        ends = (row.interval.mean, row.interval.low, row.interval.high)
        place = [row.variant, row.seed, row.bucket, row.metric, int(row.pasted)]
        lines.append([*place, *map(_decimal, ends), row.interval.n])
    return csv_text(HEADER, lines)


def metrics_json(
    rows: Iterable[Row], variants: Sequence[str], bucket: str, gates: Gates
) -> dict[str, dict[str, float]]:
    """Few numbers for DVC's tables: pasted means {variant: {metric: mean}} of one bucket, and how many gates failed.

    The metrics of Table 2 alone; all others, with their intervals, stand in the CSV files.
    """
    brief: dict[str, dict[str, float]] = {}
    for (variant, where, metric, pasted), interval in pooled(rows).items():
        if pasted and variant in variants and where == bucket and metric in BRIEF:
            brief.setdefault(variant, {})[metric] = interval.mean
    return {**brief, "gates": {"failed": len(gates.failed)}}


def _cells(scores: Scores, dataset: str, models: Sequence[str]) -> list[Cell]:
    """The dataset's cells, ordered by model, bucket, metric and pasted before raw."""
    place: Mapping[str, int] = {name: i for i, name in enumerate((*models, *scores.buckets, *scores.metrics))}
    chosen = [cell for cell in scores.values if cell.dataset == dataset and cell.variant in models]

    def order(cell: Cell) -> tuple[int, int, int, bool]:
        return place[cell.variant], place[cell.bucket], place[cell.metric], not cell.pasted

    return sorted(chosen, key=order)


def _parts(seeds: Sequence[int]) -> list[tuple[str, slice, bool]]:
    """Each seed, then all where there are several: label, rows of the matrix, whether tables show it."""
    single = [(str(seed), slice(i, i + 1), len(seeds) == 1) for i, seed in enumerate(seeds)]
    return single if len(seeds) == 1 else [*single, (ALL_SEEDS, slice(None), True)]


def _row(cell: Cell, seed: str, found: Interval, pooled: bool) -> Row:
    """Rounded as the files hold it, so that tables and figures show the files' numbers."""
    mean, low, high = (round(float(value), DECIMALS) for value in (found.mean, found.low, found.high))
    return Row(cell.variant, seed, cell.bucket, cell.metric, cell.pasted, Interval(mean, low, high, found.n), pooled)


def _decimal(value: float) -> str:
    """As many decimals as the rows have, without a minus before zero."""
    text = f"{value:.{DECIMALS}f}"
    return text.lstrip("-") if float(text) == 0 else text
