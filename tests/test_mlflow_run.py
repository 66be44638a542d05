"""What one MLflow run holds besides params and metrics: files, tables, inputs, numbers about the machine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ecdm.lineage import Input
from ecdm.mlflow_run import MLflowTracker
from ecdm.system import SystemMetrics
from ecdm.tracking import Store


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(autouse=True)
def _local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)


def _run(root: Path, key: str) -> MLflowTracker:
    return Store.connect(root).run(key, key, {}, {}, strict=True)


def test_files_are_written_again_when_any_of_them_changed(root: Path) -> None:
    def write(content: bytes) -> MLflowTracker:
        tracker = _run(root, "files")
        tracker.files({"a/table.json": b'{"columns": ["x"], "data": [[1]]}', "b.txt": content}, ["a/table.json"])
        return tracker

    assert [write(content).written["artifacts"] for content in (b"one", b"one", b"two")] == [2, 0, 2]
    run = write(b"two")
    path = Path(run.client.download_artifacts(run.run_id, "b.txt"))
    assert path.read_bytes() == b"two"
    tables = run.client.get_run(run.run_id).data.tags["mlflow.loggedArtifacts"]
    assert json.loads(tables) == [{"path": "a/table.json", "type": "table"}]


def test_inputs_are_written_once(root: Path) -> None:
    data = Input("data/scenes", "0" * 32 + ".dir", {"uri": "data/scenes", "stage": "prepare"}, '{"nfiles": 3}')
    changed = replace(data, digest="1" * 32)
    for found in ([data, data], [data], [data, changed]):
        tracker = _run(root, "inputs")
        tracker.inputs(found, "training")
    assert tracker.written["inputs"] == 1
    stored = tracker.client.get_run(tracker.run_id).inputs
    assert stored is not None
    assert sorted(one.dataset.digest for one in stored.dataset_inputs) == [data.digest, changed.digest]
    first = next(one for one in stored.dataset_inputs if one.dataset.digest == data.digest)
    assert json.loads(first.dataset.source) == data.source
    assert (first.dataset.profile, first.tags[0].value) == (data.profile, "training")


def test_numbers_about_the_machine_go_with_the_metrics(root: Path) -> None:
    tracker = _run(root, "machine")
    tracker.machine = SystemMetrics(every=1e9)
    for step in range(3):
        tracker.metrics({"loss": 1.0}, step)
    tracker.close()
    found = tracker.client.get_run(tracker.run_id).data.metrics
    assert {"system/cpu_utilization_percentage", "system/disk_available_megabytes"} <= set(found)
    history = tracker.client.get_metric_history(tracker.run_id, "system/system_memory_usage_percentage")
    assert [metric.step for metric in history] == [0]
    often = SystemMetrics(every=0)
    assert often().keys() == often().keys() != set()


def test_graphics_cards_are_asked_through_the_library_that_is_installed() -> None:
    """Without it MLflow raises another error than where there is no card."""
    import pynvml
    from mlflow.system_metrics.metrics import gpu_monitor

    assert gpu_monitor.pynvml is pynvml


def test_without_a_graphics_card_the_other_numbers_remain(monkeypatch: pytest.MonkeyPatch) -> None:
    import pynvml

    def none() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", none)
    assert not [name for name in SystemMetrics(every=0)() if name.startswith("system/gpu")]


def test_a_picture_is_made_only_where_it_is_missing(root: Path) -> None:
    made = []

    def make() -> NDArray[np.uint8]:
        made.append(1)
        return np.zeros((2, 2, 3), np.uint8)

    for _ in range(2):
        _run(root, "pictures").image("a/b", make, 3)
    assert len(made) == 1
