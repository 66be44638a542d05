"""MLflow runs: written in batches, never twice, found again by key, and no burden when the store fails."""

from __future__ import annotations

import math
import os
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from servers import end, free_port, serving

from ecdm import tracking
from ecdm.address import unreachable
from ecdm.mlflow_run import BATCH, MLflowTracker
from ecdm.tracker import NullTracker
from ecdm.tracking import EXPERIMENT_TAG_LENGTH, KEY, Store, stage_tracker

PICTURE = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables and no experiment of ours: making the tables takes seconds."""
    folder = tmp_path_factory.mktemp("tables")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setenv("MLFLOW_EXPERIMENT_NAME", "other")
        Store.connect(folder)
    return folder / "mlflow.db"


@pytest.fixture
def root(tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    shutil.copy(tables, tmp_path / "mlflow.db")
    return tmp_path


def _run(root: Path, key: str = "k", params: dict[str, Any] | None = None) -> MLflowTracker:
    return Store.connect(root).run(key, "train@ours-0", params or {}, {"stage": "train"}, strict=True)


def _history(tracker: MLflowTracker, name: str) -> list[tuple[int, float]]:
    return [(metric.step, metric.value) for metric in tracker.client.get_metric_history(tracker.run_id, name)]


def test_one_run_per_key_with_params_once(root: Path) -> None:
    first = _run(root, params={"sail": {"lambda": 0.1, "none": None}, "sizes": [1, 2]})
    again = _run(root, params={"sail": {"lambda": 0.7}, "new": "x"})
    other = _run(root, key="l")
    assert first.run_id == again.run_id != other.run_id
    assert (first.written["runs"], again.written["runs"]) == (1, 0)
    found = first.client.get_run(first.run_id)
    assert found.data.params == {"sail.lambda": "0.1", "sail.none": "null", "sizes": "[1, 2]", "new": "x"}
    assert found.data.tags[KEY] == "k"
    assert found.info.artifact_uri.startswith((root / "mlartifacts" / "ecdm").as_uri())


def test_many_params_and_metrics_go_in_batches(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = _run(root)
    sizes: Counter[tuple[str, int]] = Counter()
    write = tracker.client.log_batch

    def counting(run_id: str, **rows: Any) -> None:
        sizes.update((kind, len(part)) for kind, part in rows.items() if part)
        write(run_id, **rows)

    monkeypatch.setattr(tracker.client, "log_batch", counting)
    tracker.params({f"p{i}": i for i in range(250)})
    for step in range(130):
        tracker.metrics({"a": step, "b": -step}, step)
    tracker.metrics({f"m{i}": i for i in range(2 * BATCH + 5)}, 0)
    tracker.close()
    assert sizes == {
        ("params", 100): 2, ("params", 50): 1, ("metrics", 100): 2, ("metrics", BATCH): 2, ("metrics", 65): 1
    }  # fmt: skip
    assert _history(tracker, "b") == [(step, -step) for step in range(130)]
    assert tracker.client.get_run(tracker.run_id).info.status == "FINISHED"


def test_a_resumed_run_repeats_nothing(root: Path, tmp_path: Path) -> None:
    report = tmp_path / "table.md"
    report.write_text("one")
    for last in (3, 5):
        tracker = _run(root)
        for step in range(last):
            tracker.metrics({"loss": 1 / (step + 1)}, step)
            tracker.image("a/validation", PICTURE, step)
        tracker.artifact(report, "reports")
        tracker.tags({"dvc_lock": "x"})
        tracker.close()
    assert tracker.written == {"runs": 0, "metrics": 2, "images": 2}
    assert tracker.client.get_run(tracker.run_id).data.tags["mlflow.loggedImages"] == "True"
    assert [step for step, _ in _history(tracker, "loss")] == [0, 1, 2, 3, 4]
    images = [file.path for file in tracker.client.list_artifacts(tracker.run_id, "images")]
    assert len([path for path in images if path.endswith(".png")]) == 5

    report.write_text("changed")
    tracker.artifact(report, "reports")
    (file,) = tracker.client.list_artifacts(tracker.run_id, "reports")
    assert (file.path, file.file_size) == ("reports/table.md", len("changed"))


def test_of_two_runs_made_at_once_on_a_server_the_older_stays(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.connect(root)
    first = store.run("k", "train@ours-0", {}, {}, strict=True)
    find, looks = Store._find, iter([True, False])
    monkeypatch.setattr(tracking, "sqlite_file", lambda uri: None)
    monkeypatch.setattr(Store, "_find", lambda self, key: None if next(looks) else find(self, key))
    late = store.run("k", "train@ours-0", {}, {}, strict=True)
    assert (late.run_id, late.written["runs"]) == (first.run_id, 0)
    assert next(looks, None) is None
    assert len(store.client.search_runs([store.experiment_id])) == 1


def test_a_summary_is_written_when_it_changes(root: Path) -> None:
    values = {"psnr/10-20": 30.5, "empty": math.nan, "perfect": math.inf}
    for shown in (values, values, {**values, "psnr/10-20": 31.0}):
        tracker = _run(root)
        tracker.summary(shown)
        tracker.close()
    assert tracker.written["metrics"] == 1
    assert [value for _, value in _history(tracker, "psnr/10-20")] == [30.5, 31.0]
    assert tracker.client.get_run(tracker.run_id).data.metrics["psnr/10-20"] == 31.0
    assert len(_history(tracker, "empty")) == len(_history(tracker, "perfect")) == 1


def test_pictures_have_to_be_bytes(root: Path) -> None:
    with pytest.raises(ValueError, match="found float32, expected uint8"):
        _run(root).image("x", PICTURE.astype(np.float32), 0)


def test_a_label_that_is_too_long_is_refused(root: Path) -> None:
    store = Store.connect(root)
    longest = {"view": "x" * EXPERIMENT_TAG_LENGTH}
    store.tags(longest)
    with pytest.raises(ValueError, match=r"tag view: found 20001 characters, expected at most 20000"):
        store.tags({"other": "", "view": longest["view"] + "x"})
    assert {name: value for name, value in store.tags().items() if name in ("view", "other")} == longest


def test_a_deleted_run_is_made_again(root: Path) -> None:
    first = _run(root)
    first.client.delete_run(first.run_id)
    assert _run(root).run_id != first.run_id


def test_a_copied_database_is_refused(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    _run(root)
    copy = tmp_path_factory.mktemp("copy")
    shutil.copy(root / "mlflow.db", copy)
    with pytest.raises(ValueError, match="delete this copied database"):
        Store.connect(copy)


def test_three_processes_make_the_store_at_once(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from ecdm.tracking import Store\n"
        "store = Store.connect(Path(sys.argv[1]))\n"
        "for key in ('shared', sys.argv[2]):\n"
        "    run = store.run(key, key, {}, {}, strict=True)\n"
        "    run.metrics({sys.argv[2]: 1.0}, 0)\n"
        "    run.close()\n"
    )
    quiet = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    command = [sys.executable, "-c", script, str(tmp_path)]
    started = [
        subprocess.Popen([*command, name], env=quiet, stderr=subprocess.PIPE, text=True) for name in ("a", "b", "c")
    ]
    for process in started:
        _, errors = process.communicate()
        assert (process.returncode, errors) == (0, "")
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert len(database.execute("SELECT * FROM alembic_version").fetchall()) == 1
        keys = database.execute("SELECT value FROM tags WHERE key = ? ORDER BY value", (KEY,)).fetchall()
        assert keys == [("a",), ("b",), ("c",), ("shared",)]
        (metrics,) = database.execute("SELECT count(*) FROM metrics").fetchone()
        assert metrics == 6


def test_a_server_that_is_down_costs_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://somebody:secret@127.0.0.1:1")
    with stage_tracker("train@ours-0", tmp_path) as tracker:
        tracker.metrics({"loss": 1.0}, 0)
    assert isinstance(tracker, NullTracker)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("train@ours-0 is not tracked live: MLflow at http://127.0.0.1:1: no answer within 2 s")
    assert line.endswith("`ecdm sync` will fill in")
    with pytest.raises(ValueError, match=r"^MLflow at http://127\.0\.0\.1:1: no answer"):
        Store.connect(tmp_path)


@pytest.fixture
def server(tables: Path, tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    shutil.copy(tables, tmp_path / "served.db")
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--backend-store-uri", f"sqlite:///{tmp_path / 'served.db'}"]
    command += ["--artifacts-destination", str(tmp_path / "served")]
    with serving(command, port, tmp_path / "server.log") as process:
        yield f"http://127.0.0.1:{port}", process


def test_a_server_killed_in_the_middle(
    server: tuple[str, subprocess.Popen[bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    uri, process = server
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    monkeypatch.setattr(tracking, "unreachable", partial(unreachable, seconds=60))
    report = tmp_path / "table.md"
    report.write_text("one")
    store = Store.connect(tmp_path)
    for _ in range(2):
        tracker = store.run("k", "train@ours-0", {"a": 1}, {}, strict=False)
        tracker.metrics({"loss": math.nan, "lr": 0.5}, 0)
        tracker.summary({"psnr": math.inf, "empty": math.nan})
        tracker.image("validation", PICTURE, 0)
        tracker.artifact(report, "reports")
        tracker.close()
    assert tracker.written == {"runs": 0}
    assert _history(tracker, "lr") == [(0, 0.5)]
    assert len(list((tmp_path / "served").rglob("table.md"))) == 1

    end(process)
    tracker.reopen()
    for step in range(1, 300):
        tracker.metrics({"loss": 0.0}, step)
    tracker.image("validation", PICTURE, 1)
    tracker.artifact(report, "elsewhere")
    tracker.close()
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "tracking" in line]
    assert line.startswith("tracking stopped: ")
    with pytest.raises(ValueError, match="MLflow at"):
        store.run("k", "train@ours-0", {}, {}, strict=True)


def test_importing_it_imports_neither_mlflow_nor_dvc() -> None:
    script = "import sys, ecdm.tracking, ecdm.mirror.sync; print({'mlflow', 'dvc'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_telemetry_is_off(root: Path) -> None:
    Store.connect(root)
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert os.environ["MLFLOW_TRACE_SAMPLING_RATIO"] == "0"
