"""Values over each searched parameter, alone and together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from optuna.trial import FrozenTrial

from ecdm.search.canvas import (
    BEST,
    PAPER,
    ROUND,
    TRIAL,
    Place,
    applied_value,
    colour_bar,
    colours,
    key_axis,
    legend,
    marks,
    noise_band,
    objective,
    scatter,
    sheet,
    value_axis,
)
from ecdm.search.findings import Findings, slot_of
from ecdm.search.labels import title
from ecdm.search.space import applied

COLUMNS = 3
# How far the marks of one category spread, so that they do not hide each other.
SPREAD, GOLDEN = 0.36, 0.618034


def slices(found: Findings) -> Figure:
    """The first objective over each parameter in turn, whatever the others are."""
    count = len(found.keys)
    columns = min(count, COLUMNS)
    rows = -(-count // columns)
    figure = sheet(3.6 * rows + 1.0)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for panel, key in zip(panels.flat, found.keys, strict=False):
        _slice(panel, found, key)
    for panel in panels.flat[count:]:
        panel.set_axis_off()
    for panel in panels[:, 0]:
        value_axis(found, panel.yaxis)
    figure.suptitle(f"{found.names[0]} over each parameter", x=0.01, ha="left", weight="bold", size=12.5)
    legend(figure, list(panels.flat)[:count])
    return figure


def _slice(panel: Axes, found: Findings, key: str) -> None:
    x, y = _place(found, key), objective()
    noise_band(panel, found)
    scatter(panel, found.allowed, x, y, c=TRIAL, s=48, alpha=0.75, zorder=4, label="complete")
    marks(panel, found, x, y)
    if key in found.numeric:
        key_axis(found, panel, "x", key)
    else:
        names = _choices(found, key)
        panel.set_xticks(range(len(names)), names)
        panel.set_xlim(-0.6, len(names) - 0.4)
        panel.set_xlabel(title(key))


def _place(found: Findings, key: str) -> Place:
    if key in found.numeric:
        return applied_value(key)
    names = _choices(found, key)
    return lambda trial: names.index(trial.params[key]) + SPREAD * (slot_of(trial) * GOLDEN % 1 - 0.5)


def _choices(found: Findings, key: str) -> list[str]:
    """Categories in their order in the space."""
    return list(dict.fromkeys(name for trial in found.results for name in trial.distributions[key].choices))  # type: ignore[attr-defined]


@dataclass(frozen=True)
class _Scale:
    """A vertical axis: its title, where each trial crosses it in [0, 1], and its ticks with their texts."""

    title: str
    places: NDArray[np.float64]
    ticks: list[tuple[float, str]]


def parallel(found: Findings) -> Figure:
    """Each complete trial as a line over all parameters and the first objective, the best ones on top."""
    figure = sheet(5.6)
    panel = figure.subplots()
    sign = 1 if found.higher[0] else -1
    trials = sorted(found.complete, key=lambda trial: (sign * trial.values[0], -slot_of(trial)))
    scales = [_key_scale(found, key, trials) for key in found.keys]
    values = np.array([trial.values[0] for trial in trials])
    scales.append(_scale(found.names[0], values, "{:.4g}"))
    shades, norm, cut = colours(found)
    for row, trial in enumerate(trials):
        places = [scale.places[row] for scale in scales]
        panel.plot(places, color=shades(norm(trial.values[0])), linewidth=1.5, alpha=0.75, zorder=2)
        for chosen, colour, label in ((found.paper, PAPER, "paper's values"), (found.best, BEST, "best trial")):
            if trial is chosen:
                panel.plot(places, color=colour, linewidth=3.0, label=label, zorder=3)
    _scales(panel, scales)
    colour_bar(figure, panel, found, ScalarMappable(norm, shades), cut)
    panel.set_title("Complete trials over all parameters")
    legend(figure, [panel])
    return figure


def _key_scale(found: Findings, key: str, trials: Sequence[FrozenTrial]) -> _Scale:
    if key not in found.numeric:
        names = _choices(found, key)
        top = max(len(names) - 1, 1)
        places = np.array([names.index(trial.params[key]) / top for trial in trials])
        return _Scale(title(key), places, [(i / top, name) for i, name in enumerate(names)])
    values = np.array([applied(trial.params)[key] for trial in trials], dtype=np.float64)
    return _scale(title(key), values, "{:g}", found.logarithmic(key))


def _scale(name: str, values: NDArray[np.float64], form: str, logarithmic: bool = False) -> _Scale:
    """A numeric axis from the smallest to the largest value."""
    spread = np.log10(values) if logarithmic else values
    low, high = float(spread.min()), float(spread.max())
    if low == high:
        return _Scale(name, np.full(len(values), 0.5), [(0.5, form.format(values[0]))])
    if logarithmic:
        rounds = [
            e + np.log10(m) for e in range(int(np.floor(low)), int(np.ceil(high)) + 1) for m in _steps(high - low)
        ]
        ticks = [(float(tick), form.format(float(f"{10**tick:.3g}"))) for tick in rounds]
    else:
        ticks = [(float(tick), form.format(tick)) for tick in MaxNLocator(6, steps=ROUND).tick_values(low, high)]
    inside = [((tick - low) / (high - low), text) for tick, text in ticks if low <= tick <= high]
    return _Scale(name, (spread - low) / (high - low), inside)


def _steps(decades: float) -> tuple[int, ...]:
    return (1,) if decades > 2 else (1, 2, 5)


def _scales(panel: Axes, scales: Sequence[_Scale]) -> None:
    """The vertical axes with their ticks, and their titles below."""
    paper = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.0}
    for at, scale in enumerate(scales):
        panel.axvline(at, color="#555555", linewidth=1.0, zorder=4)
        for place, text in scale.ticks:
            panel.plot([at - 0.012, at + 0.012], [place, place], color="#555555", linewidth=1.0, zorder=4)
            panel.text(at + 0.025, place, text, fontsize=9.5, va="center", bbox=paper, zorder=5)
    panel.set_xticks(range(len(scales)), [scale.title for scale in scales])
    panel.set(xlim=(-0.1, len(scales) - 1 + 0.28), ylim=(-0.05, 1.05), yticks=[])
    panel.grid(False)
    panel.spines[["left", "bottom"]].set_visible(False)
    panel.tick_params(axis="x", length=0)
