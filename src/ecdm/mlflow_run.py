"""One MLflow run: written in batches, and never twice."""

from __future__ import annotations

import hashlib
import json
import math
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ecdm.lineage import Input, flatten
from ecdm.tracker import finite, reason

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, Run, RunTag

Pixels = NDArray[np.uint8]

BATCH, PARAMS_PER_CALL, PARAM_LENGTH, TAG_LENGTH, DIGEST_LENGTH = 1000, 100, 6000, 8000, 36
IMAGE_FILE = re.compile(r"(?P<key>.+)[+%]step[+%](?P<step>-?\d+)[+%]timestamp.*\.(?P<kind>png|webp)")
IMAGES, TABLES, FILES = "mlflow.loggedImages", "mlflow.loggedArtifacts", "ecdm.files"


class MLflowTracker:
    """One MLflow run; what it has already is never written again.

    Metrics are buffered and written `flush_every` at a time. Where `strict`, a store that fails raises
    ValueError; else one line is printed and the tracker falls silent, for the files can fill in later.
    `machine` gives numbers about the machine to go with every step's metrics. `written` counts what went to the
    store, by kind.
    """

    def __init__(
        self,
        client: MlflowClient,
        run: Run,
        strict: bool = False,
        flush_every: int = 100,
        machine: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        self.client, self.run_id, self.strict = client, run.info.run_id, strict
        self.flush_every, self.machine = min(flush_every, BATCH), machine
        self.written: Counter[str] = Counter()
        self._silent = False
        self._status = run.info.status
        self._tags, self._params = dict(run.data.tags), set(run.data.params)
        self._inputs = {(i.dataset.name, i.dataset.digest) for i in (run.inputs.dataset_inputs if run.inputs else ())}
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
            for name, value in {**values, **self.machine()}.items():
                if step not in self._known_steps(name):
                    self._steps[name].add(step)
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

    def image(self, key: str, image: Pixels | Callable[[], Pixels], step: int) -> None:
        """As `Tracker` says; a function that makes the picture is called only where the store lacks it."""
        if not callable(image) and image.dtype != np.uint8:
            raise ValueError(f"image {key!r}: found {image.dtype}, expected uint8")
        self._attempt(self._known_pictures)
        if self._silent:
            return
        if (key.replace("/", "~"), step) not in self._known_pictures():
            self._log_image(key, image() if callable(image) else image, step)
        # A writer killed after the files and before this tag would leave pictures that the UI never shows.
        self.tags({IMAGES: "True"})

    def _log_image(self, key: str, image: Pixels, step: int) -> None:
        def log() -> None:
            self.client.log_image(self.run_id, image, key=key, step=step, synchronous=True)
            self._known_pictures().add((key.replace("/", "~"), step))
            self._tags[IMAGES] = "True"
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

    def files(self, found: Mapping[str, bytes], tables: Sequence[str] = ()) -> None:
        """All artifacts of the run by path, written unless the last complete call had the same content.

        `tables` names those that are tables of the UI, as JSON with columns and rows apart. MLflow's own
        `log_table` would add its rows to a table that is there.
        """
        parts = [(name, hashlib.sha256(content).hexdigest()) for name, content in sorted(found.items())]
        digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        if not found or self._tags.get(FILES) == digest:
            return

        def log() -> None:
            import tempfile

            with tempfile.TemporaryDirectory() as folder:
                for name, content in found.items():
                    path = Path(folder, name)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content)
                self.client.log_artifacts(self.run_id, folder)
            self.written["artifacts"] += len(found)

        self._attempt(log)
        shown = json.dumps([{"path": name, "type": "table"} for name in tables])
        self.tags({**({TABLES: shown} if tables else {}), FILES: digest})

    def inputs(self, found: Sequence[Input], context: str) -> None:
        """Data the run was made from, by name and digest; `context` says what it was for."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        new = [data for data in found if (data.name, data.digest[:DIGEST_LENGTH]) not in self._inputs]
        rows = [
            DatasetInput(
                Dataset(data.name, data.digest[:DIGEST_LENGTH], "local", json.dumps(data.source), None, data.profile),
                [InputTag("mlflow.data.context", context)],
            )
            for data in new
        ]
        if rows:
            self._attempt(lambda: self.client.log_inputs(self.run_id, rows))
            self._inputs |= {(row.dataset.name, row.dataset.digest) for row in rows}
            self.written["inputs"] += len(rows)

    def tags(self, values: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        cut = {name: value[:TAG_LENGTH] for name, value in values.items()}
        new = {name: value for name, value in cut.items() if self._tags.get(name) != value}
        rows = [RunTag(name, value) for name, value in new.items()]
        if rows:
            self._log_batch(tags=rows)
        self._tags |= new

    def missing_tags(self, values: Mapping[str, str]) -> None:
        """Labels of which the first value stands."""
        self.tags({name: value for name, value in values.items() if name not in self._tags})

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
            # log_image gives every file another name, so a second call would add a second picture. Its small
            # copy is written last: without it the picture may be half of one.
            matches = [IMAGE_FILE.fullmatch(Path(name).name) for name in self._listed("images")]
            self._pictures = {(m["key"], int(m["step"])) for m in matches if m and m["kind"] == "webp"}
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
            tell(f"tracking stopped: {reason(error)}")


def tell(what: str) -> None:
    """Say on standard error that something is missing in MLflow for now."""
    print(f"{what}; `ecdm sync` will fill in", file=sys.stderr, flush=True)
