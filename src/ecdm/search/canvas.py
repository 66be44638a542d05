"""What the figures of a search share: axes of searched keys, the marks of paper and best, the band of noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter
from optuna.trial import FrozenTrial

from ecdm.drawing import DPI, LEGEND, PLAIN, WIDTH
from ecdm.search.findings import Findings, feasible, slot_of
from ecdm.search.labels import axis, title
from ecdm.search.space import applied

# Okabe and Ito's palette, as in the report.
PAPER, BEST, TRIAL, MUTED = "#222222", "#D55E00", "#0072B2", "#999999"
PAPER_LOOK: dict[str, Any] = {"marker": "X", "s": 100, "c": PAPER, "edgecolors": "white", "linewidths": 0.9}
BEST_LOOK: dict[str, Any] = {"marker": "o", "s": 330, "facecolors": "none", "edgecolors": BEST, "linewidths": 2.4}
HOLLOW: dict[str, Any] = {"marker": "o", "s": 42, "facecolors": "none", "edgecolors": MUTED, "linewidths": 1.2}
CROSS: dict[str, Any] = {"marker": "x", "s": 46, "c": MUTED, "linewidths": 1.4}
# From so many values on a few very bad ones no longer stretch the colours.
ENOUGH, TAIL = 10, 10.0
# First digits of ticks.
ROUND = [1, 2, 2.5, 5, 10]
Place = Callable[[FrozenTrial], float]


def sheet(height: float) -> Figure:
    """An empty figure of the usual width; height in inches."""
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)  # type: ignore[union-attr, call-arg]
    return figure


def legend(figure: Figure, panels: Sequence[Axes], columns: int = 4) -> None:
    """One legend for all panels, each label once."""
    pairs = [pair for panel in panels for pair in zip(*panel.get_legend_handles_labels(), strict=True)]
    handles = {label: handle for handle, label in pairs}
    if handles:
        figure.legend(list(handles.values()), list(handles), **{**LEGEND, "ncols": columns, "handlelength": 1.6})


def applied_value(key: str) -> Place:
    """What a trial uses for a key."""
    return lambda trial: applied(trial.params)[key]


def objective(place: int = 0) -> Place:
    """A complete trial's value."""
    return lambda trial: trial.values[place]


def key_axis(found: Findings, panel: Axes, side: Literal["x", "y"], key: str) -> None:
    """Name and ticks of a searched number on one side of a panel."""
    line = panel.xaxis if side == "x" else panel.yaxis
    line.set_label_text(title(key))
    if not found.logarithmic(key):
        line.set_major_formatter(StrMethodFormatter(PLAIN))
        return
    panel.set(**{f"{side}scale": "log"})
    values = [applied(trial.params)[key] for trial in found.results]
    wide = max(values) > 50 * min(values)
    line.set_major_locator(LogLocator(subs=(1,) if wide else (1, 2, 5)))
    line.set_major_formatter(StrMethodFormatter("{x:g}"))
    line.set_minor_formatter(NullFormatter())


def value_axis(found: Findings, line: Axis, place: int = 0) -> None:
    """Name and ticks of an objective, with the side that is better."""
    better = "higher" if found.higher[place] else "lower"
    line.set_label_text(f"{axis(found.names[place])} ({better} is better)")
    line.set_major_locator(MaxNLocator(6, steps=ROUND))
    line.set_major_formatter(FuncFormatter(_short))


def _short(value: float, position: int) -> str:
    return f"{value:.2e}" if abs(value) >= 1e6 else f"{value:.5g}"


def colours(found: Findings) -> tuple[Colormap, Normalize, str]:
    """Colours of the first objective, yellow for the best; and at which end of their bar values are cut off."""
    values = np.array([trial.values[0] for trial in found.complete])
    low, high, cut = float(values.min()), float(values.max()), "neither"
    if len(values) >= ENOUGH and found.higher[0]:
        low, cut = float(np.percentile(values, TAIL)), "min"
    elif len(values) >= ENOUGH:
        high, cut = float(np.percentile(values, 100 - TAIL)), "max"
    if low == high:
        low, high = low - 0.5, high + 0.5
    return colormaps["viridis" if found.higher[0] else "viridis_r"], Normalize(low, high), cut


def colour_bar(figure: Figure, panel: Axes, found: Findings, drawn: Any, cut: str) -> None:
    """The scale of `colours` beside a panel."""
    bar = figure.colorbar(drawn, ax=panel, extend=cut, pad=0.015, aspect=32)
    value_axis(found, bar.ax.yaxis)
    bar.outline.set_visible(False)


def scatter(panel: Axes, trials: Sequence[FrozenTrial], x: Place, y: Place, **look: Any) -> Any:
    """One mark per trial."""
    return panel.scatter([x(trial) for trial in trials], [y(trial) for trial in trials], **look)


def marks(panel: Axes, found: Findings, x: Place, y: Place) -> None:
    """The paper's cross, the best trial's ring, and crosses for those that broke a constraint."""
    broken = [trial for trial in found.complete if not feasible(trial)]
    if broken:
        scatter(panel, broken, x, y, label="broke a constraint", zorder=3, **CROSS)
    if found.best is not None:
        label = f"best on {found.names[0]}" if found.several else "best trial"
        scatter(panel, [found.best], x, y, label=f"{label} ({slot_of(found.best)})", zorder=5, **BEST_LOOK)
    if found.paper is not None:
        scatter(panel, [found.paper], x, y, label="paper's values", zorder=6, **PAPER_LOOK)


def noise_band(panel: Axes, found: Findings) -> None:
    """The paper's value as a line across, with one standard deviation of noise to either side."""
    if found.paper is None:
        return
    middle, spread = found.paper.values[0], found.noise.sd()
    panel.axhline(middle, color=PAPER, linewidth=1.2, linestyle=(0, (5, 3)), zorder=1.5)
    if spread is not None:
        label = f"paper's value ± noise ({len(found.noise.values)} seeds)"
        panel.axhspan(middle - spread, middle + spread, color="#E69F00", alpha=0.22, linewidth=0, label=label, zorder=1)
