"""The description of a search in MLflow's UI, and the view that compares its trials there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from optuna import Study
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from ecdm.reporting.tables import Table
from ecdm.search.findings import Findings, Studies, slot_of
from ecdm.search.labels import REPEATED
from ecdm.search.space import applied
from ecdm.search.storage import hidden
from ecdm.search.verdict import verdict
from ecdm.tuning.mirror_trial import counts, objectives, trial_name

# Rows of a Pareto front that the description shows; all of them are among the runs.
SHOWN = 12


def view_key(study: str) -> str:
    """The view of the UI that compares the trials of a search."""
    return f"search-{study}"


def view(search: Study) -> dict[str, str]:
    """Tag of the experiment that holds this view: its trials, the best first, with what tells them apart."""
    names = objectives(search)
    metrics = [f"metrics.`{name}`" for name in (*names, "peak_memory_gib", "seconds")]
    params = [f"params.`{name}`" for name in (*search.user_attrs.get("paper", {}), "seed")]
    state = {
        "searchFilter": f"tags.stage = 'trial' AND tags.study = '{search.study_name}'",
        "orderByKey": metrics[0],
        "orderByAsc": search.directions[0] == StudyDirection.MINIMIZE,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "selectedColumns": ["tags.`state`", "tags.`phase`", *params, *metrics, "tags.`worker`"],
    }
    return {f"mlflow.sharedViewState.{view_key(search.study_name)}": json.dumps(state, separators=(",", ":"))}


def note(studies: Studies, seeds: Mapping[str, float], first: str | None, storage: str | None, link: str) -> str:
    """A search in Markdown: its answer, what is searched and judged by, how far it is, where to look further.

    seeds: numbers of repeated values as `repeats` names them. first: the artifact to open first. storage: address
    of the studies, shown without its password. link: address of the trials' comparison.
    """
    where = hidden(storage) if storage else "STORAGE"
    told = "" if storage else ", with STORAGE as `tune.storage` in params.yaml or `$ECDM_TUNE_STORAGE` says"
    search = studies.search
    parts = [
        # The page folds all but the first lines away.
        f"**{verdict(studies).sentence}**",
        f"Search `{search.study_name}`, judged on validation images by {_judged(search)}.",
        _best(Findings(studies)),
        _noise(search, seeds),
        _progress(search),
        Table(("searched", "over"), _space(search), left=(0, 1)).markdown(),
        f"Open first: `{first}` among the artifacts." if first else "",
        f"[All trials compared]({link})",
        f"The studies themselves: `optuna-dashboard {where}`{told}.",
    ]
    return "\n\n".join(part for part in parts if part)


def _judged(search: Study) -> str:
    words = {StudyDirection.MINIMIZE: "smaller is better"}
    pairs = zip(objectives(search), search.directions, strict=True)
    return ", ".join(f"`{name}` ({words.get(direction, 'larger is better')})" for name, direction in pairs)


def _space(search: Study) -> tuple[tuple[str, ...], ...]:
    space = search.user_attrs.get("definition", {}).get("space", {})
    return tuple((f"`{name}`", _over(value)) for name, value in space.items() if value is not None)


def _over(value: Any) -> str:
    if not isinstance(value, Mapping):
        return ", ".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
    extra = [f"in steps of {value['step']:g}"] if value.get("step") else []
    extra += [f"{value['scale']} scale"] if value.get("scale") else []
    return ", ".join([f"{value['low']:g} to {value['high']:g}", *extra])


def _progress(search: Study) -> str:
    found = counts(search)
    asked = search.user_attrs.get("slots", sum(found.values()) - found["failed"])
    text = f"Of {asked} trials asked for {found['complete']} are complete and {found['pruned']} pruned; "
    text += f"{found['running']} running, {found['waiting']} waiting."
    return text + (f" Attempts that failed and were made again: {found['failed']}." if found["failed"] else "")


def _best(found: Findings) -> str:
    if not found.allowed:
        return "No trial is complete yet."
    leaders = found.front if found.several else [trial for trial in (found.best,) if trial is not None]
    chosen = {trial.number: trial for trial in (found.paper, *leaders[:SHOWN]) if trial is not None}
    rows = [_row(found, trial) for trial in chosen.values()]
    return Table(("trial", *found.names, *found.keys), tuple(rows)).markdown()


def _row(found: Findings, trial: FrozenTrial) -> tuple[str, ...]:
    used = applied(trial.params)
    kind = "the paper's values" if slot_of(trial) == 0 else ("Pareto front" if found.several else "best")
    values = [f"{value:.5g}" for value in trial.values]
    return (f"{kind} ({trial_name(found.search, trial)})", *values, *(str(used.get(key, "")) for key in found.keys))


def _noise(search: Study, seeds: Mapping[str, float]) -> str:
    rows = []
    for kind, title in REPEATED.items():
        for name in objectives(search):
            found = [seeds.get(f"{kind}/{name}/{part}") for part in ("seeds", "mean", "sd")]
            if None not in found:
                rows.append((title, name, *(f"{value:.4g}" for value in found if value is not None)))
    return (
        Table(("repeated", "objective", "seeds", "mean", "standard deviation"), tuple(rows)).markdown() if rows else ""
    )
