"""The files of a search: its trials, seeds and best values. Equal trials give equal files, whoever ran them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState
from ruamel.yaml import YAML

from ecdm.data.files import fresh_entries
from ecdm.search.findings import BROKEN, Findings, Studies, feasible, slot_of
from ecdm.search.labels import cell, rounded
from ecdm.search.space import Values, applied
from ecdm.search.summary import summary_text
from ecdm.search.verdict import Verdict, judge

FILES = (
    "trials.csv",
    "intermediate.csv",
    "seeds.csv",
    "pareto.csv",
    "best.yaml",
    "summary.json",
    "summary.md",
)


def write_results(studies: Studies, folder: Path) -> list[Path]:
    """Write the files of `FILES` below `folder`, each replaced as a whole; returns their paths.

    Of a search that goes on, the part that is done. Left out, and removed where an earlier search left them:
    best.yaml without a complete trial that is allowed, pareto.csv with one objective, intermediate.csv with several.
    summary.md shows the pictures that `figures.write_figures` writes beside it.
    """
    found = Findings(studies)
    texts = _texts(found)
    with fresh_entries(folder) as beside:
        for name, text in texts.items():
            (beside / name).write_text(text, encoding="utf-8")
    for name in FILES:
        if name not in texts:
            (folder / name).unlink(missing_ok=True)
    return [folder / name for name in texts]


def _texts(found: Findings) -> dict[str, str]:
    judged = judge(found)
    head = ("slot", "origin", "state", *found.keys, *found.names)
    texts = {
        "trials.csv": _csv((*head, "last_step", "reason"), (_row(found, trial) for trial in found.results)),
        "seeds.csv": _csv(("values", "seed", *found.names), _seed_rows(found)),
        "summary.json": json.dumps(_summary(found, judged), indent=2, ensure_ascii=False) + "\n",
        "summary.md": summary_text(found, judged),
    }
    if found.several:
        texts["pareto.csv"] = _csv(head, (_row(found, trial)[: len(head)] for trial in found.front))
    else:
        texts["intermediate.csv"] = _csv(("slot", "step", found.names[0]), _step_rows(found))
    if found.best is not None:
        texts["best.yaml"] = _overlay(found, found.best)
    return {name: texts[name] for name in FILES if name in texts}


def _csv(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def _row(found: Findings, trial: FrozenTrial) -> list[str]:
    done = trial.state == TrialState.COMPLETE
    values = [cell(value) for value in trial.values] if done else [""] * len(found.names)
    used = applied(trial.params)
    place = [str(slot_of(trial)), str(trial.user_attrs["origin"]), trial.state.name.lower()]
    # What was measured of memory differs from run to run, so that it broke the bound is all that is told.
    reason = BROKEN if done and not feasible(trial) else trial.user_attrs.get("reason", "")
    last = str(max(trial.intermediate_values, default=""))
    return [*place, *(str(used.get(key, "")) for key in found.keys), *values, last, reason]


def _step_rows(found: Findings) -> list[list[str]]:
    return [
        [str(slot_of(trial)), str(step), cell(value)]
        for trial in found.results
        for step, value in sorted(trial.intermediate_values.items())
    ]


def _seed_rows(found: Findings) -> list[list[str]]:
    return [
        [name, str(seed), *map(cell, values)]
        for name, part in (("paper", found.noise), ("best", found.confirm))
        for seed, values in part.values.items()
    ]


def _overlay(found: Findings, trial: FrozenTrial) -> str:
    """The best values nested as params.yaml has them."""
    content: dict[str, Values] = {}
    for key, value in applied(trial.params).items():
        section, name = key.split(".")
        # A whole number as one writes it, so that accepting what is there already changes nothing.
        whole = isinstance(value, float) and value.is_integer()
        content.setdefault(section, {})[name] = int(value) if whole else value
    text = io.StringIO()
    writer = YAML()
    writer.default_flow_style = False
    writer.dump(content, text)
    rank = f"the best of {len(found.allowed)} on {found.names[0]}"
    if found.several:
        rank = f"of the {len(found.front)} on the Pareto front the best on {found.names[0]}, the first objective"
    return f"# Overlay of params.yaml: trial {slot_of(trial)} of the search {found.search.study_name}, {rank}\n" + (
        text.getvalue()
    )


def _summary(found: Findings, judged: Verdict) -> dict[str, Any]:
    states = [trial.state.name.lower() for trial in found.search.get_trials(deepcopy=False)]
    counts = {name: sum(trial.state.name.lower() == name for trial in found.results) for name in ("complete", "pruned")}
    return {
        "study": found.search.study_name,
        "objectives": found.names,
        "directions": [direction.name.lower() for direction in found.search.directions],
        "slots": found.slots,
        "counts": {**counts, "open": found.slots - len(found.results), "failed_attempts": states.count("fail")},
        "paper": {"params": found.noise.params, "values": _values(found, found.paper)},
        "best": _best(found),
        "noise": _seeds(found, 0),
        "confirm": _seeds(found, 1),
        "difference": _difference(judged),
        "verdict": judged.word,
        "sentence": judged.sentence,
        "importances": {key: round(share, 4) for key, share in found.importances.items()},
    }


def _values(found: Findings, trial: FrozenTrial | None) -> dict[str, float] | None:
    return dict(zip(found.names, map(rounded, trial.values), strict=True)) if trial else None


def _best(found: Findings) -> dict[str, Any] | None:
    if found.best is None:
        return None
    return {
        "slot": slot_of(found.best),
        "params": applied(found.best.params),
        "values": _values(found, found.best),
    }


def _seeds(found: Findings, part: int) -> dict[str, Any] | None:
    """Mean and deviation of each objective over the seeds."""
    repeats = (found.noise, found.confirm)[part]
    if not repeats.values:
        return None
    means = {name: _maybe(repeats.mean(place)) for place, name in enumerate(found.names)}
    deviations = {name: _maybe(repeats.sd(place)) for place, name in enumerate(found.names)}
    return {"params": repeats.params, "seeds": list(repeats.values), "mean": means, "sd": deviations}


def _maybe(value: float | None) -> float | None:
    return None if value is None else rounded(value)


def _difference(judged: Verdict) -> dict[str, float | int | None] | None:
    if judged.mean is None:
        return None
    ends = {name: _maybe(getattr(judged, name)) for name in ("mean", "low", "high")}
    return {**ends, "level": judged.level, "seeds": judged.seeds}
