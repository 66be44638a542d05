"""Optuna's interactive figures of a search, one per caption, with the values as they were applied."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import optuna
from optuna import Study, visualization
from optuna.trial import FrozenTrial, TrialState, create_trial
from plotly.graph_objects import Bar, Figure, Scatter

from ecdm.search.canvas import BEST, MUTED, PAPER
from ecdm.search.captions import CAPTIONS
from ecdm.search.findings import Findings, slot_of, tidy
from ecdm.search.labels import title
from ecdm.search.space import applied

HEIGHT = 460
# Pixels that a panel of a figure needs at least; a narrower page scrolls within the figure's frame.
PANEL = 240
BAND = "rgba(230, 159, 0, 0.22)"
# Optuna draws a front of two or three objectives.
PLANES = (2, 3)
STARTED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING)


@dataclass(frozen=True)
class Plot:
    """An interactive figure with its title, what to read from it, and the least width in pixels that it needs."""

    name: str
    title: str
    read: str
    figure: Figure
    width: int = 0


def plots(found: Findings) -> Iterator[Plot]:
    """The figures that can be drawn, in the order of their captions, and the timeline last."""
    study = tidy(found)
    for name, make in MAKERS.items():
        caption = CAPTIONS[name]
        if caption.drawable(found) and SHOWS.get(name, _always)(found):
            read = caption.read + EXTRA.get(name, "")
            yield Plot(name, caption.title, read, _framed(make(found, study)), _width(name, found))
    if found.search.get_trials(deepcopy=False, states=STARTED):
        read = "When each trial ran, those that were lost or failed included. Gaps are idle workers."
        yield Plot("timeline", "Timeline", read, _framed(visualization.plot_timeline(_timed(found.search))))


def _framed(figure: Figure) -> Figure:
    figure.update_layout(
        title=None, height=HEIGHT, width=None, autosize=True, margin={"l": 60, "r": 20, "t": 30, "b": 50}
    )
    figure.update_layout(legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"}, template="plotly_white")
    # Every decade, not every second and fifth between.
    decades = {"dtick": 1, "exponentformat": "e", "selector": {"type": "log"}}
    figure.update_xaxes(**decades).update_yaxes(**decades)
    return figure


def _width(name: str, found: Findings) -> int:
    parts = {"slices": len(found.keys), "parallel": (len(found.keys) + 1) / 2, "pareto": 2}
    return round(PANEL * parts.get(name, 0))


def _first(found: Findings) -> dict[str, Any]:
    """What Optuna has to be told to draw the first of several objectives, or the only one."""
    name = {"target_name": found.names[0]}
    return {**name, "target": lambda trial: trial.values[0]} if found.several else name


def _contour(found: Findings, study: Study) -> Figure:
    names = list(map(title, found.numeric[:2]))
    figure = visualization.plot_contour(study, params=names, **_first(found))
    if names != sorted(names):
        _turned(figure)
    _marked(figure, found)
    return figure


def _turned(figure: Figure) -> None:
    """Swap the axes, which Optuna sorts by name; the other pictures have λ across."""
    across, upward = figure.layout.xaxis.to_plotly_json(), figure.layout.yaxis.to_plotly_json()
    for trace in figure.data:
        trace.x, trace.y = trace.y, trace.x
        if trace.type == "contour":
            trace.z = trace.z.T
    figure.layout.xaxis, figure.layout.yaxis = upward, across


def _marked(figure: Figure, found: Findings) -> None:
    """The paper's values and the best ones in the plane of the first two numbers."""
    paper = {"symbol": "x", "size": 12, "color": PAPER, "line": {"color": "white", "width": 1.5}}
    ring = {"symbol": "circle-open", "size": 19, "color": BEST, "line": {"width": 3}}
    for trial, look, name in ((found.best, ring, "best trial"), (found.paper, paper, "paper's values")):
        if trial:
            x, y = ([applied(trial.params)[key]] for key in found.numeric[:2])
            figure.add_trace(Scatter(x=x, y=y, mode="markers", marker=look, name=name, showlegend=True))


def _banded(figure: Figure, found: Findings) -> Figure:
    """The paper's value as a line across, with one standard deviation of noise to either side."""
    if found.paper:
        middle, spread = found.paper.values[0], found.noise.sd()
        figure.add_hline(middle, line={"color": PAPER, "width": 1.2, "dash": "dash"})
        if spread is not None:
            figure.add_hrect(middle - spread, middle + spread, fillcolor=BAND, line_width=0, layer="below")
    return figure


def _spans_plane(found: Findings) -> bool:
    """Whether two numbers are searched and complete trials differ in both."""
    keys = found.numeric[:2]
    return len(keys) == 2 and all(len({applied(trial.params)[key] for trial in found.complete}) > 1 for key in keys)


def _pareto(found: Findings, study: Study) -> Figure:
    return visualization.plot_pareto_front(study, target_names=found.names)


def _history(found: Findings, study: Study) -> Figure:
    return _banded(visualization.plot_optimization_history(study, target_name=found.names[0]), found)


def _slices(found: Findings, study: Study) -> Figure:
    return _banded(visualization.plot_slice(study, params=list(map(title, found.keys)), **_first(found)), found)


def _importances(found: Findings, study: Study) -> Figure:
    # Optuna's own figure asks another question of several objectives than the table does.
    shares = dict(reversed(found.importances.items()))
    bars = Bar(x=list(shares.values()), y=list(map(title, shares)), orientation="h", texttemplate="%{x:.2f}")
    return Figure(bars, {"xaxis": {"range": [0, 1], "title": "Share"}})


def _parallel(found: Findings, study: Study) -> Figure:
    return visualization.plot_parallel_coordinate(study, **_first(found))


def _intermediate(found: Findings, study: Study) -> Figure:
    figure = visualization.plot_intermediate_values(study)
    dashed: dict[str, Any] = {"dash": "dash", "color": MUTED}
    looks = {slot_of(trial): dashed for trial in found.results if trial.state == TrialState.PRUNED}
    for trial, colour in ((found.best, BEST), (found.paper, PAPER)):
        if trial:
            looks[slot_of(trial)] = {"width": 4, "color": colour}
    # Made anew, since a trace that is changed in its figure looks for itself among all others.
    traces = [{**trace, "line": looks.get(int(trace["name"].removeprefix("Trial")), {})} for trace in _plain(figure)]
    return Figure(traces, figure.layout).update_layout(yaxis_title=found.names[0])


def _plain(figure: Figure) -> list[dict[str, Any]]:
    return figure.to_plotly_json()["data"]


def _always(found: Findings) -> bool:
    return True


MAKERS: dict[str, Callable[[Findings, Study], Figure]] = {
    "landscape": _contour,
    "pareto": _pareto,
    "history": _history,
    "slices": _slices,
    "importances": _importances,
    "parallel": _parallel,
    "intermediate": _intermediate,
}
SHOWS: dict[str, Callable[[Findings], bool]] = {
    "landscape": _spans_plane,
    "pareto": lambda found: len(found.names) in PLANES,
}
BANDED = " Dashed: the paper's value; shaded: its noise, one standard deviation over seeds."
EXTRA = {
    "landscape": " The colours between the dots are interpolated, not measured.",
    "pareto": " Red: the front.",
    "history": BANDED,
    "slices": BANDED,
    "intermediate": " Orange: the best trial; black: the paper's values; dashed: pruned.",
}


def _timed(search: Study) -> Study:
    """All attempts that were started, without what workers wrote to them beside their names."""
    study = optuna.create_study(study_name=search.study_name, directions=search.directions)
    for trial in search.get_trials(deepcopy=False, states=STARTED):
        study.add_trial(_bare(trial))
    return study


def _bare(trial: FrozenTrial) -> FrozenTrial:
    copy = create_trial(
        state=trial.state,
        values=trial.values,
        constraints=trial.constraints or None,
        user_attrs={"slot": slot_of(trial), "worker": trial.user_attrs.get("worker", "")},
    )
    copy.datetime_start, copy.datetime_complete = trial.datetime_start, trial.datetime_complete
    return copy
