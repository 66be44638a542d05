"""Where studies are kept: each kind really used, and what is said when one cannot be."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage, run_grpc_proxy_server
from optuna.trial import TrialState
from search_toy import Toy, by_slot, formula, settings
from servers import free_port

from ecdm.address import unreachable
from ecdm.search.liveness import heartbeat
from ecdm.search.plan import requeue
from ecdm.search.storage import VARIABLE, open_storage, storage_uri
from ecdm.search.worker import Attempt, Outcome

RESULTS = (TrialState.COMPLETE, TrialState.PRUNED)


@pytest.fixture(autouse=True)
def _no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def kept(folder: Path, uri: str, **changes: Any) -> Toy:
    params, tune = settings(folder, storage=uri, noise=0, **changes)
    return Toy(params, tune, open_storage(tune, folder, requeue))


@pytest.mark.parametrize("uri", ["sqlite:///deep/studies.db", "journal:///deep/studies.log"])
def test_a_file_is_made_below_the_project_and_opened_again(tmp_path: Path, uri: str) -> None:
    toy = kept(tmp_path, uri)
    toy.prepare()
    toy.work()
    assert (tmp_path / "deep" / uri.rpartition("/")[2]).is_file()
    again = kept(tmp_path, uri)
    assert [trial.state for trial in again.studies.search.get_trials()] == [TrialState.COMPLETE] * 6


@pytest.mark.parametrize("uri", ["sqlite:///studies.db", "journal:///studies.log"])
def test_the_trial_of_a_worker_that_is_gone_is_done_once_more(tmp_path: Path, uri: str) -> None:
    toy = kept(tmp_path, uri, trials=3)
    search = toy.prepare().search
    trial = search.get_trials()[1]
    # Taken by one that is killed before it gives any sign of life, which no database notices by itself.
    toy.storage.set_trial_state_values(trial._trial_id, state=TrialState.RUNNING)
    started = time.monotonic()
    assert toy.work() is None
    # The worker had nothing else to do and waited out the grace period.
    assert time.monotonic() - started > 1
    assert [trial.state for trial in by_slot(search)[1]] == [TrialState.FAIL, TrialState.COMPLETE]
    assert len(search.get_trials(states=RESULTS)) == 3


def test_a_long_trial_is_not_taken_for_lost(tmp_path: Path) -> None:
    toy, other = kept(tmp_path, "journal:///studies.log", trials=2), kept(tmp_path, "journal:///studies.log", trials=2)
    toy.prepare()
    other.tune = other.tune.model_copy(update={"grace": 2})

    def slow(attempt: Attempt) -> Outcome:
        if attempt.slot == 1:
            watcher = threading.Thread(target=look)
            watcher.start()
            watcher.join()
        return formula(attempt)

    def look() -> None:
        from ecdm.search.liveness import Reaper

        reap = Reaper(other.storage, 2, lambda study, trial: None)
        for _ in range(10):
            reap(other.studies.search)
            time.sleep(0.4)

    assert toy.work(slow) is None
    assert [trial.state for trial in toy.studies.search.get_trials()] == [TrialState.COMPLETE] * 2


@pytest.mark.parametrize("uri", ["sqlite:///studies.db", "journal:///studies.log"])
def test_a_sign_of_life_is_there_before_the_work_begins_and_comes_again_after_a_failure(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = kept(tmp_path, uri, trials=2)
    search = toy.prepare().search
    trial = search.ask()
    beats: list[int] = []
    name = "record_heartbeat" if uri.startswith("sqlite") else "set_trial_user_attr"

    def beat(*arguments: Any) -> None:
        beats.append(len(beats))
        if len(beats) == 2:
            raise RuntimeError("away for a moment")

    monkeypatch.setattr(type(toy.storage), name, lambda storage, *arguments: beat(*arguments))
    with heartbeat(toy.storage, trial._trial_id, 0.05):
        assert beats == [0]
        while len(beats) < 4:
            time.sleep(0.01)


def test_a_proxy_in_front_of_a_database(tmp_path: Path) -> None:
    port = free_port()
    database = RDBStorage(f"sqlite:///{tmp_path}/behind.db")
    server = threading.Thread(
        target=run_grpc_proxy_server, args=(database,), kwargs={"host": "localhost", "port": port}, daemon=True
    )
    server.start()
    while unreachable(f"grpc://localhost:{port}"):
        time.sleep(0.05)
    toy = kept(tmp_path, f"grpc://localhost:{port}", trials=3)
    search = toy.prepare().search
    toy.storage.set_trial_state_values(search.get_trials()[1]._trial_id, state=TrialState.RUNNING)
    assert toy.work() is None
    behind = optuna.load_study(study_name="lambda-radius", storage=database)
    assert [trial.state for trial in by_slot(behind)[1]] == [TrialState.FAIL, TrialState.COMPLETE]
    assert len(behind.get_trials(states=RESULTS)) == 3


def test_the_secret_goes_before_params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, tune = settings(tmp_path, storage="sqlite:///a.db")
    assert storage_uri(tune, tmp_path) == f"sqlite:///{tmp_path}/a.db"
    monkeypatch.setenv(VARIABLE, "postgresql://me:word@db/studies")
    assert storage_uri(tune, tmp_path) == "postgresql+psycopg2://me:word@db/studies"


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (
            "postgresql://me:secret@localhost:{port}/studies",
            "search storage postgresql+psycopg2://localhost:{port}/studies: no answer",
        ),
        (
            "postgresql://localhost:{port}/studies?user=me&password=secret",
            "search storage postgresql+psycopg2://localhost:{port}/studies?user=me&password=…: no answer",
        ),
        ("postgresql://me:secret#1@localhost:{port}/studies", "search storage postgresql+psycopg2://localhost:{port}"),
        ("grpc://localhost:{port}", "search storage grpc://localhost:{port}: no answer within"),
        ("grpc://localhost", "search storage grpc://localhost: found no port, expected grpc://HOST:PORT"),
        ("mongodb://localhost:{listening}/x", "found scheme 'mongodb', expected sqlite:///FILE, journal:///FILE"),
        ("sqlite:////proc/none/studies.db", "search storage sqlite:////proc/none/studies.db: "),
        ("journal:////proc/none/studies.log", "search storage journal:////proc/none/studies.log: "),
    ],
)
def test_a_storage_that_cannot_be_used_is_one_error(tmp_path: Path, uri: str, message: str) -> None:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        ports = {"port": free_port(), "listening": listener.getsockname()[1]}
        _, tune = settings(tmp_path, storage=uri.format(**ports))
        with pytest.raises(ValueError, match=r"^search storage ") as error:
            open_storage(tune, tmp_path)
    assert message.format(**ports) in str(error.value)
    assert "secret" not in str(error.value)
