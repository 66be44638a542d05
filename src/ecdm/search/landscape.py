"""Where the good trials lie: over the first two searched numbers, and over several objectives."""

from __future__ import annotations

from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from optuna.trial import TrialState

from ecdm.search.canvas import (
    BEST,
    HOLLOW,
    TRIAL,
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
from ecdm.search.findings import Findings
from ecdm.search.labels import title


def landscape(found: Findings) -> Figure:
    """Every trial over the first two searched numbers, coloured by its value; over one number, the value itself.

    Nothing is drawn between the trials: a smooth ground would show more than was measured.
    """
    figure = sheet(6.4)
    panel = figure.subplots()
    if len(found.numeric) > 1:
        _plane(figure, panel, found)
    else:
        _line(panel, found)
    legend(figure, [panel])
    return figure


def _plane(figure: Figure, panel: Axes, found: Findings) -> None:
    keys = found.numeric[:2]
    x, y = map(applied_value, keys)
    shades, norm, cut = colours(found)
    pruned = [trial for trial in found.results if trial.state == TrialState.PRUNED]
    if pruned:
        scatter(panel, pruned, x, y, label="pruned", zorder=2, **HOLLOW)
    values = [trial.values[0] for trial in found.allowed]
    drawn = scatter(panel, found.allowed, x, y, c=values, cmap=shades, norm=norm, s=140, zorder=4, label="complete")
    drawn.set(edgecolors="#333333", linewidths=0.6)
    marks(panel, found, x, y)
    colour_bar(figure, panel, found, drawn, cut)
    key_axis(found, panel, "x", keys[0])
    key_axis(found, panel, "y", keys[1])
    others = [title(key) for key in found.keys if key not in keys]
    more = f" ({', '.join(others)} vary too)" if others else ""
    panel.set_title(f"{found.names[0]} over {title(keys[0])} and {title(keys[1])}{more}")


def _line(panel: Axes, found: Findings) -> None:
    x, y = applied_value(found.numeric[0]), objective()
    noise_band(panel, found)
    scatter(panel, found.allowed, x, y, c=TRIAL, s=60, zorder=4, label="complete")
    marks(panel, found, x, y)
    key_axis(found, panel, "x", found.numeric[0])
    value_axis(found, panel.yaxis)
    panel.set_title(f"{found.names[0]} over {title(found.numeric[0])}")


def pareto(found: Findings) -> Figure:
    """The first objective against each other one, with the front of all objectives."""
    others = range(1, len(found.names))
    figure = sheet(6.0 * len(others))
    panels = figure.subplots(len(others), 1, squeeze=False)[:, 0]
    for place, panel in zip(others, panels, strict=True):
        x, y = objective(place), objective()
        dominated = [trial for trial in found.allowed if trial not in found.front]
        if dominated:
            scatter(panel, dominated, x, y, c=TRIAL, s=48, alpha=0.7, zorder=3, label="not on the front")
        scatter(panel, found.front, x, y, c=BEST, s=64, zorder=4, label="Pareto front")
        if len(others) == 1:
            _stairs(panel, found)
        marks(panel, found, x, y)
        value_axis(found, panel.xaxis, place)
        value_axis(found, panel.yaxis)
        panel.set_title(f"{found.names[0]} against {found.names[place]}")
    legend(figure, list(panels))
    return figure


def _stairs(panel: Axes, found: Findings) -> None:
    """The border of what some trial reaches or beats; with more objectives it has no such border in a plane."""
    points = np.array(sorted((trial.values[1], trial.values[0]) for trial in found.front))
    # A step goes over the corner that both neighbours reach.
    way: Literal["pre", "post"] = "pre" if found.higher[1] else "post"
    panel.step(points[:, 0], points[:, 1], where=way, color=BEST, linewidth=1.3, alpha=0.6, zorder=2)
