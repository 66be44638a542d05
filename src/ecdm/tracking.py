"""Reporting to MLflow: runs that are found again by the key of what they are made of."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from ecdm.address import project_of, shown, sqlite_file, store_uri, unreachable
from ecdm.lineage import entry_key, identity, live_entry, settings
from ecdm.mlflow_run import MLflowTracker, tell
from ecdm.runs import describe, hardware
from ecdm.system import SystemMetrics
from ecdm.tracker import NullTracker, Tracker, reason

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

KEY = "ecdm.key"
# Name of the fixed validation pictures: live logging and `ecdm sync` must agree on it.
PICTURES = "validation"
# MLflow's limit for a label of an experiment.
EXPERIMENT_TAG_LENGTH = 20000
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_TRACE_SAMPLING_RATIO": "0",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    # A server's client prints two lines for every run it ends.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # A server that goes down in the middle of a run must not hold it for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


@dataclass(frozen=True)
class Store:
    """An experiment in an MLflow store, made at first use."""

    client: MlflowClient
    experiment_id: str
    guard: FileLock

    @classmethod
    def connect(cls, root: Path) -> Store:
        """Open the store of the project at `root`; raises ValueError where it does not answer or is unusable.

        A lock beside it keeps other processes out meanwhile: SQLite tables made by two at once are broken.
        """
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        uri = store_uri(root)
        problem = unreachable(uri)
        if problem:
            raise ValueError(f"MLflow at {shown(uri)}: {problem}")
        from mlflow import MlflowClient

        with failures(uri), FileLock(project_of(root) / "mlflow.db.lock", timeout=300) as guard:
            client = MlflowClient(tracking_uri=uri)
            return cls(client, _experiment(client, uri), guard)

    def run(
        self, key: str, name: str, params: Mapping[str, object], tags: Mapping[str, str], *, strict: bool
    ) -> MLflowTracker:
        """The run with this key, made with its params and tags if there is none; raises ValueError."""
        with failures(self.client.tracking_uri), self.guard:
            run, made = self._find(key), False
            if run is None:
                run, made = self._make(key, name, tags)
        tracker = MLflowTracker(self.client, run, strict=strict)
        tracker.written["runs"] = int(made)
        tracker.params(params)
        return tracker

    def tags(self, values: Mapping[str, str] | None = None) -> dict[str, str]:
        """Set labels of the experiment, the last value of a name stands; returns all.

        Raises ValueError where the store fails, and before anything is written for a label that is too long.
        """
        for name, value in (values or {}).items():
            if len(value) > EXPERIMENT_TAG_LENGTH:
                raise ValueError(
                    f"MLflow: tag {name}: found {len(value)} characters, expected at most {EXPERIMENT_TAG_LENGTH}"
                )
        with failures(self.client.tracking_uri):
            known = dict(self.client.get_experiment(self.experiment_id).tags)
            for name, value in (values or {}).items():
                if known.get(name) != value:
                    self.client.set_experiment_tag(self.experiment_id, name, value)
        return known | dict(values or {})

    def _find(self, key: str) -> Run | None:
        chosen, oldest = f"tags.`{KEY}` = '{key}'", ["attributes.start_time ASC"]
        found = self.client.search_runs([self.experiment_id], chosen, max_results=1, order_by=oldest)
        return found[0] if found else None

    def _make(self, key: str, name: str, tags: Mapping[str, str]) -> tuple[Run, bool]:
        """A new run; of two that other machines made at once on one server the older stays."""
        made = self.client.create_run(self.experiment_id, tags={**tags, KEY: key}, run_name=name)
        first = made if sqlite_file(self.client.tracking_uri) else self._find(key) or made
        if first.info.run_id == made.info.run_id:
            return made, True
        self.client.delete_run(made.info.run_id)
        return first, False


def _experiment(client: MlflowClient, uri: str) -> str:
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "ecdm"
    database = sqlite_file(uri)
    place = (database.parent / "mlartifacts" / name).as_uri() if database else None
    found = client.get_experiment_by_name(name) or _make_experiment(client, name, place)
    # A copied or moved database still points at the folder it was made in and would write there.
    ours = found.artifact_location.endswith(f"/mlartifacts/{name}")
    if place and ours and found.artifact_location != place:
        raise ValueError(
            f"{database}: found artifacts at {found.artifact_location}, expected {place}; delete this copied "
            f"database and run `ecdm sync`"
        )
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def _make_experiment(client: MlflowClient, name: str, place: str | None) -> Experiment:
    from mlflow.exceptions import MlflowException

    try:
        # Without its kind MLflow 3 opens the page on evaluations of language models instead of runs.
        made = client.create_experiment(name, place, {"mlflow.experimentKind": "custom_model_development"})
    except MlflowException:
        # On a server another machine may have been quicker.
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return found
    return client.get_experiment(made)


@contextmanager
def stage_tracker(name: str, root: Path | None = None) -> Iterator[Tracker]:
    """The live tracker of a running stage of the project at `root` (default: the working directory).

    The run is the one with the stage's key, so a stage that was killed goes on in its own run. Whatever keeps
    MLflow from being used costs the stage one printed line.
    """
    tracker = _live(name, Path(root or ".").resolve())
    try:
        yield tracker
    except BaseException:
        tracker.close(completed=False)
        raise
    tracker.close()


def _live(name: str, root: Path) -> Tracker:
    try:
        store, entry = Store.connect(root), live_entry(name, root)
        made_of = settings(name, entry, root), identity(name, root, describe(hardware()))
        tracker = store.run(entry_key(entry), name, *made_of, strict=False)
        tracker.machine = SystemMetrics()
        tracker.reopen()
    except Exception as error:
        tell(f"{name} is not tracked live: {reason(error)}")
        return NullTracker()
    return tracker


@contextmanager
def failures(uri: str) -> Iterator[None]:
    try:
        yield
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f"MLflow at {shown(uri)}: {reason(error)}") from error
