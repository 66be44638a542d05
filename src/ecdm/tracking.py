"""Reporting to MLflow: runs that are found again by the key of what they are made of."""

from __future__ import annotations

import math
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from ecdm.address import project_of, shown, sqlite_file, store_uri, unreachable
from ecdm.lineage import entry_key, flatten, identity, live_entry, settings
from ecdm.runs import describe, hardware
from ecdm.tracker import NullTracker, Tracker, finite, reason

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, Run, RunTag

KEY = "ecdm.key"
# Name of the fixed validation pictures: live logging and `ecdm sync` must agree on it.
PICTURES = "validation"
BATCH, PARAMS_PER_CALL, PARAM_LENGTH = 1000, 100, 6000
IMAGE_FILE = re.compile(r"(?P<key>.+)[+%]step[+%](?P<step>-?\d+)[+%]timestamp.*\.png")
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_TRACE_SAMPLING_RATIO": "0",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    # A server that goes down in the middle of a run must not hold it for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


class MLflowTracker:
    """One MLflow run; what it has already is never written again.

    Metrics are buffered and written `flush_every` at a time. Where `strict`, a store that fails raises
    ValueError; else one line is printed and the tracker falls silent, for the files can fill in later.
    `written` counts what went to the store, by kind.
    """

    def __init__(self, client: MlflowClient, run: Run, strict: bool = False, flush_every: int = 100) -> None:
        self.client, self.run_id, self.strict = client, run.info.run_id, strict
        self.flush_every = min(flush_every, BATCH)
        self.written: Counter[str] = Counter()
        self._silent = False
        self._status = run.info.status
        self._tags, self._params = dict(run.data.tags), set(run.data.params)
        self._latest = dict(run.data.metrics)
        self._steps: dict[str, set[int]] = {}
        self._files: dict[str, dict[str, int]] = {}
        self._pictures: set[tuple[str, int]] | None = None
        self._buffer: list[Metric] = []

    def params(self, values: Mapping[str, object]) -> None:
        from mlflow.entities import Param

        new = {k: v for k, v in flatten(values).items() if k not in self._params}
        rows = [Param(name, value[:PARAM_LENGTH]) for name, value in new.items()]
        for start in range(0, len(rows), PARAMS_PER_CALL):
            self._log_batch(params=rows[start : start + PARAMS_PER_CALL])
        self._params |= set(new)

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        def collect() -> None:
            for name, value in values.items():
                if step not in self._known_steps(name):
                    self._known_steps(name).add(step)
                    self._put(name, value, step)

        self._attempt(collect)
        if len(self._buffer) >= self.flush_every:
            self._flush()

    def summary(self, values: Mapping[str, float]) -> None:
        """Numbers that stand for the whole run, at step 0; a changed value replaces the one shown."""
        for name, value in values.items():
            known = self._latest.get(name)
            if known is None or not (finite(value) == known or (math.isnan(value) and math.isnan(known))):
                self._latest[name] = finite(value)
                self._put(name, value, 0)

    def image(self, key: str, image: NDArray[np.uint8], step: int) -> None:
        if image.dtype != np.uint8:
            raise ValueError(f"image {key!r}: found {image.dtype}, expected uint8")

        def log() -> None:
            if (key.replace("/", "~"), step) not in self._known_pictures():
                self.client.log_image(self.run_id, image, key=key, step=step)
                self._known_pictures().add((key.replace("/", "~"), step))
                self.written["images"] += 1

        self._attempt(log)

    def artifact(self, path: Path, folder: str | None = None) -> None:
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file")

        def log() -> None:
            name = f"{folder}/{path.name}" if folder else path.name
            if self._listed(folder or "").get(name) != path.stat().st_size:
                self.client.log_artifact(self.run_id, str(path), folder)
                self._listed(folder or "")[name] = path.stat().st_size
                self.written["artifacts"] += 1

        self._attempt(log)

    def tags(self, values: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        new = {name: value for name, value in values.items() if self._tags.get(name) != value}
        rows = [RunTag(name, value) for name, value in new.items()]
        if rows:
            self._log_batch(tags=rows)
        self._tags |= new

    def close(self, completed: bool = True) -> None:
        self._flush()
        status = "FINISHED" if completed else "FAILED"
        if self._status != status:
            self._attempt(lambda: self.client.set_terminated(self.run_id, status))

    def reopen(self) -> None:
        """Show a run that ended, well or not, as running again."""
        if self._status != "RUNNING":
            self._status = "RUNNING"
            self._attempt(lambda: self.client.update_run(self.run_id, status="RUNNING"))

    def _put(self, name: str, value: float, step: int) -> None:
        from mlflow.entities import Metric

        self._buffer.append(Metric(name, finite(value), int(time.time() * 1000), step))

    def _flush(self) -> None:
        while self._buffer:
            part, self._buffer = self._buffer[:BATCH], self._buffer[BATCH:]
            self._log_batch(metrics=part)

    def _known_steps(self, name: str) -> set[int]:
        if name not in self._steps:
            history = self.client.get_metric_history(self.run_id, name) if name in self._latest else []
            self._steps[name] = {metric.step for metric in history}
        return self._steps[name]

    def _known_pictures(self) -> set[tuple[str, int]]:
        if self._pictures is None:
            # log_image gives every file another name, so a second call would add a second picture.
            matches = [IMAGE_FILE.fullmatch(Path(name).name) for name in self._listed("images")]
            self._pictures = {(match["key"], int(match["step"])) for match in matches if match}
        return self._pictures

    def _listed(self, folder: str) -> dict[str, int]:
        if folder not in self._files:
            files = self.client.list_artifacts(self.run_id, folder or None)
            self._files[folder] = {file.path: file.file_size or 0 for file in files if not file.is_dir}
        return self._files[folder]

    def _log_batch(
        self, metrics: Sequence[Metric] = (), params: Sequence[Param] = (), tags: Sequence[RunTag] = ()
    ) -> None:
        rows: dict[str, Sequence[Any]] = {"metrics": metrics, "params": params, "tags": tags}

        def log() -> None:
            self.client.log_batch(self.run_id, metrics=metrics, params=params, tags=tags)
            self.written.update({kind: len(part) for kind, part in rows.items() if part})

        self._attempt(log)

    def _attempt(self, work: Callable[[], object]) -> None:
        if self._silent:
            return
        try:
            work()
        except Exception as error:
            if self.strict:
                raise ValueError(f"MLflow: {reason(error)}") from error
            self._silent = True
            _tell(f"tracking stopped: {reason(error)}")


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

        with _failures(uri), FileLock(project_of(root) / "mlflow.db.lock", timeout=300) as guard:
            client = MlflowClient(tracking_uri=uri)
            return cls(client, _experiment(client, uri), guard)

    def run(
        self, key: str, name: str, params: Mapping[str, object], tags: Mapping[str, str], *, strict: bool
    ) -> MLflowTracker:
        """The run with this key, made with its params and tags if there is none; raises ValueError."""
        chosen = f"tags.`{KEY}` = '{key}'"
        with _failures(self.client.tracking_uri), self.guard:
            found = self.client.search_runs(
                [self.experiment_id], chosen, max_results=1, order_by=["attributes.start_time ASC"]
            )
            keyed = {**tags, KEY: key}
            run = found[0] if found else self.client.create_run(self.experiment_id, tags=keyed, run_name=name)
        tracker = MLflowTracker(self.client, run, strict=strict)
        tracker.written["runs"] = int(not found)
        tracker.params(params)
        return tracker


def _experiment(client: MlflowClient, uri: str) -> str:
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "ecdm"
    database, found = sqlite_file(uri), client.get_experiment_by_name(name)
    place = (database.parent / "mlartifacts" / name).as_uri() if database else None
    if found is None:
        return str(client.create_experiment(name, artifact_location=place))
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
        tracker.reopen()
    except Exception as error:
        _tell(f"{name} is not tracked live: {reason(error)}")
        return NullTracker()
    return tracker


@contextmanager
def _failures(uri: str) -> Iterator[None]:
    try:
        yield
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f"MLflow at {shown(uri)}: {reason(error)}") from error


def _tell(what: str) -> None:
    print(f"{what}; `ecdm sync` will fill in", file=sys.stderr, flush=True)
