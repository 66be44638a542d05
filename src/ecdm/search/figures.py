"""The pictures of a search: equal trials give equal bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.trial import TrialState

from ecdm.data.files import fresh_entries
from ecdm.drawing import drawing, png
from ecdm.search.canvas import (
    BEST,
    MUTED,
    PAPER,
    TRIAL,
    legend,
    marks,
    noise_band,
    objective,
    scatter,
    sheet,
    value_axis,
)
from ecdm.search.captions import CAPTIONS, drawable
from ecdm.search.findings import Findings, Studies, slot_of
from ecdm.search.labels import title
from ecdm.search.landscape import landscape, pareto
from ecdm.search.spread import parallel, slices


def write_figures(studies: Studies, folder: Path) -> list[Path]:
    """Write the pictures below `folder`, each replaced as a whole; returns their paths.

    landscape, slices, importances, parallel; with one objective history and intermediate, with several pareto. One
    whose trials are too few to draw it is left out, and removed where an earlier search left it.
    """
    pictures = draw(Findings(studies))
    with fresh_entries(folder) as beside:
        for name, content in pictures.items():
            (beside / name).write_bytes(content)
    for caption in CAPTIONS.values():
        if caption.file not in pictures:
            (folder / caption.file).unlink(missing_ok=True)
    return [folder / name for name in pictures]


def draw(found: Findings) -> dict[str, bytes]:
    """Every picture that can be drawn, by file name."""
    pictures = {}
    for caption in drawable(found):
        with drawing():
            pictures[caption.file] = png(DRAWN[caption.name](found))
    return pictures


def history(found: Findings) -> Figure:
    """The value of each trial, the best until then, and the paper's value with its noise."""
    figure = sheet(5.2)
    panel = figure.subplots()
    noise_band(panel, found)
    scatter(panel, found.allowed, slot_of, objective(), c=TRIAL, s=48, alpha=0.8, zorder=4, label="complete")
    pick = np.maximum.accumulate if found.higher[0] else np.minimum.accumulate
    if found.allowed:
        best = pick([trial.values[0] for trial in found.allowed])
        places = [*map(slot_of, found.allowed), slot_of(found.results[-1])]
        panel.step(places, [*best, best[-1]], where="post", color=BEST, linewidth=2.0, label="best so far", zorder=3)
    pruned = [slot_of(trial) for trial in found.results if trial.state == TrialState.PRUNED]
    if pruned:
        # Their last values are of fewer steps, so only their places are shown.
        foot = panel.get_xaxis_transform()
        panel.plot(pruned, [0.015] * len(pruned), "|", color=MUTED, ms=9, mew=1.6, transform=foot, label="pruned")
    marks(panel, found, slot_of, objective())
    panel.set_xlabel("Trial")
    panel.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    value_axis(found, panel.yaxis)
    panel.set_title(f"{found.names[0]}, trial by trial")
    legend(figure, [panel], 3)
    return figure


def importances(found: Findings) -> Figure:
    """A bar per parameter, the most important on top."""
    shares = dict(reversed(found.importances.items()))
    figure = sheet(1.6 + 0.55 * len(shares))
    panel = figure.subplots()
    bars = panel.barh([title(key) for key in shares], list(shares.values()), color=TRIAL, height=0.62)
    panel.bar_label(bars, [f"{share:.2f}" for share in shares.values()], padding=5)
    panel.set_xlim(0, 1)
    panel.grid(False, axis="y")
    panel.tick_params(axis="y", length=0)
    panel.set_xlabel(f"Share, from {len(found.complete)} complete trials")
    panel.set_title("What matters for being among the best tenth")
    return figure


def intermediate(found: Findings) -> Figure:
    """The objective during training: complete trials whole, pruned ones dashed."""
    figure = sheet(5.6)
    panel = figure.subplots()
    for trial in found.results:
        steps = sorted(trial.intermediate_values.items())
        if not steps or trial is found.best or trial is found.paper:
            continue
        pruned = trial.state == TrialState.PRUNED
        look: dict[str, Any] = {"color": MUTED if pruned else TRIAL, "linestyle": (0, (4, 2)) if pruned else "-"}
        panel.plot(*zip(*steps, strict=True), **look, lw=1.2, alpha=0.6, label="pruned" if pruned else "complete")
        panel.plot(*steps[-1], "o", color=look["color"], markersize=4)
    _emphasised(panel, found)
    panel.set_xlabel("Training step")
    value_axis(found, panel.yaxis)
    panel.set_title(f"{found.names[0]} during training")
    legend(figure, [panel])
    return figure


def _emphasised(panel: Axes, found: Findings) -> None:
    """The curves of the best trial and of the paper's values."""
    for trial, colour, label in ((found.best, BEST, "best trial"), (found.paper, PAPER, "paper's values")):
        steps = sorted(trial.intermediate_values.items()) if trial else []
        if steps:
            panel.plot(*zip(*steps, strict=True), color=colour, linewidth=2.4, marker="o", markersize=5, label=label)


DRAWN: dict[str, Callable[[Findings], Figure]] = {
    "landscape": landscape,
    "pareto": pareto,
    "history": history,
    "slices": slices,
    "importances": importances,
    "parallel": parallel,
    "intermediate": intermediate,
}
