"""MLflow filled from files: the tree of runs, once, after whatever happened before."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock
from tiny_project import PARAMS, dvc, git

from ecdm.lineage import entry_key
from ecdm.mirror import sync as syncing
from ecdm.mirror import tree
from ecdm.mirror.contents import metrics_by_step
from ecdm.mirror.state import locked, reproduction
from ecdm.mirror.sync import Outcome, sync
from ecdm.mlflow_run import MLflowTracker
from ecdm.runs import stage_run
from ecdm.tracker import NullTracker
from ecdm.tracking import KEY, stage_tracker

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Dataset, Run

Runs = Callable[[Path], "dict[str, Run]"]
Clients = Callable[[Path], "MlflowClient"]
Stored = Callable[[Path], dict[str, Any]]
SEEDS = {f"{stage}@{variant}-{seed}" for stage in ("train", "generate", "evaluate")
         for variant in ("baseline", "ours") for seed in (0, 1)}  # fmt: skip
STAGES = SEEDS | {"prepare", "variants", "report"}


def names(outcome: Outcome) -> set[str]:
    return {run.name for run in outcome.runs}


def files(client: MlflowClient, run: Run, folder: str | None = None) -> set[str]:
    return {file.path for file in client.list_artifacts(run.info.run_id, folder)}


def datasets(run: Run) -> list[Dataset]:
    assert run.inputs is not None
    return [found.dataset for found in run.inputs.dataset_inputs]


def pictures(client: MlflowClient, run: Run) -> list[str]:
    """Key and step of every whole picture: one that was cut off has no small copy."""
    found = [Path(path).name for path in files(client, run, "images")]
    whole = [name.removesuffix("+compressed.webp") for name in found if name.endswith("+compressed.webp")]
    assert {f"{name}.png" for name in whole} <= set(found)
    return sorted(name.split("+timestamp")[0] for name in whole)


def test_the_tree(synced: Path, runs: Runs) -> None:
    parent = f"reproduction {reproduction(synced).key[:8]}"
    found = runs(synced)
    assert set(found) == STAGES | {parent, "baseline", "ours"}
    above = {name: run.data.tags.get("mlflow.parentRunId") for name, run in found.items()}
    assert above.pop(parent) is None
    for name, run_id in above.items():
        variant = name.partition("@")[2][:-2]
        assert run_id == found[variant or parent].info.run_id
    for name in STAGES:
        assert found[name].data.tags[KEY] == entry_key(locked(synced)[name])
    assert found[parent].data.tags[KEY] == reproduction(synced).key
    assert {run.info.status for run in found.values()} == {"FINISHED"}


def test_the_parent(synced: Path, runs: Runs, client: Clients) -> None:
    store = client(synced)
    parent = runs(synced)[f"reproduction {reproduction(synced).key[:8]}"]
    lock = hashlib.sha256((synced / "dvc.lock").read_bytes()).hexdigest()
    tags = {"dvc_lock": lock, "stage": "reproduction", "git_dirty": "true", "dataset": "scenes", "profile": "custom"}
    assert tags.items() <= parent.data.tags.items()
    assert files(store, parent) == {"dvc.lock", "params.yaml", "reports"}
    reports = {f"reports/{name}" for name in ("ablation.csv", "differences.csv", "metrics.json", "grids")}
    assert files(store, parent, "reports") == reports
    assert files(store, parent, "reports/grids") == {"reports/grids/one.png"}
    params = {"variants": '["baseline", "ours"]', "train.lr": "0.0001", "seed": "7", "sail.lambda": "0.1"}
    assert params.items() <= parent.data.params.items()
    assert {"train_seed", "variant"}.isdisjoint(parent.data.params)
    assert {data.name for data in datasets(parent)} == {"data/scenes"}
    note = parent.data.tags["mlflow.note.content"]
    for name in ("ours", "prepare", "evaluate@ours-1"):
        assert f"[{name}](#/experiments/1/runs/{runs(synced)[name].info.run_id})" in note
    assert "| psnr/10-20 | 31.5 [30, 32] | 31.5 [30, 32] |" in note


def test_a_seed_and_its_variant(synced: Path, runs: Runs, client: Clients) -> None:
    store = client(synced)
    seed, variant, scored = (runs(synced)[name] for name in ("train@ours-1", "ours", "evaluate@ours-1"))
    generated = runs(synced)["generate@ours-1"]
    assert {"seed": "7", "train_seed": "1", "generate.steps": "31"}.items() <= generated.data.params.items()
    assert {"seed": "7", "seeds": "[0, 1]", "sail.lambda": "0.1"}.items() <= variant.data.params.items()
    assert "train_seed" not in variant.data.params
    tags = {"variant": "ours", "seed": "1", "stage": "train", "DVC_STAGE": "train@ours-1"}
    assert tags.items() <= seed.data.tags.items()
    assert {"hardware", "git_commit", "git_dirty", "mlflow.source.git.commit"}.isdisjoint(seed.data.tags)
    assert seed.data.params == {
        "train.lr": "0.0001", "train.steps": "3", "train.path": "null", "train.sizes": "[1, 2]",
        "train.deep.name": "no", "variant": "ours", "train_seed": "1", "sail.lambda": "0.1",
    }  # fmt: skip
    means = {"psnr/10-20": 31.5, "psnr/10-20_ci_low": 30.0, "psnr/10-20_ci_high": 32.0}
    assert (seed.data.metrics, scored.data.metrics) == ({"loss": 2 / 3, "lr": 2 / 3}, means)
    changes = {
        "vs_baseline/psnr/10-20": 0.25,
        "vs_baseline/psnr/10-20_ci_low": -0.5,
        "vs_baseline/psnr/10-20_ci_high": 1,
    }
    assert variant.data.metrics == {"loss": 0.5, "lr": 0.5, **means, **changes}
    assert [metric.step for metric in store.get_metric_history(seed.info.run_id, "loss")] == [1, 2, 3]
    assert pictures(store, seed) == ["validation+step+2", "validation+step+3"]
    assert pictures(store, variant) == ["test~scenes~10-20+step+3", "validation+step+2", "validation+step+3"]
    assert {data.name: len(data.digest) for data in datasets(seed)} == {"library": 36, "build/variants/ours.yaml": 32}
    table = json.loads(Path(store.download_artifacts(scored.info.run_id, "scores.json")).read_text())
    assert table["columns"] == ["seed", "dataset", "bucket", "image_id", "output", "psnr", "ssim"]
    assert table["data"] == [["1", "scenes", "10-20", "7", "pasted", 31.5, 0.9]]
    assert json.loads(scored.data.tags["mlflow.loggedArtifacts"]) == [{"path": "scores.json", "type": "table"}]
    both = json.loads(Path(store.download_artifacts(variant.info.run_id, "scores.json")).read_text())
    assert [row[0] for row in both["data"]] == ["0", "1"]
    trained = runs(synced)["train@ours-1"].info.run_id
    assert (
        f"| [train@ours-1](#/experiments/1/runs/{trained}) |"
        in runs(synced)["generate@ours-1"].data.tags["mlflow.note.content"]
    )


def test_twice_changes_nothing(synced: Path, stored: Stored) -> None:
    before = stored(synced)
    assert sum(map(len, before.values())) > 300
    outcome = sync(synced)
    assert not +outcome.written
    assert names(outcome) == set(STAGES) | {"baseline", "ours", f"reproduction {reproduction(synced).key[:8]}"}
    assert stored(synced) == before


def test_completes_what_a_killed_stage_logged_live(
    root: Path, runs: Runs, client: Clients, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "brave-try")
    with stage_tracker("train@ours-0", root) as tracker:
        assert isinstance(tracker, MLflowTracker)
        tracker.metrics({"loss": 1.0, "lr": 1.0}, 1)
        tracker.metrics({"loss": 0.5}, 2)
    live = runs(root)["train@ours-0"]
    assert live.data.tags[KEY] == entry_key(locked(root)["train@ours-0"])
    assert live.data.tags["DVC_EXP_NAME"] == "brave-try"
    assert "cores" in live.data.tags["hardware"]
    assert 0 < live.data.metrics["system/system_memory_usage_percentage"] <= 100
    all_written = {run.name: run.written for run in sync(root).runs}
    written = all_written["train@ours-0"]
    assert (written["runs"], written["params"], written["metrics"], written["images"]) == (0, 0, 3, 2)
    assert all_written["evaluate@ours-0"]["metrics"] == 3
    filled = runs(root)["train@ours-0"]
    assert filled.info.run_id == live.info.run_id
    assert filled.data.tags["DVC_EXP_NAME"] == "brave-try"
    for name in ("loss", "lr"):
        steps = [metric.step for metric in client(root).get_metric_history(live.info.run_id, name)]
        assert sorted(steps) == [1, 2, 3]
    assert capsys.readouterr().err == ""


def test_a_failed_stage_shows_as_failed_until_it_goes_on(root: Path, runs: Runs) -> None:
    def status() -> str:
        return str(runs(root)["train@ours-0"].info.status)

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
    assert names(outcome) == STAGES - {"train@ours-0", "generate@ours-0", "report"}
    assert "train@ours-0: build/train/ours-0 is not as in dvc.lock" in outcome.skipped
    history.write_text(text)
    assert len(names(sync(root))) == len(STAGES) + 3

    params = root / "params.yaml"
    params.write_text(PARAMS.replace("lambda: 0.1", "lambda: 0.3"))
    outcome = sync(root)
    assert outcome.skipped == ["variants: not reproduced with the present dvc.yaml and params.yaml"]
    assert names(outcome) == STAGES
    assert not +outcome.written


def test_reproductions_share_what_is_the_same(
    root: Path, runs: Runs, all_runs: Callable[[Path], list[Run]], client: Clients
) -> None:
    sync(root)
    first, before = reproduction(root).key, runs(root)
    params = root / "params.yaml"
    params.write_text(PARAMS.replace("lambda: 0.1", "lambda: 0.3"))
    dvc(root, "repro", "-q")
    made = {run.name for run in sync(root).runs if run.written["runs"]}
    second = reproduction(root).key
    # Its weights are the same, so that generation and scores are not made again.
    seeds = {f"train@ours-{seed}" for seed in (0, 1)}
    assert made == seeds | {"variants", "baseline", "ours", f"reproduction {second[:8]}"}
    shared = client(root).get_run(before["train@baseline-0"].info.run_id).data.tags
    assert {f"ecdm.reproduction.{key[:12]}" for key in (first, second)} <= set(shared)
    above = client(root).get_run(shared["mlflow.parentRunId"]).data.tags
    assert (above["variant"], above["reproduction"]) == ("baseline", second[:12])

    # Back to the first one, which DVC takes from its cache without running anything.
    params.write_text(PARAMS)
    dvc(root, "repro", "-q")
    count = len(all_runs(root))
    assert not sync(root).written["runs"]
    assert (reproduction(root).key, len(all_runs(root))) == (first, count)
    again = client(root).get_run(before["train@baseline-0"].info.run_id).data.tags["mlflow.parentRunId"]
    assert again == before["baseline"].info.run_id

    # Other outputs and scores of the same weights.
    params.write_text(PARAMS.replace("steps: 31", "steps: 33"))
    dvc(root, "repro", "-q")
    outcome = sync(root)
    made = {run.name for run in outcome.runs if run.written["runs"]}
    seeds = {name for name in SEEDS if not name.startswith("train")}
    assert made == seeds | {"report", "baseline", "ours", f"reproduction {reproduction(root).key[:8]}"}
    ids = {run.name: run.run_id for run in outcome.runs}
    for name in ("evaluate@ours-0", "ours"):
        both = before[name].info.run_id, ids[name]
        assert [client(root).get_run(run).data.metrics["psnr/10-20"] for run in both] == [31.5, 33.5]
    assert ids["train@ours-0"] == before["train@ours-0"].info.run_id
    assert set(client(root).get_run(ids["train@ours-0"]).data.metrics) == {"loss", "lr"}


def test_the_commit_is_that_of_the_stage_run(root: Path, runs: Runs) -> None:
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "One")
    with stage_run("train@ours-0", root):
        pass
    then = json.loads((root / "runs" / "train@ours-0.json").read_text())["commit"]
    git(root, "commit", "-q", "--allow-empty", "-m", "Two")
    sync(root)
    found = runs(root)
    commits = {name: run.data.tags.get("git_commit") for name, run in found.items()}
    versions = {name: run.data.tags.get("mlflow.source.git.commit") for name, run in found.items()}
    assert commits == versions
    assert then is not None
    assert commits["train@ours-0"] == then
    assert "cores" in found["train@ours-0"].data.tags["hardware"]
    assert commits["train@ours-1"] is None
    assert commits["ours"] not in (None, then)


def test_a_new_clone_after_pull(root: Path, synced: Path, tmp_path: Path, runs: Runs) -> None:
    dvc(root, "remote", "add", "-d", "shared", str(tmp_path / "remote"))
    dvc(root, "push", "-q")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "One")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(root), str(clone))
    assert sync(clone).skipped
    dvc(clone, "pull", "-q")
    assert sync(clone).skipped == []
    theirs, ours = runs(clone), runs(synced)
    assert {name: run.data.metrics for name, run in theirs.items()} == {n: run.data.metrics for n, run in ours.items()}
    assert theirs["ours"].data.tags["git_dirty"] == "false"
    assert theirs["ours"].data.tags["profile"] == "committed"


KILLED = """\
import os, signal, sys
from pathlib import Path
from mlflow import MlflowClient
from ecdm.mirror.sync import sync
calls, whole = [], MlflowClient.log_artifact
def part(*arguments, **more):
    calls.append(1)
    if len(calls) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*arguments, **more)
MlflowClient.log_artifact = part
sync(Path(sys.argv[1]))
"""


def start(root: Path, last: int) -> subprocess.Popen[str]:
    """A sync in a process of its own, killed at the file with the number `last`; 0: at none."""
    command = [sys.executable, "-c", KILLED, str(root), str(last)]
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return subprocess.Popen(command, env=quiet, stderr=subprocess.PIPE, text=True)


def test_completes_what_a_killed_sync_began(root: Path, synced: Path, runs: Runs, client: Clients) -> None:
    # After the first file of a picture and before its second one.
    killed = start(root, 2)
    killed.communicate()
    assert killed.returncode == -9
    sync(root)
    ours, expected = runs(root), runs(synced)
    assert set(ours) == set(expected)
    for name, run in expected.items():
        assert ours[name].data.metrics == run.data.metrics
        assert ours[name].data.params == run.data.params
        assert set(ours[name].data.tags) == set(run.data.tags)
        assert ours[name].info.status == "FINISHED"
        assert pictures(client(root), ours[name]) == pictures(client(synced), run)


def test_two_at_once(root: Path, runs: Runs, stored: Stored) -> None:
    both = [start(root, 0) for _ in range(2)]
    assert [(process.communicate()[1], process.returncode) for process in both] == [("", 0), ("", 0)]
    assert len(runs(root)) == len(STAGES) + 3
    before = stored(root)
    assert not +sync(root).written
    assert stored(root) == before


def test_a_second_sync_waits_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syncing, "SECONDS", 0.0)
    with FileLock(tmp_path / "mlflow.db.sync.lock"), pytest.raises(ValueError, match=r"^another sync is running"):
        sync(tmp_path)


def test_what_is_there_is_not_built_again(synced: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: Counter[Path] = Counter()

    def counting(path: Path) -> dict[int, dict[str, float]]:
        calls[path] += 1
        return metrics_by_step(path)

    monkeypatch.setattr(tree, "metrics_by_step", counting)
    for name in ("inpainted_grid", "load_image"):
        monkeypatch.setattr(tree, name, lambda *_: pytest.fail("a picture was built"))
    sync(synced)
    assert len(calls) == 4
    assert set(calls.values()) == {1}


def test_without_a_project_nothing_is_tracked_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    with stage_tracker("train@ours-0", tmp_path) as tracker:
        assert isinstance(tracker, NullTracker)
    with pytest.raises(FileNotFoundError, match=r"dvc\.lock: no such file; run `dvc repro` first"):
        sync(tmp_path)
