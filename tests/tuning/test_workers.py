"""Several workers as processes of their own on one study in PostgreSQL, one of them killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from mirror_case import history, runs_of
from optuna import Study
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from search_toy import by_slot
from servers import postgresql

from ecdm.cli import main
from ecdm.tracking import Store
from ecdm.tuning.trial import trial_paths

RESULTS = (TrialState.COMPLETE, TrialState.PRUNED)
SEARCH: dict[str, Any] = {
    "study": "many", "variant": "acda", "pruner": "median", "trials": 8, "startup": 3, "noise": 0, "steps": 40,
    "report_every": 10, "prune_after": 10, "images": 2, "heartbeat": 1, "grace": 4, "short": {"images": 2},
    "space": {"lambda": None, "radius": {"low": 0, "high": 12, "step": None}},
    "objectives": [{"metric": "psnr", "bucket": "50-60"}],
}  # fmt: skip


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgresql() as server:
        login = f"{server['PGUSER']}:{server['PGPASSWORD']}@{server['PGHOST']}:{server['PGPORT']}"
        yield f"postgresql+psycopg2://{login}/postgres"


@pytest.fixture
def project(
    tree: Path, write_params: Callable[..., None], database: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    compare = {"variant": {"name": "acda"}}
    write_params(tree, tune=SEARCH, variants=["acda"], compare=compare, train={"log_every": 10}, threads=1)
    monkeypatch.setenv("ECDM_TUNE_STORAGE", database.replace("+psycopg2", ""))
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    yield tree
    optuna.delete_study(study_name="many", storage=database)


def worker(log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "ecdm.cli", "tune", "worker"]
    with log.open("wb") as output:
        return subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, "OMP_NUM_THREADS": "1"})


def study_in(database: str) -> Study:
    return optuna.load_study(study_name="many", storage=RDBStorage(database))


def at_work(study: Study, pid: int) -> FrozenTrial | None:
    """The trial that this process works on, once it has reported."""
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        if trial.intermediate_values and trial.user_attrs.get("worker", "").endswith(f"-{pid}"):
            return trial
    return None


def kept(root: Path, trial: FrozenTrial) -> bool:
    slot = trial.user_attrs["slot"]
    return (trial_paths(root, "scenes").checkpoint / f"many-{slot}.safetensors").is_file()


def wait_until(condition: Callable[[], Any], workers: list[subprocess.Popen[bytes]], logs: list[Path]) -> Any:
    while not (found := condition()):
        assert any(one.poll() is None for one in workers), "\n".join(log.read_text() for log in logs)
        time.sleep(0.05)
    return found


def test_three_workers_of_which_one_is_killed(
    project: Path, database: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["tune", "prepare"]) == 0
    assert "study many: 8 trials, in postgresql+psycopg2://127.0.0.1" in capsys.readouterr().out
    study, logs = study_in(database), [tmp_path / f"worker-{number}.log" for number in range(3)]
    workers = [worker(log) for log in logs]
    try:
        victim = wait_until(lambda: at_work(study, workers[0].pid), workers, logs)
        workers[0].send_signal(signal.SIGKILL)
        assert [one.wait() for one in workers] == [-signal.SIGKILL, 0, 0], logs[1].read_text() + logs[2].read_text()
    finally:
        for one in workers:
            one.kill()
    done = by_slot(study, *RESULTS)
    assert {slot: len(trials) for slot, trials in done.items()} == dict.fromkeys(range(8), 1)
    (lost,) = study.get_trials(states=(TrialState.FAIL,))
    assert lost.number == victim.number
    (again,) = done[victim.user_attrs["slot"]]
    assert again.params == victim.params
    assert not again.user_attrs["worker"].endswith(f"-{workers[0].pid}")
    # What was reported before is there again, from the checkpoint or anew: the same training.
    assert {step: again.intermediate_values[step] for step in victim.intermediate_values} == victim.intermediate_values
    # No two are the same draw, of workers whose samplers might have the same seed.
    drawn = [trial.params["acda.radius"] for trials in done.values() for trial in trials]
    assert len(set(drawn)) == 8
    assert len({trial.user_attrs["worker"] for trials in done.values() for trial in trials}) == 2

    runs = runs_of(Store.connect(project))
    parent = runs["search many"]
    states = sorted(run.data.tags["state"] for name, run in runs.items() if name != "search many")
    assert parent.data.tags["study"] == "many"
    assert len([state for state in states if state in ("complete", "pruned")]) == 8
    # The killed worker could not write what became of its trial; whoever reports next does.
    assert main(["tune", "report", "--out", str(tmp_path / "report")]) == 0
    runs = runs_of(Store.connect(project))
    assert sorted(run.data.tags["state"] for run in runs.values() if "state" in run.data.tags).count("failed") == 1
    assert (tmp_path / "report" / "trials.csv").read_text().count("\n") == 9
    assert "admins-secret" not in capsys.readouterr().out + "".join(log.read_text() for log in logs)


def test_a_reclaimed_worker_leaves_its_trial_to_the_next(project: Path, database: str, tmp_path: Path) -> None:
    assert main(["tune", "prepare", "--trials", "2"]) == 0
    study, log = study_in(database), tmp_path / "first.log"
    first = worker(log)
    try:
        victim = wait_until(lambda: at_work(study, first.pid), [first], [log])
        # A report comes before the checkpoint of its step; ended in between, there is nothing to go on from.
        wait_until(lambda: kept(project, victim), [first], [log])
        first.send_signal(signal.SIGTERM)
        # A runner is given 30 seconds.
        assert first.wait(30) == 0
    finally:
        first.kill()
    assert "ended before the search was done: SIGTERM" in log.read_text()
    tries = by_slot(study)[victim.user_attrs["slot"]]
    assert [trial.state for trial in tries] == [TrialState.FAIL, TrialState.WAITING]
    assert tries[0].user_attrs["reason"] == "reclaimed: SIGTERM"

    second_log = tmp_path / "second.log"
    second = worker(second_log)
    assert second.wait() == 0, second_log.read_text()
    (done,) = by_slot(study, *RESULTS)[victim.user_attrs["slot"]]
    assert done.params == victim.params
    # It went on from the checkpoint that the first one left: what it logged starts there.
    store = Store.connect(project)
    run = runs_of(store)[f"trial {victim.user_attrs['slot']:02d} again"]
    assert history(store, run, "loss")[0][0] > min(victim.intermediate_values)
    assert len(history(store, run, "psnr/50-60")) == 4
