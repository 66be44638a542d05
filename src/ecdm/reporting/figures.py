"""Charts of the report: training curves and differences to baseline. One picture per input, to the byte."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from ecdm.drawing import DPI, LEGEND, PLAIN, WIDTH, drawing, save
from ecdm.numerics.statistics import Interval
from ecdm.reporting.histories import Histories, Run, Series, smoothed
from ecdm.reporting.labels import Metric, bucket_title, model_title
from ecdm.reporting.summary import Key

# Okabe and Ito's palette; dashes and markers tell the same apart without colour.
COLOURS = {"baseline": "#222222", "sail": "#0072B2", "acda": "#E69F00", "ours": "#D55E00"}
DASHES = {"baseline": "-", "sail": (0, (6, 2)), "acda": (0, (2, 1.2)), "ours": (0, (7, 2, 1.5, 2))}
MARKERS = {"baseline": "o", "sail": "s", "acda": "^", "ours": "D"}
OTHER = "#009E73"
PANELS = (
    ("loss_simple", "Denoising loss, L$_{simple}$", False),
    ("loss_soft", "Soft loss, L$_{soft}$", False),
    ("rms_text", "Text term of attention, RMS", True),
    ("rms_frequency", "Frequency term of attention, RMS", True),
)


def curves(histories: Histories, path: Path) -> None:
    """Draw the losses and the sizes of both attention terms: each seed faint, the smoothed mean over it."""
    with drawing():
        figure = Figure(figsize=(WIDTH, 7.4), dpi=DPI, layout="constrained")
        axes = figure.subplots(2, 2, sharex=True)
        axes[1, 1].sharey(axes[1, 0])
        for panel, (name, title, logarithmic) in zip(axes.flat, PANELS, strict=True):
            _curve_panel(panel, histories.get(name, {}), logarithmic)
            panel.set_title(title)
        for panel in axes[1]:
            panel.set_xlabel("Training step")
        lines = {
            label: line for panel in axes.flat for line, label in zip(*panel.get_legend_handles_labels(), strict=True)
        }
        if lines:
            figure.legend(list(lines.values()), list(lines), **LEGEND)
        save(figure, path)


def bars(deltas: Mapping[Key, Interval], buckets: Sequence[str], metrics: Sequence[Metric], path: Path) -> None:
    """Draw the pasted differences to baseline with their intervals, one panel per metric."""
    with drawing():
        rows = max(1, -(-len(metrics) // 2))
        figure = Figure(figsize=(WIDTH, 2.9 * rows + 0.9), dpi=DPI, layout="constrained")
        figure.get_layout_engine().set(hspace=0.06)  # type: ignore[union-attr, call-arg]
        axes = figure.subplots(rows, 2, squeeze=False)
        for panel, metric in zip(axes.flat, metrics, strict=False):
            _difference_panel(panel, deltas, buckets, metric)
        for panel in axes.flat[len(metrics) :]:
            panel.set_axis_off()
        figure.suptitle("Variant minus baseline, pasted outputs, with intervals")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        if handles:
            figure.legend(handles, labels, **LEGEND)
        if not deltas:
            figure.text(0.5, 0.5, "No differences: they need the baseline and another variant", ha="center")
        save(figure, path)


def _curve_panel(panel: Axes, runs: Mapping[Run, Series], logarithmic: bool) -> None:
    for variant in dict.fromkeys(run.variant for run in runs):
        several = [series for run, series in runs.items() if run.variant == variant]
        colour = COLOURS.get(variant, OTHER)
        for series in several:
            panel.plot(series.steps, series.values, color=colour, alpha=0.22, linewidth=0.9)
        line = smoothed(several)
        if line is not None:
            look: dict[str, Any] = {"color": colour, "linewidth": 2.0, "linestyle": DASHES.get(variant, "-")}
            panel.plot(line.steps, line.values, label=model_title(variant), **look)
    if not runs:
        panel.text(0.5, 0.5, "not recorded", transform=panel.transAxes, ha="center", color="#777777")
    elif logarithmic and any((series.values > 0).any() for series in runs.values()):
        panel.set_yscale("log", nonpositive="mask")
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter(StrMethodFormatter(PLAIN))
        panel.yaxis.set_minor_locator(NullLocator())


def _difference_panel(panel: Axes, deltas: Mapping[Key, Interval], buckets: Sequence[str], metric: Metric) -> None:
    """Grouped bars with whiskers from low to high end of the interval."""
    variants = list(dict.fromkeys(variant for variant, *_ in deltas))
    places = np.arange(len(buckets))
    width = 0.8 / max(len(variants), 1)
    for i, variant in enumerate(variants):
        found = [deltas[variant, bucket, metric.name, True] for bucket in buckets]
        x = places + (i - (len(variants) - 1) / 2) * width
        means = [interval.mean for interval in found]
        colour = COLOURS.get(variant, OTHER)
        panel.bar(x, means, 0.86 * width, color=colour, alpha=0.55, label=model_title(variant))
        low, high = ([getattr(interval, end) for interval in found] for end in ("low", "high"))
        panel.vlines(x, low, high, color="#222222", linewidth=1.3)
        panel.plot(x, means, MARKERS.get(variant, "o"), color=colour, mec="#222222", markersize=5)
    panel.axhline(0, color="#222222", linewidth=1.0)
    panel.grid(False, axis="x")
    panel.set_xticks(places, [bucket_title(bucket).replace(" strokes", "") for bucket in buckets])
    panel.tick_params(axis="x", length=0)
    panel.yaxis.set_major_formatter(StrMethodFormatter(PLAIN))
    panel.set_title(f"{metric.title}: {'above' if metric.higher else 'below'} 0 is better")
