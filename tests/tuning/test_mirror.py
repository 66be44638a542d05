"""A search in MLflow: each attempt of a trial once below one run, which says what was found."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import optuna
import pytest
from mirror_case import (
    LOGIN,
    NAME,
    PAPER,
    SPACE,
    add,
    claim,
    content,
    history,
    lines_of,
    make_study,
    opened,
    repeated,
    runs_of,
    search_study,
)
from optuna.trial import TrialState, create_trial

from ecdm.tracking import Store
from ecdm.tuning import mirror as module
from ecdm.tuning.mirror import NOTE, PARENT, backfill, search_link
from ecdm.tuning.mirror_trial import best_so_far

pytest_plugins = ["mirror_store"]

PICTURE = np.zeros((4, 4, 3), dtype=np.uint8)


def test_every_attempt_has_its_run(mirror_root: Path) -> None:
    search = search_study()
    assert backfill(mirror_root, [search, *repeated()], lambda: {"first.html": b"<p>", "a.png": b"png"}, LOGIN) == 7
    store = Store.connect(mirror_root)
    runs = runs_of(store)
    parent = runs.pop("search lambda-radius")
    assert sorted(runs) == [
        "best values, seed 1", "paper's values, seed 1", "paper's values, seed 2",
        "trial 00", "trial 01", "trial 02", "trial 02 again",
    ]  # fmt: skip
    assert {run.data.tags[PARENT] for run in runs.values()} == {parent.info.run_id}
    assert {run.data.tags["study"] for run in runs.values()} == {"lambda-radius"}
    assert PARENT not in parent.data.tags
    seen = {name: (run.info.status, run.data.tags["state"]) for name, run in runs.items()}
    assert seen["trial 00"] == seen["trial 02 again"] == seen["best values, seed 1"] == ("FINISHED", "complete")
    assert seen["trial 01"] == ("FINISHED", "pruned")
    assert seen["trial 02"] == ("KILLED", "failed")

    tags = runs["trial 00"].data.tags
    wanted = {"origin": "paper", "worker": "w1", "git_commit": "c0ffee", "slot": "0", "phase": "search"}
    assert wanted.items() <= tags.items()
    assert "reason" not in tags
    assert runs["trial 01"].data.tags["reason"] == "below the median"
    assert runs["trial 02"].data.params == {"sail.lambda": "0.01235", "acda.radius": "8.0"}
    assert runs["paper's values, seed 2"].data.params == {"sail.lambda": "0.1", "acda.radius": "4.0", "seed": "2"}
    assert runs["best values, seed 1"].data.params == {"sail.lambda": "0.01235", "acda.radius": "8.0", "seed": "1"}

    assert history(store, runs["trial 00"], NAME) == [(100, 23.0), (200, 24.0)]
    assert history(store, runs["trial 02 again"], NAME) == [(100, 22.0), (200, 25.0), (201, 25.5)]
    assert runs["trial 02 again"].data.metrics[NAME] == 25.5
    assert history(store, runs["trial 02"], NAME) == [(100, 22.0)]
    assert runs["trial 00"].data.metrics["peak_memory_gib"] == 1.5
    assert runs["trial 00"].data.metrics["seconds"] == 10
    assert not [row for row in content(mirror_root) if "her-secret" in row]


def test_the_run_of_the_search_answers(mirror_root: Path) -> None:
    files = {"first.html": b"<p>", "a.png": b"png"}
    backfill(mirror_root, [search_study(), *repeated()], lambda: files, LOGIN)
    store = Store.connect(mirror_root)
    parent = runs_of(store)["search lambda-radius"]
    assert parent.info.status == "RUNNING"
    assert parent.data.params["space.lambda.low"] == "0.003"
    assert parent.data.params["storage"] == "postgresql://db.example:5432/studies"
    wanted = {"stage": "search", "objective": NAME, "variant": "ours", "sampler": "tpe"}
    assert wanted.items() <= parent.data.tags.items()
    assert history(store, parent, f"best/{NAME}") == [(1, 24.0), (2, 24.0), (3, 25.5)]
    metrics = parent.data.metrics
    found = {name.partition("/")[2]: value for name, value in metrics.items() if name.startswith("trials/")}
    assert found == {"complete": 2, "pruned": 1, "failed": 1, "running": 0, "waiting": 1}
    assert metrics[f"noise/{NAME}/mean"] == 24.0
    assert metrics[f"noise/{NAME}/sd"] == pytest.approx(2**0.5)
    assert {file.path for file in store.client.list_artifacts(parent.info.run_id)} == set(files)

    note = parent.data.tags[NOTE]
    # What the page shows before it is unfolded.
    assert note.startswith("**The best values (λ 0.01235, radius 8)") or note.startswith("**Not known")
    for part in (
        "`psnr/50-60` (larger is better)",
        "| `lambda` | 0.003 to 3, log scale |",
        "| `radius` | 0 to 32, in steps of 1 |",
        "Of 4 trials asked for 2 are complete and 1 pruned; 0 running, 1 waiting.",
        "made again: 1.",
        "| the paper's values (trial 00) | 24 | 0.1 | 4.0 |",
        "| best (trial 02 again) | 25.5 | 0.01235 | 8.0 |",
        "| paper's values | psnr/50-60 | 2 | 24 | 1.414 |",
        "Open first: `first.html`",
        "`optuna-dashboard postgresql://db.example:5432/studies`",
        f"({search_link(store, parent.info.run_id)})",
    ):
        assert part in note
    view = json.loads(store.tags()["mlflow.sharedViewState.search-lambda-radius"])
    assert search_link(store, parent.info.run_id).endswith("&viewStateShareKey=search-lambda-radius")
    assert (view["orderByKey"], view["orderByAsc"]) == (f"metrics.`{NAME}`", False)
    chosen = store.client.search_runs([store.experiment_id], view["searchFilter"])
    assert len(chosen) == 7
    assert {"params.`sail.lambda`", f"metrics.`{NAME}`", "tags.`state`"} <= set(view["selectedColumns"])


def test_filling_in_twice_changes_nothing(mirror_root: Path) -> None:
    studies = [search_study(), *repeated()]
    assert backfill(mirror_root, studies, lambda: {"a.html": b"1"}) == 7
    before = content(mirror_root)
    assert backfill(mirror_root, studies, lambda: {"a.html": b"1"}) == 0
    assert content(mirror_root) == before


def test_a_study_made_again_is_another_one(mirror_root: Path) -> None:
    for made in ("monday", "tuesday"):
        study = make_study(made=made)
        add(study, TrialState.COMPLETE, 24.0, PAPER, slot=0)
        assert backfill(mirror_root, [study]) == 1
    store = Store.connect(mirror_root)
    assert len(store.client.search_runs([store.experiment_id])) == 4


def test_a_trial_is_seen_while_it_runs(mirror_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = make_study()
    mirror = opened(mirror_root, study)
    trial, frozen = claim(study)
    tracker = mirror.started(study, frozen)
    for step in range(1, 7):
        trial.report(20.0 + step, step)
        tracker.metrics({NAME: 20.0 + step, "loss": 1 / step}, step)
    run = runs_of(mirror.store)["trial 07"]
    assert (run.info.status, run.data.tags["state"]) == ("RUNNING", "running")
    assert run.data.params == {"sail.lambda": "0.1", "acda.radius": "4.0"}
    assert history(mirror.store, run, "loss")[:5] == [(step, 1 / step) for step in range(1, 6)]

    mirror.ended(study, frozen, tracker)
    assert lines_of(capsys) == [
        "search lambda-radius: MLflow lacks something: trial 0: found running, expected one that ended; "
        "`ecdm tune report` will fill in"
    ]
    tracker.image("validation", PICTURE, 6)
    study.tell(trial, 26.0)
    mirror.ended(study, frozen, tracker)
    run = runs_of(mirror.store)["trial 07"]
    assert (run.info.status, run.data.tags["state"]) == ("FINISHED", "complete")
    assert history(mirror.store, run, NAME) == [(step, 20.0 + step) for step in range(1, 7)]
    assert len(history(mirror.store, run, "loss")) == 6
    assert run.data.tags["mlflow.loggedImages"] == "True"
    assert mirror.complete([study]) == 0
    assert lines_of(capsys) == []


def test_refreshed_now_and_then_by_all_workers(mirror_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = search_study()
    calls: list[int] = []
    first, second = opened(mirror_root, study), opened(mirror_root, study)

    def files() -> dict[str, bytes]:
        calls.append(len(calls))
        return {"a.html": str(calls).encode()}

    first.refresh(files)
    first.refresh(files)
    second.refresh(files)
    assert len(calls) == 1
    second.refresh(files, force=True)
    assert len(calls) == 2
    monkeypatch.setattr(module, "EVERY", 0.0)
    first.refresh(files)
    assert len(calls) == 3
    # Of a call that has no files the last ones stay, in the description too.
    first.refresh(dict, force=True)
    parent = runs_of(first.store)["search lambda-radius"]
    assert "Open first: `a.html`" in parent.data.tags[NOTE]


def test_a_search_that_is_done_is_finished(mirror_root: Path) -> None:
    study = make_study()
    add(study, TrialState.COMPLETE, 24.0, PAPER, slot=0)
    mirror = opened(mirror_root, study)
    status = []
    for _ in range(2):
        mirror.refresh(dict, force=True)
        status.append(runs_of(mirror.store)["search lambda-radius"].info.status)
        add(study, TrialState.WAITING, None, PAPER, slot=1)
    assert status == ["FINISHED", "RUNNING"]


def test_the_best_keeps_the_constraints() -> None:
    study = make_study()
    add(study, TrialState.COMPLETE, 24.0, PAPER, constraints={"memory": -1.0})
    add(study, TrialState.COMPLETE, 30.0, PAPER, constraints={"memory": 0.5})
    add(study, TrialState.COMPLETE, 23.0, PAPER, constraints={"memory": 0.0})
    assert [list(best.values()) for best in best_so_far(study)] == [[], [24.0], [24.0], [24.0]]


def test_several_objectives(mirror_root: Path) -> None:
    study = optuna.create_study(study_name="pareto", directions=["maximize", "minimize"])
    goals = [{"metric": "psnr", "bucket": "50-60"}, {"metric": "sampling_flops", "bucket": None}]
    study.set_user_attr("objectives", goals)
    study.set_user_attr("paper", PAPER)
    for slot, values in enumerate(([24.0, 5e9], [25.0, 6e9], [23.0, 7e9])):
        trial = create_trial(values=values, params=PAPER, distributions=SPACE, user_attrs={"slot": slot})
        study.add_trial(trial)
    assert backfill(mirror_root, [study]) == 3
    store = Store.connect(mirror_root)
    runs = runs_of(store)
    assert runs["trial 01"].data.metrics == {NAME: 25.0, "sampling_flops": 6e9, "seconds": pytest.approx(0, abs=1)}
    parent = runs["search pareto"]
    assert history(store, parent, "best/sampling_flops") == [(1, 5e9), (2, 5e9), (3, 5e9)]
    note = parent.data.tags[NOTE]
    assert "`sampling_flops` (smaller is better)" in note
    assert "Pareto front (trial 01) | 25 | 6e+09" in note
    assert "trial 02" not in note
