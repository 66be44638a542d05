"""Studies to mirror, and looks into what became of them in MLflow."""

from __future__ import annotations

import sqlite3
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from ecdm.tracking import Store
from ecdm.tuning.mirror import SearchMirror

NAME = "psnr/50-60"
SPACE: dict[str, BaseDistribution] = {
    "sail.lambda": FloatDistribution(0.003, 3.0, log=True),
    "acda.radius": FloatDistribution(0, 32, step=1),
}
PAPER = {"sail.lambda": 0.1, "acda.radius": 4.0}
START = datetime(2024, 1, 1)
LOGIN = "postgresql://anna:her-secret@db.example:5432/studies"
DEFINITION: dict[str, Any] = {
    "variant": "ours",
    "sampler": "tpe",
    "storage": LOGIN,
    "space": {"lambda": {"low": 0.003, "high": 3.0, "scale": "log"}, "radius": {"low": 0, "high": 32, "step": 1}},
}


def make_study(phase: str = "search", **attrs: Any) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    suffix = "" if phase == "search" else f"-{phase}"
    study = optuna.create_study(study_name=f"lambda-radius{suffix}", direction="maximize")
    goal = [{"metric": "psnr", "bucket": "50-60"}]
    shared = {"phase": phase, "objectives": goal, "paper": PAPER, "definition": DEFINITION, "slots": 4}
    for name, value in {**shared, **attrs}.items():
        study.set_user_attr(name, value)
    return study


def add(study: optuna.Study, state: TrialState, value: float | None, params: dict[str, Any], **more: Any) -> None:
    """A trial with user attributes `more`; `steps` are its intermediate values, `constraints` what it keeps."""
    known = {**SPACE, "seed": IntDistribution(1, 9)}
    trial = create_trial(
        state=state,
        value=value,
        params=params,
        distributions={name: known[name] for name in params},
        intermediate_values=more.pop("steps", {}),
        constraints=more.pop("constraints", None),
        user_attrs=more,
    )
    trial.datetime_start = START
    if state.is_finished():
        trial.datetime_complete = START + timedelta(seconds=10 * len(study.trials) + 10)
    study.add_trial(trial)


def search_study() -> optuna.Study:
    """Paper's values complete, one pruned, one reclaimed and done again, one waiting."""
    study = make_study()
    done, pruned, failed = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL
    params = {"sail.lambda": 0.0123456, "acda.radius": 8.0}
    run = {"worker": "w1", "commit": "c0ffee", "peak_memory_gib": 1.5}
    add(study, done, 24.0, PAPER, slot=0, origin="paper", steps={100: 23.0, 200: 24.0}, **run)
    add(study, pruned, 20.0, params, slot=1, origin="start", steps={100: 20.0}, reason="below the median")
    add(study, failed, None, params, slot=2, steps={100: 22.0}, reason=f"reclaimed: {LOGIN} went away")
    add(study, done, 25.5, params, slot=2, origin="sampler", steps={100: 22.0, 200: 25.0})
    add(study, TrialState.WAITING, None, params, slot=3, origin="sampler")
    return study


def repeated() -> list[optuna.Study]:
    noise, confirm = make_study("noise"), make_study("confirm", params={"sail.lambda": 0.0123456, "acda.radius": 8.0})
    for seed, value in ((1, 23.0), (2, 25.0)):
        add(noise, TrialState.COMPLETE, value, {"seed": seed}, slot=seed - 1, origin="seed")
    add(confirm, TrialState.COMPLETE, 26.0, {"seed": 1}, slot=0, origin="seed")
    return [noise, confirm]


def claim(study: optuna.Study) -> tuple[optuna.Trial, FrozenTrial]:
    """The next trial as a worker has it once its values are chosen."""
    study.enqueue_trial(PAPER, user_attrs={"slot": 7, "origin": "paper"})
    trial = study.ask(dict(SPACE))
    return trial, study.trials[trial.number]


def opened(root: Path, study: optuna.Study) -> SearchMirror:
    found = SearchMirror.open(root, study)
    assert found is not None
    return found


def runs_of(store: Store) -> dict[str, Any]:
    """All runs by name; each name must be there once."""
    found = store.client.search_runs([store.experiment_id])
    named = {run.info.run_name: run for run in found}
    assert len(named) == len(found)
    return named


def history(store: Store, run: Any, name: str) -> list[tuple[int, float]]:
    return [(metric.step, metric.value) for metric in store.client.get_metric_history(run.info.run_id, name)]


def content(root: Path) -> list[str]:
    """All rows of the database, and all artifacts with their times."""
    with sqlite3.connect(root / "mlflow.db") as database:
        rows = list(database.iterdump())
    return rows + [f"{path} {path.stat().st_mtime_ns}" for path in sorted((root / "mlartifacts").rglob("*"))]


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("search ")]
