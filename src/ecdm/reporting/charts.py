"""Charts of the page as SVG: no fixed colours or fonts, so that they follow the page in light and dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape
from matplotlib.ticker import LogLocator, MaxNLocator
from numpy.typing import NDArray

from ecdm.numerics.statistics import Interval
from ecdm.reporting.histories import Run, Series, smoothed
from ecdm.reporting.labels import Metric, bucket_title, model_title
from ecdm.reporting.marks import bounds, signed
from ecdm.reporting.summary import Key

WIDTH, HEIGHT = 400, 236
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 10, 30
# Heights of a row and of the space between groups of rows.
ROW, GROUP = 17, 11
# Outlines around the origin, so that a marker tells its variant without colour. Their look is in style.css; all other
# variants share one.
SHAPES = {
    "baseline": '<circle r="4"/>',
    "sail": '<rect x="-3.6" y="-3.6" width="7.2" height="7.2"/>',
    "acda": '<path d="M0-4.8 4.6 3.6H-4.6Z"/>',
    "ours": '<path d="M0-5.2 5.2 0 0 5.2-5.2 0Z"/>',
}


@dataclass(frozen=True)
class Axis:
    """A value range mapped to pixels: linear, or logarithmic for positive values."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """Pixel of a value."""
        low, high, x = (np.log10(v) if self.logarithmic else v for v in (self.low, self.high, value))
        return float(self.start + (x - low) / (high - low) * (self.end - self.start))

    def ticks(self, count: int) -> list[float]:
        """Round values inside the range, about `count` of them."""
        locator = LogLocator(subs=(1, 2, 5)) if self.logarithmic else MaxNLocator(count, steps=[1, 2, 2.5, 5, 10])
        found = [float(v) for v in locator.tick_values(self.low, self.high) if self.low <= v <= self.high]
        return found[:: max(1, -(-len(found) // (count + 1)))]


def style_class(variant: str) -> str:
    """The class under which style.css colours a variant."""
    return f"v-{variant}" if variant in SHAPES else "v-other"


def marker(variant: str) -> Markup:
    """A variant's marker around the origin."""
    return Markup(f'<g class="mark {style_class(variant)}">{SHAPES.get(variant, SHAPES["baseline"])}</g>')


def marker_sample(variant: str) -> Markup:
    """A variant's marker for a legend."""
    return Markup(f'<svg viewBox="-7 -7 14 14" width="14" height="14" aria-hidden="true">{marker(variant)}</svg>')


def line_sample(variant: str) -> Markup:
    """A variant's line for a legend."""
    line = f'<polyline class="mean {style_class(variant)}" points="0,4 34,4"/>'
    return Markup(f'<svg viewBox="0 0 34 8" width="34" height="8" aria-hidden="true">{line}</svg>')


def curve_chart(runs: Mapping[Run, Series], label: str, logarithmic: bool) -> Markup:
    """Training curves of all runs: each seed faint, the smoothed mean over the seeds on top; steps go right."""
    values = np.concatenate([series.values for series in runs.values()])
    logarithmic = logarithmic and bool((values > 0).any())
    y = _axis(values[values > 0] if logarithmic else values, HEIGHT - BOTTOM, TOP, logarithmic)
    steps = np.concatenate([series.steps for series in runs.values()])
    x = Axis(0, float(max(steps.max(), 1)), LEFT, WIDTH - RIGHT)
    parts = [_horizontal(y, tick) for tick in y.ticks(5)]
    parts += [_text(x.place(tick), HEIGHT - 10, f"{tick:g}", "middle") for tick in x.ticks(6)]
    for variant in dict.fromkeys(run.variant for run in runs):
        several = [series for run, series in runs.items() if run.variant == variant]
        parts += [_line(x, y, series, f"raw {style_class(variant)}") for series in several]
        mean = smoothed(several)
        if mean is not None:
            parts.append(_line(x, y, mean, f"mean {style_class(variant)}"))
    return _svg(parts, HEIGHT, label)


def difference_chart(deltas: Mapping[Key, Interval], buckets: Sequence[str], metric: Metric, label: str) -> Markup:
    """Pasted differences to baseline of one metric with their intervals, grouped by bucket."""
    variants = list(dict.fromkeys(variant for variant, *_ in deltas))
    found = {key: interval for key, interval in deltas.items() if key[2] == metric.name and key[3]}
    ends = np.array([0.0, *(end for interval in found.values() for end in (interval.low, interval.high))])
    height = TOP + len(buckets) * (len(variants) * ROW + GROUP) + BOTTOM
    x = _axis(ends, LEFT + 30, WIDTH - RIGHT, False)
    parts = [_vertical(x, tick, height) for tick in x.ticks(4)]
    parts.append(f'<path class="zero" d="M{x.place(0):.1f} {TOP}V{height - BOTTOM}"/>')
    top = TOP + GROUP / 2
    for bucket in buckets:
        parts.append(_text(LEFT + 22, top + len(variants) * ROW / 2 + 4, bucket_title(bucket).replace(" strokes", "")))
        for variant in variants:
            interval = found[variant, bucket, metric.name, True]
            parts.append(_whisker(x, top + ROW / 2, variant, bucket, interval, metric))
            top += ROW
        top += GROUP
    return _svg(parts, height, label)


def _whisker(x: Axis, y: float, variant: str, bucket: str, found: Interval, metric: Metric) -> str:
    numbers = f"{signed(metric, found.mean)} {bounds(metric, found)}"
    title = escape(f"{model_title(variant)}, {bucket_title(bucket)}: {numbers}")
    low_x, high_x, at = (x.place(value) for value in (found.low, found.high, found.mean))
    return (
        f'<g class="{style_class(variant)}"><title>{title}</title>'
        f'<path class="whisker" d="M{low_x:.1f} {y:.1f}H{high_x:.1f}"/>'
        f'<g transform="translate({at:.1f} {y:.1f})">{marker(variant)}</g></g>'
    )


def _axis(values: NDArray[np.float64], start: float, end: float, logarithmic: bool) -> Axis:
    """The range of the values with a little air; a constant gets a range of its own size."""
    low, high = float(values.min()), float(values.max())
    if logarithmic:
        return Axis(low / 1.2, high * 1.2, start, end, True)
    air = 0.06 * (high - low) or 0.5 * abs(high) or 1.0
    return Axis(low - air, high + air, start, end)


def _line(x: Axis, y: Axis, series: Series, look: str) -> str:
    points = [(s, v) for s, v in zip(series.steps, series.values, strict=True) if not y.logarithmic or v > 0]
    path = " ".join(f"{x.place(s):.1f},{y.place(v):.1f}" for s, v in points)
    return f'<polyline class="{look}" points="{path}"/>'


def _horizontal(y: Axis, tick: float) -> str:
    at = y.place(tick)
    return f'<path class="grid" d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}"/>' + _text(LEFT - 6, at + 4, f"{tick:.4g}")


def _vertical(x: Axis, tick: float, height: int) -> str:
    at = x.place(tick)
    line = f'<path class="grid" d="M{at:.1f} {TOP}V{height - BOTTOM}"/>'
    return line + _text(at, height - BOTTOM + 16, f"{tick:.4g}".replace("-", "−"), "middle")


def _text(x: float, y: float, text: str, anchor: str = "end") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(parts: Sequence[str], height: int, label: str) -> Markup:
    inside = "".join(parts)
    return Markup(f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">{inside}</svg>')
