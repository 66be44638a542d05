"""Which worker ran which trial, and when: for the tracking server, since times are no result."""

from __future__ import annotations

from datetime import datetime

from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import StrMethodFormatter
from optuna.trial import FrozenTrial, TrialState

from ecdm.drawing import LEGEND, PLAIN
from ecdm.search.canvas import BEST, MUTED, TRIAL, sheet
from ecdm.search.findings import Findings

STATES = {
    TrialState.COMPLETE: ("complete", TRIAL),
    TrialState.PRUNED: ("pruned", MUTED),
    TrialState.FAIL: ("lost or failed", BEST),
    TrialState.RUNNING: ("running", "#009E73"),
}
# Rows with a name; more of them leave no room.
NAMED = 40
UNITS = ((5400.0, "Hours", 3600.0), (90.0, "Minutes", 60.0), (0.0, "Seconds", 1.0))


def begun(found: Findings) -> list[FrozenTrial]:
    """Every attempt of every study that was started, by its start."""
    studies = (found.studies.noise, found.search, found.studies.confirm)
    trials = [trial for study in studies if study for trial in study.get_trials(deepcopy=False)]
    started = [trial for trial in trials if trial.datetime_start and trial.state in STATES]
    return sorted(started, key=lambda trial: trial.datetime_start or datetime.min)


def timeline(found: Findings) -> Figure:
    """A row per worker, a bar per attempt, coloured by how it ended; needs one that `begun`."""
    trials = begun(found)
    workers = list(dict.fromkeys(_worker(trial) for trial in trials))
    zero = trials[0].datetime_start
    assert zero is not None
    end = max(time for trial in trials for time in (trial.datetime_start, trial.datetime_complete) if time)
    name, unit = next((name, unit) for least, name, unit in UNITS if (end - zero).total_seconds() >= least)
    figure = sheet(1.9 + 0.42 * min(len(workers), NAMED))
    panel = figure.subplots()
    for trial in trials:
        start = trial.datetime_start or zero
        bar = ((start - zero).total_seconds() / unit, ((trial.datetime_complete or end) - start).total_seconds() / unit)
        row = workers.index(_worker(trial))
        panel.broken_barh([bar], (row - 0.36, 0.72), color=STATES[trial.state][1], edgecolor="white", linewidth=0.8)
    panel.set_yticks(range(len(workers)), workers if len(workers) <= NAMED else [""] * len(workers))
    panel.invert_yaxis()
    panel.grid(False, axis="y")
    panel.set_xlabel(f"{name} since the first trial")
    panel.xaxis.set_major_formatter(StrMethodFormatter(PLAIN))
    panel.set_title("Workers and their trials, seeds included")
    seen = {trial.state for trial in trials}
    handles = [Patch(color=colour, label=label) for state, (label, colour) in STATES.items() if state in seen]
    figure.legend(handles=handles, **{**LEGEND, "handlelength": 1.2})
    return figure


def _worker(trial: FrozenTrial) -> str:
    return str(trial.user_attrs.get("worker", "unknown"))
