"""A search in MLflow with many writers, and no burden when the store fails."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from mirror_case import (
    DEFINITION,
    LOGIN,
    NAME,
    PAPER,
    claim,
    history,
    lines_of,
    make_study,
    opened,
    runs_of,
    search_study,
)
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from servers import end, free_port, serving

from ecdm import tracking
from ecdm.address import unreachable
from ecdm.tracker import NullTracker
from ecdm.tracking import KEY, Store
from ecdm.tuning import mirror as module
from ecdm.tuning.mirror import PARENT, SearchMirror, backfill
from ecdm.tuning.mirror_guard import hidden

pytest_plugins = ["mirror_store"]

PICTURE = np.zeros((4, 4, 3), dtype=np.uint8)

SERVER_SECONDS = 60


def test_what_cannot_be_drawn_keeps_no_number_back(mirror_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def files() -> dict[str, bytes]:
        raise RuntimeError(f"no such figure at {LOGIN}")

    mirror = opened(mirror_root, search_study())
    mirror.refresh(files)
    (line,) = lines_of(capsys)
    assert "no such figure at postgresql://db.example:5432/studies; `ecdm tune report`" in line
    assert runs_of(mirror.store)["search lambda-radius"].data.metrics[f"best/{NAME}"] == 25.5


def test_a_store_that_goes_away_costs_a_line(
    mirror_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = make_study()
    mirror = opened(mirror_root, study)
    trial, frozen = claim(study)
    tracker = mirror.started(study, frozen)
    tracker.metrics({"loss": 1.0}, 0)

    def gone(*arguments: Any, **more: Any) -> None:
        raise OSError(f"disk full, {LOGIN}")

    with monkeypatch.context() as patch:
        for name in ("log_batch", "log_image", "search_runs", "create_run"):
            patch.setattr(type(mirror.store.client), name, gone)
        for step in range(1, 300):
            tracker.metrics({"loss": 1.0}, step)
        tracker.image("validation", PICTURE, 1)
        tracker.params({"a": 1})
        tracker.tags({"a": "b"})
        tracker.artifact(mirror_root / "nothing", None)
        study.tell(trial, 24.0)
        mirror.ended(study, frozen, tracker)
        mirror.refresh(dict, force=True)
        assert isinstance(mirror.started(study, claim(study)[1]), NullTracker)
    lines = lines_of(capsys)
    # One for what training writes, and one for all that needs the runs.
    assert len(lines) == 2
    assert "her-secret" not in "".join(lines)
    assert mirror.complete([study]) == 1
    run = runs_of(mirror.store)["trial 07"]
    assert (run.info.status, run.data.tags["state"], run.data.metrics[NAME]) == ("FINISHED", "complete", 24.0)


def test_bad_material_fails_no_trial(mirror_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = make_study()
    tracker = opened(mirror_root, study).started(study, claim(study)[1])
    tracker.image("validation", PICTURE.astype(np.float32), 0)
    (line,) = lines_of(capsys)
    assert "found float32, expected uint8" in line


def test_a_server_that_is_down_leaves_the_search_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://anna:her-secret@127.0.0.1:1")
    assert SearchMirror.open(tmp_path, search_study()) is None
    (line,) = lines_of(capsys)
    assert line.startswith("search lambda-radius: MLflow lacks something: MLflow at http://127.0.0.1:1: no answer")
    assert backfill(tmp_path, [search_study()]) == 0


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at postgresql+psycopg://anna:p@ss@db:5432/x: no", "at postgresql+psycopg://db:5432/x: no"),
        ("postgresql://db/x?user=anna&password=her-secret&sslmode=on", "postgresql://db/x?user=anna&password=…&sslmode=on"),
        ("sqlite:///build/tune/studies.db", "sqlite:///build/tune/studies.db"),
        ("cannot reach http://anna:her-sec...", "cannot reach http://"),
        ("mail anna@db.example", "mail anna@db.example"),
    ],
)  # fmt: skip
def test_passwords_are_hidden(text: str, shown: str) -> None:
    assert hidden(text) == shown


WORKER = """\
import sys
from pathlib import Path
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from ecdm.tuning.mirror import SearchMirror
optuna.logging.set_verbosity(optuna.logging.WARNING)
root, journal = map(Path, sys.argv[1:3])
study = optuna.load_study(study_name="lambda-radius", storage=JournalStorage(JournalFileBackend(str(journal))))
mirror = SearchMirror.open(root, study)
for _ in range(int(sys.argv[4])):
    trial = study.ask()
    trial.suggest_float("acda.radius", 0, 32)
    trial.set_user_attr("worker", sys.argv[3])
    tracker = mirror.started(study, study.trials[trial.number])
    for step in range(3):
        tracker.metrics({"psnr/50-60": 20.0 + step, "loss": 1.0}, step)
        trial.report(20.0 + step, step)
    study.tell(trial, 22.0)
    mirror.ended(study, trial, tracker)
    mirror.refresh(lambda: {"a.html": b"same"}, force=True)
"""


# Each of three workers does a third.
TRIALS = 9


def _made(journal: Path) -> optuna.Study:
    """A study that processes share."""
    storage = JournalStorage(JournalFileBackend(str(journal)))
    study = optuna.create_study(study_name="lambda-radius", direction="maximize", storage=storage)
    study.set_user_attr("objectives", [{"metric": "psnr", "bucket": "50-60"}])
    study.set_user_attr("definition", DEFINITION)
    study.set_user_attr("paper", PAPER)
    for slot in range(TRIALS):
        study.enqueue_trial({"acda.radius": slot}, user_attrs={"slot": slot})
    return study


def _work(roots: list[Path], journal: Path, variables: dict[str, str]) -> None:
    """Three worker processes that do all trials of a study."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")} | variables
    command = [sys.executable, "-c", WORKER]
    started = [
        subprocess.Popen(
            [*command, str(root), str(journal), name, str(TRIALS // 3)], env=kept, stderr=subprocess.PIPE, text=True
        )
        for root, name in zip(roots, "abc", strict=True)
    ]
    for process in started:
        _, errors = process.communicate()
        assert (process.returncode, errors) == (0, "")


def _check_workers(store: Store) -> None:
    runs = runs_of(store)
    parent = runs.pop("search lambda-radius")
    assert sorted(runs) == [f"trial {slot:02d}" for slot in range(TRIALS)]
    for slot in range(TRIALS):
        run = runs[f"trial {slot:02d}"]
        assert run.data.tags[PARENT] == parent.info.run_id
        assert (run.info.status, run.data.tags["state"]) == ("FINISHED", "complete")
        assert run.data.params == {"acda.radius": str(float(slot))}
        assert history(store, run, NAME) == [(0, 20.0), (1, 21.0), (2, 22.0)]
    assert parent.data.metrics["trials/complete"] == TRIALS
    assert parent.info.status == "FINISHED"
    assert len({run.data.tags[KEY] for run in runs.values()}) == TRIALS


def test_three_processes_write_one_search(mirror_root: Path) -> None:
    journal = mirror_root / "journal"
    study = _made(journal)
    _work([mirror_root] * 3, journal, {})
    store = Store.connect(mirror_root)
    _check_workers(store)
    best = history(store, runs_of(store)["search lambda-radius"], f"best/{NAME}")
    assert best == [(step, 22.0) for step in range(1, TRIALS + 1)]
    assert backfill(mirror_root, [study]) == 0


@pytest.fixture
def served(mirror_tables: Path, tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    shutil.copy(mirror_tables, tmp_path / "served.db")
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--backend-store-uri", f"sqlite:///{tmp_path / 'served.db'}"]
    command += ["--artifacts-destination", str(tmp_path / "served")]
    with serving(command, port, tmp_path / "server.log") as process:
        yield f"http://127.0.0.1:{port}", process


def test_three_machines_and_a_server_that_is_killed(
    served: tuple[str, subprocess.Popen[bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    uri, process = served
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", str(SERVER_SECONDS))
    for part in (tracking, module):
        monkeypatch.setattr(part, "unreachable", partial(unreachable, seconds=SERVER_SECONDS))
    roots = [tmp_path / name for name in "abc"]
    for folder in roots:
        folder.mkdir()
    journal = tmp_path / "journal"
    prepared = _made(journal)
    store = opened(tmp_path, prepared).store
    _work(roots, journal, {"MLFLOW_TRACKING_URI": uri, "MLFLOW_HTTP_REQUEST_TIMEOUT": str(SERVER_SECONDS)})
    # Machines share no lock, so the last to write need not be the last to look.
    assert backfill(tmp_path, [prepared]) == 0
    _check_workers(store)

    study = make_study()
    mirror = opened(tmp_path, study)
    trial, frozen = claim(study)
    tracker = mirror.started(study, frozen)
    end(process)
    for step in range(300):
        tracker.metrics({"loss": 0.0}, step)
    study.tell(trial, 24.0)
    mirror.ended(study, frozen, tracker)
    mirror.refresh(dict, force=True)
    lines = lines_of(capsys)
    assert len(lines) == 2
    assert all(line.endswith("`ecdm tune report` will fill in") for line in lines)
