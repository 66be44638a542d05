"""Keys of stages, and MLflow filled from files, on a tiny project that DVC really reproduces."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tiny_project import PARAMS, dvc, make_project

from ecdm.lineage import entry_key, live_entry, locked, reproduction
from ecdm.sync import Outcome, metrics_by_step, read_scores, sync
from ecdm.tracker import NullTracker
from ecdm.tracking import KEY, MLflowTracker, stage_tracker

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reproduced project, with MLflow's tables but no run; two training stages wrote down their own keys."""
    root = tmp_path_factory.mktemp("made") / "project"
    make_project(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        _client(root).search_experiments(max_results=1)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "DVC_EXP_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    return Path(shutil.copytree(made, tmp_path / "project", symlinks=True))


def _client(root: Path) -> MlflowClient:
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{root / 'mlflow.db'}")


def _all_runs(root: Path) -> list[Run]:
    client = _client(root)
    experiment = client.get_experiment_by_name("ecdm")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


def _runs(root: Path) -> dict[str, Run]:
    found = _all_runs(root)
    names = [run.info.run_name for run in found]
    assert len(set(names)) == len(names)
    return {run.info.run_name: run for run in found}


def _everything(root: Path) -> dict[str, Any]:
    """All that MLflow holds, times included."""
    client, found = _client(root), {}
    for name, run in _runs(root).items():
        histories = {key: client.get_metric_history(run.info.run_id, key) for key in run.data.metrics}
        metrics = {key: [(m.step, m.value, m.timestamp) for m in rows] for key, rows in histories.items()}
        found[name] = [run.info.status, run.info.end_time, run.data.tags, run.data.params, metrics]
    files = [path for path in (root / "mlartifacts").rglob("*") if path.is_file()]
    return found | {"files": {str(path): path.stat().st_mtime_ns for path in files}}


def locked_key(name: str, root: Path) -> str:
    """Key of a stage after it ran."""
    return entry_key(locked(root)[name])


def live_key(name: str, root: Path) -> str:
    """Key of a stage as it would run now."""
    return entry_key(live_entry(name, root))


def test_keys_are_known_before_a_stage_starts(root: Path) -> None:
    for name in ("baseline-0", "ours-0"):
        inside = (root / "watch" / name).read_text()
        assert inside == locked_key(f"train@{name}", root) == live_key(f"train@{name}", root)
    assert live_key("report", root) == locked_key("report", root)
    keys = {name: locked_key(name, root) for name in locked(root)}
    assert len(set(keys.values())) == 4


def test_what_a_key_depends_on(root: Path) -> None:
    name, key = "train@ours-0", locked_key("train@ours-0", root)
    same = {
        "library/__pycache__/y.pyc": "new",
        "params.yaml": "# a comment\n" + PARAMS.replace("lambda: 0.1", "lambda: 5"),
    }
    for path, text in same.items():
        (root / path).write_text(text)
        assert live_key(name, root) == key
    for path, old, new in (
        ("params.yaml", "steps: 3", "steps: 4"),
        ("library/inner/a.py", "1", "2"),
        ("build/variants/ours.yaml", "0.1", "0.2"),
        ("dvc.yaml", "make.py train", "make.py  train"),
    ):
        text = (root / path).read_text()
        (root / path).write_text(text.replace(old, new))
        assert live_key(name, root) != key
        (root / path).write_text(text)
    assert live_key(name, root) == key


def test_looking_changes_no_file(root: Path) -> None:
    def status() -> str:
        command = ["git", "-C", str(root), "status", "--porcelain", "--ignored"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    before, lock = status(), (root / "dvc.lock").read_bytes()
    live_key("train@ours-0", root)
    assert reproduction(root).complete
    assert (status(), (root / "dvc.lock").read_bytes()) == (before, lock)


def test_sync_fills_mlflow_once(root: Path) -> None:
    outcome = sync(root)
    assert outcome.skipped == []
    assert outcome.written["runs"] == 3
    runs = _runs(root)
    parent = runs.pop(f"reproduction {reproduction(root).key[:8]}")
    assert set(runs) == {"train@baseline-0", "train@ours-0"}
    lock = hashlib.sha256((root / "dvc.lock").read_bytes()).hexdigest()
    assert (parent.data.tags["dvc_lock"], parent.data.tags["stage"]) == (lock, "reproduction")
    client = _client(root)
    top = {file.path for file in client.list_artifacts(parent.info.run_id)}
    reports = {file.path for file in client.list_artifacts(parent.info.run_id, "reports")}
    assert top == {"dvc.lock", "params.yaml", "reports"}
    assert reports == {"reports/ablation.csv", "reports/metrics.json", "reports/grids"}
    (grid,) = client.list_artifacts(parent.info.run_id, "reports/grids")
    assert grid.path == "reports/grids/one.png"

    ours = runs["train@ours-0"]
    tags = {"variant": "ours", "seed": "0", "stage": "train", "DVC_STAGE": "train@ours-0", "git_dirty": "true"}
    tags |= {"dvc_lock": lock, KEY: locked_key("train@ours-0", root), "mlflow.parentRunId": parent.info.run_id}
    assert tags.items() <= ours.data.tags.items()
    assert "hardware" not in ours.data.tags
    assert ours.data.params == {
        "train.lr": "0.0001", "train.steps": "3", "train.path": "null", "train.sizes": "[1, 2]",
        "train.deep.name": "no", "variant": "ours", "seed": "0", "sail.lambda": "0.1",
    }  # fmt: skip
    assert runs["train@baseline-0"].data.params["sail"] == "null"
    assert ours.data.metrics == {
        "loss": 1 / 3, "lr": 1 / 3, "psnr/10-20": 31.5, "psnr/10-20_low": 30.0, "psnr/10-20_high": 32.0
    }  # fmt: skip
    assert [metric.step for metric in client.get_metric_history(ours.info.run_id, "loss")] == [1, 2, 3]
    pictures = [Path(file.path).name for file in client.list_artifacts(ours.info.run_id, "images")]
    assert sorted(name.split("+timestamp")[0] for name in pictures if name.endswith(".png")) == [
        "validation+step+2", "validation+step+3"
    ]  # fmt: skip

    before = _everything(root)
    assert not +sync(root).written
    assert _everything(root) == before


def test_sync_completes_what_a_killed_stage_logged_live(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "brave-try")
    with stage_tracker("train@ours-0", root) as tracker:
        assert isinstance(tracker, MLflowTracker)
        tracker.metrics({"loss": 1.0, "lr": 1.0}, 1)
        tracker.metrics({"loss": 0.5}, 2)
    live = _runs(root)["train@ours-0"]
    assert live.data.tags[KEY] == locked_key("train@ours-0", root)
    assert live.data.tags["DVC_EXP_NAME"] == "brave-try"
    assert "cores" in live.data.tags["hardware"]
    written = {run.name: run.written for run in sync(root).runs}["train@ours-0"]
    assert (written["runs"], written["params"], written["metrics"], written["images"]) == (0, 0, 6, 2)
    filled = _runs(root)["train@ours-0"]
    assert filled.info.run_id == live.info.run_id
    for name in ("loss", "lr"):
        steps = [metric.step for metric in _client(root).get_metric_history(live.info.run_id, name)]
        assert sorted(steps) == [1, 2, 3]
    assert capsys.readouterr().err == ""


def test_a_failed_stage_shows_as_failed_until_it_goes_on(root: Path) -> None:
    def status() -> str:
        return str(_runs(root)["train@ours-0"].info.status)

    def fail() -> None:
        with stage_tracker("train@ours-0", root):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert status() == "FAILED"
    with stage_tracker("train@ours-0", root):
        assert status() == "RUNNING"
    assert status() == "FINISHED"


def test_files_that_are_not_those_of_the_lock_are_left_out(root: Path) -> None:
    history = root / "build" / "train" / "ours-0" / "history.csv"
    text = history.read_text()
    history.write_text(text.replace("1.0", "9.0"))
    outcome = sync(root)
    assert [run.name for run in outcome.runs] == ["train@baseline-0"]
    assert "train@ours-0: build/train/ours-0 is not as in dvc.lock" in outcome.skipped
    history.write_text(text)
    assert len(_names(sync(root))) == 3

    params = root / "params.yaml"
    params.write_text(PARAMS.replace("lambda: 0.1", "lambda: 0.3"))
    outcome = sync(root)
    assert outcome.skipped == ["variants: not reproduced with the present dvc.yaml and params.yaml"]
    assert _names(outcome) == ["train@baseline-0", "train@ours-0"]
    assert not +outcome.written


def _names(outcome: Outcome) -> list[str]:
    return [run.name for run in outcome.runs]


def test_a_run_of_two_reproductions_is_shared(root: Path) -> None:
    sync(root)
    first = reproduction(root).key
    params = root / "params.yaml"
    params.write_text(PARAMS.replace("lambda: 0.1", "lambda: 0.3").replace("baseline, ours", "ours, baseline"))
    dvc(root, "repro", "-q")
    sync(root)
    second = reproduction(root).key
    found = _all_runs(root)
    names = sorted(run.info.run_name for run in found)
    parents = [f"reproduction {key[:8]}" for key in (first, second)]
    assert names == sorted([*parents, "train@baseline-0", "train@ours-0", "train@ours-0"])
    by_name = {run.info.run_name: run for run in found}
    shared = by_name["train@baseline-0"].data.tags
    assert shared["mlflow.parentRunId"] == by_name[f"reproduction {second[:8]}"].info.run_id
    assert {f"ecdm.reproduction.{key[:12]}" for key in (first, second)} <= set(shared)
    marked = _client(root).search_runs([found[0].info.experiment_id], f"tags.`ecdm.reproduction.{first[:12]}` = 'yes'")
    assert sorted(run.data.params["variant"] for run in marked) == ["baseline", "ours"]


@pytest.mark.parametrize(
    ("path", "old", "new", "message"),
    [
        ("build/train/ours-0/history.csv", "2,loss,0.5", "2,loss,half", r"history\.csv: line 4: expected numbers"),
        ("reports/ablation.csv", "31.5,30,32", "31.5,30,high", r"ablation\.csv: line 2: expected a number in ci_high"),
        ("reports/ablation.csv", "ci_low", "low", r"ablation\.csv: no column ci_low"),
    ],
)
def test_malformed_files_are_named(root: Path, path: str, old: str, new: str, message: str) -> None:
    text = (root / path).read_text()
    assert old in text
    (root / path).write_text(text.replace(old, new))
    read = metrics_by_step if path.endswith("history.csv") else read_scores
    with pytest.raises(ValueError, match=message):
        read(root / path)


def test_without_a_project_nothing_is_tracked_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    with stage_tracker("train@ours-0", tmp_path) as tracker:
        assert isinstance(tracker, NullTracker)
    with pytest.raises(FileNotFoundError, match=r"dvc\.lock: no such file; run `dvc repro` first"):
        sync(tmp_path)
