"""A study and its trials as MLflow's runs name and label them."""

from __future__ import annotations

import hashlib
import json
from statistics import fmean, stdev

from optuna import Study
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from ecdm.lineage import commit_tags, flatten
from ecdm.search.findings import feasible, slot_of
from ecdm.search.labels import place_name
from ecdm.search.space import Values, applied, objective_name
from ecdm.search.storage import hidden

STATES = {
    TrialState.WAITING: "waiting",
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
RESULTS = (TrialState.COMPLETE, TrialState.PRUNED)
# Where a study that repeats values has them.
VALUES = {"noise": "paper", "confirm": "params"}
RECLAIMED = "reclaimed"


def phase(study: Study) -> str:
    """`search`, `noise` or `confirm`."""
    return str(study.user_attrs.get("phase", "search"))


def objectives(study: Study) -> list[str]:
    """Names of the objectives, in the order of the study's directions."""
    return [objective_name(goal) for goal in study.user_attrs["objectives"]]


def study_key(search: Study) -> str:
    """The key of a search's run: its name, and what was searched when it was made."""
    attrs = search.user_attrs
    # A study that was deleted and made again is another one, which its definition alone does not say.
    made = json.dumps([attrs.get("definition"), attrs.get("made")], sort_keys=True, default=str)
    return f"search/{search.study_name}/{hashlib.sha256(made.encode()).hexdigest()}"


def study_params(search: Study) -> dict[str, str]:
    """The definition under dotted names."""
    return {name: hidden(value) for name, value in flatten(search.user_attrs.get("definition", {})).items()}


def study_tags(search: Study) -> dict[str, str]:
    """What the run of a search is found by."""
    definition = search.user_attrs.get("definition", {})
    chosen = {name: str(definition[name]) for name in ("variant", "sampler", "pruner") if name in definition}
    return {"stage": "search", "study": search.study_name, "objective": ", ".join(objectives(search)), **chosen}


def trial_name(study: Study, trial: FrozenTrial) -> str:
    """As `place_name` says; a later attempt is `… again`."""
    place = slot_of(trial)
    name = place_name(phase(study), place, trial.params.get("seed"))
    earlier = (other for other in study.get_trials(deepcopy=False) if other.number < trial.number)
    return f"{name} again" if any(slot_of(other) == place for other in earlier) else name


def trial_params(study: Study, trial: FrozenTrial) -> Values:
    """The values that a trial uses, also those that its study repeats."""
    kind = phase(study)
    repeated = (study.user_attrs.get(VALUES[kind]) or {}) if kind in VALUES else {}
    return applied({**repeated, **trial.params})


def trial_tags(study: Study, trial: FrozenTrial) -> dict[str, str]:
    """Labels of a trial's run, without its state."""
    attrs = trial.user_attrs
    found = {"stage": "trial", "phase": phase(study), "slot": slot_of(trial), **commit_tags(attrs.get("commit"))}
    found |= {name: attrs.get(name) for name in ("origin", "worker", "reason")}
    return {name: hidden(str(value)) for name, value in found.items() if value is not None}


def status(trial: FrozenTrial) -> str:
    """How the run of a trial ended, in MLflow's words; a reclaimed worker is no failure of the trial."""
    if trial.state != TrialState.FAIL:
        return "FINISHED" if trial.state in RESULTS else "RUNNING"
    return "KILLED" if str(trial.user_attrs.get("reason", "")).startswith(RECLAIMED) else "FAILED"


def measured(trial: FrozenTrial) -> dict[str, float]:
    """Numbers that stand for the whole trial, beside its objectives."""
    found = {}
    if "peak_memory_gib" in trial.user_attrs:
        found["peak_memory_gib"] = float(trial.user_attrs["peak_memory_gib"])
    if trial.duration is not None:
        found["seconds"] = trial.duration.total_seconds()
    return found


def curve(study: Study, trial: FrozenTrial) -> dict[int, dict[str, float]]:
    """Objectives by step; the final values stand last, at a step of their own where they were not reported."""
    names = objectives(study)
    found = {step: {names[0]: value} for step, value in sorted(trial.intermediate_values.items())}
    final = dict(zip(names, trial.values or (), strict=False))
    last = max(found, default=-1)
    if final and found.get(last) != final:
        found[last + 1] = final
    return found


def best_so_far(search: Study) -> list[dict[str, float]]:
    """The best value of each objective after 0, 1, 2, … finished trials, in the order they ended."""
    found: list[dict[str, float]] = [{}]
    ended = [trial for trial in search.get_trials(deepcopy=False, states=RESULTS) if trial.datetime_complete]
    for trial in sorted(ended, key=lambda trial: (trial.datetime_complete, trial.number)):
        best = dict(found[-1])
        if trial.state == TrialState.COMPLETE and feasible(trial):
            for name, direction, value in zip(objectives(search), search.directions, trial.values, strict=True):
                choose = min if direction == StudyDirection.MINIMIZE else max
                best[f"best/{name}"] = choose(best.get(f"best/{name}", value), value)
        found.append(best)
    return found


def counts(search: Study) -> dict[str, int]:
    """How many trials are in each state."""
    states = [STATES[trial.state] for trial in search.get_trials(deepcopy=False)]
    return {name: states.count(name) for name in STATES.values()}


def repeats(study: Study) -> dict[str, float]:
    """Mean, standard deviation and number of the same values under several seeds, as `noise/psnr/50-60/mean`."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    found: dict[str, float] = {}
    for place, name in enumerate(objectives(study)):
        values = [trial.values[place] for trial in trials]
        if len(values) > 1:
            part = {"mean": fmean(values), "sd": stdev(values), "seeds": float(len(values))}
            found |= {f"{phase(study)}/{name}/{kind}": value for kind, value in part.items()}
    return found
