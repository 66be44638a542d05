"""A small project with the report of a search and its mirror in MLflow; nothing is trained."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from mirror_case import runs_of
from search_case import PAPER

from ecdm.mlflow_run import MLflowTracker
from ecdm.search.figures import write_figures
from ecdm.search.findings import Studies, slot_of
from ecdm.search.page import mirror_files
from ecdm.search.plan import phases
from ecdm.search.results import write_results
from ecdm.search.space import applied
from ecdm.tracking import PICTURES, Store
from ecdm.tuning.mirror import backfill

SETTINGS = "sail:\n  lambda: 0.1\nacda:\n  radius: 4\n"
LAST = 1000
SIDE, COUNT = 16, 4


def search_report(root: Path, studies: Studies) -> None:
    """Write params.yaml and reports/search below `root`."""
    (root / "params.yaml").write_text(SETTINGS, encoding="utf-8")
    write_results(studies, root / "reports" / "search")
    write_figures(studies, root / "reports" / "search")


def mirrored_search(root: Path, studies: Studies) -> Store:
    """`search_report` and the project's own mlflow.db, in which every complete trial has its pictures."""
    search_report(root, studies)
    backfill(root, phases(studies), lambda: mirror_files(studies))
    store = Store.connect(root)
    for run in runs_of(store).values():
        if run.data.tags.get("state") == "complete" and run.data.tags["phase"] == "search":
            tracker = MLflowTracker(store.client, run, strict=True)
            for step in (LAST // 2, LAST):
                tracker.image(PICTURES, sheet(int(run.data.tags["slot"]), step), step)
    return store


def sheet(slot: int, step: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Given, filled and true images as a trial's judge logs them, the filled ones with the shade `filled`."""
    shades = np.repeat([40, filled(slot, step), 200], SIDE).astype(np.uint8)
    return np.tile(shades[:, None, None], (1, COUNT * SIDE, 3))


def filled(slot: int, step: int) -> int:
    """Another shade for every trial and step."""
    return 100 + slot + step // 100


def by_seed(studies: Studies) -> tuple[dict[str, float | None], ...]:
    """Values by seed, the paper's and the best; seeds are text, as JSON's keys are."""
    assert studies.noise is not None
    assert studies.confirm is not None
    parts = (studies.noise, studies.confirm)
    return tuple({str(trial.params["seed"]): trial.value for trial in part.trials} for part in parts)


def made(studies: Studies) -> Iterator[tuple[tuple[str, int], tuple[Any, ...]]]:
    """State, value, λ, radius and worker of every trial, by phase and slot."""
    for study in phases(studies):
        phase = study.user_attrs["phase"]
        kept = {"search": {}, "noise": PAPER, "confirm": study.user_attrs.get("params", {})}[phase]
        for trial in study.trials:
            used = applied({**kept, **trial.params})
            last = trial.intermediate_values[max(trial.intermediate_values)] if trial.intermediate_values else None
            value = trial.value if trial.state.name == "COMPLETE" else last
            settings = used["sail.lambda"], used["acda.radius"]
            yield (phase, slot_of(trial)), (trial.state.name.lower(), value, *settings, trial.user_attrs["worker"])
