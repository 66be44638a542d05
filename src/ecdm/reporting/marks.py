"""How numbers are printed, ranked among variants and judged against baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ecdm.numerics.statistics import Interval
from ecdm.reporting.labels import Metric, bucket_title, model_title
from ecdm.reporting.summary import Key

DECIMALS = 4
BETTER, WORSE, OPEN = "better", "worse", "open"
SIGNS = {BETTER: "▲", WORSE: "▼"}


def number(value: float) -> str:
    """A mean as tables print it."""
    return f"{round(value, DECIMALS) + 0.0:.{DECIMALS}f}"  # without a minus before zero


def signed(metric: Metric, value: float) -> str:
    """A difference of a metric as tables print it."""
    return f"{round(value, metric.decimals) + 0.0:+.{metric.decimals}f}"


def bounds(metric: Metric, found: Interval) -> str:
    """The interval of a difference in brackets; where it excludes 0, an end that rounds to 0 keeps its sign."""
    if found.excludes_zero:
        return f"[{found.low:+.{metric.decimals}f}, {found.high:+.{metric.decimals}f}]"
    return f"[{signed(metric, found.low)}, {signed(metric, found.high)}]"


def ranks(values: Sequence[float], higher: bool) -> list[int]:
    """0 for the best, 1 for the second and so on; equal as printed, equal in rank; -1 where all are equal."""
    printed = [float(number(value)) for value in values]
    order = sorted(set(printed), reverse=higher)
    return [order.index(value) if len(order) > 1 else -1 for value in printed]


def verdict(metric: Metric, difference: Interval) -> str:
    """`better` when the interval lies on the better side of 0, `worse` on the other, `open` when it holds 0."""
    if not difference.excludes_zero:
        return OPEN
    return BETTER if (difference.low > 0) == metric.higher else WORSE


@dataclass(frozen=True)
class Count:
    """How many metrics of a bucket are better, worse and open."""

    better: int
    worse: int
    open: int


def verdict_counts(
    deltas: Mapping[Key, Interval],
    buckets: Sequence[str],
    variants: Sequence[str],
    metrics: Sequence[Metric],
    pasted: bool = True,
) -> list[tuple[str, list[tuple[str, Count]]]]:
    """Per variant, its title and for each bucket its title with the counts, pasted or raw outputs against baseline."""
    table = []
    for name in variants:
        counts = []
        for bucket in buckets:
            found = [verdict(metric, deltas[name, bucket, metric.name, pasted]) for metric in metrics]
            counts.append((bucket_title(bucket), Count(found.count(BETTER), found.count(WORSE), found.count(OPEN))))
        table.append((model_title(name), counts))
    return table
