"""Trained runs in a real registry: registered once, mended where it was interrupted, promoted when they are better."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from registry_project import IMAGES, commit, entries, make_registry_project, write_scores
from servers import end, free_port, serving

from ecdm.serving import export
from ecdm.serving.comparison import Measure
from ecdm.serving.download import download
from ecdm.serving.registry import promote, register
from ecdm.serving.versions import CHALLENGER, CHAMPION, NAME
from ecdm.tracking import Store

PSNR = Measure("scenes", "psnr", "50-60", "pasted")


@pytest.fixture(scope="module")
def made(parts: Any, foundation_folder: Path, tmp_path_factory: pytest.TempPathFactory, write_params: Any) -> Path:
    root = tmp_path_factory.mktemp("made") / "project"
    make_registry_project(root, foundation_folder, parts, write_params)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    return Path(shutil.copytree(made, tmp_path / "project", symlinks=True))


def state(root: Path) -> dict[int, dict[str, Any]]:
    """Every version with its time of change, its tags and aliases."""
    client = Store.connect(root).client
    aliases = client.get_registered_model(NAME).aliases
    return {
        int(one.version): {
            "tags": dict(one.tags),
            "changed": one.last_updated_timestamp,
            "aliases": {alias for alias, number in aliases.items() if int(number) == int(one.version)},
        }
        for one in client.search_model_versions(f"name = '{NAME}'")
    }


def whole(root: Path, count: int) -> None:
    """So many versions, each with its one MLflow model, which its run lists once and which can be fetched."""
    store, versions = Store.connect(root), state(root)
    models = store.client.search_logged_models([store.experiment_id])
    assert sorted(versions) == list(range(1, count + 1))
    assert sorted(model.model_id for model in models) == sorted(one["tags"]["model_id"] for one in versions.values())
    for number, one in versions.items():
        run = store.client.get_run(one["tags"]["run_id"])
        assert run.outputs is not None
        assert [output.model_id for output in run.outputs.model_outputs] == [one["tags"]["model_id"]]
        assert (download(f"models:/{NAME}/{number}", root) / "model_index.json").is_file()


def test_each_run_becomes_one_version_with_its_lineage(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = register(root, entries(root))
    assert first.versions == {"baseline-0": (1, True), "ours-0": (2, True)}
    assert first.aliases == {CHAMPION: 1, CHALLENGER: 2}
    before = state(root)
    monkeypatch.setattr(export, "export_model", lambda *_: pytest.fail("exported again"))
    again = register(root, entries(root), ["ours"])
    assert (again.versions, again.aliases) == ({"ours-0": (2, False)}, first.aliases)
    assert state(root) == before
    tags = before[2]["tags"]
    assert (tags["variant"], tags["seed"], tags["dataset"], tags["DVC_STAGE"]) == (
        "ours",
        "0",
        "scenes",
        "train@ours-0",
    )
    assert (tags["psnr/50-60"], len(tags["dvc_lock"]), len(tags["ecdm.key"])) == ("30.5", 64, 64)
    client = Store.connect(root).client
    run = client.get_run(tags["run_id"])
    assert client.get_model_version_by_alias(NAME, CHALLENGER).run_id == tags["run_id"]
    assert (run.data.tags["ecdm.key"], run.info.status) == (tags["ecdm.key"], "FINISHED")
    whole(root, 2)


def registering(root: str) -> None:
    os.chdir(root)
    register(Path(root), entries(Path(root)), ["ours"])


def test_two_processes_at_once_make_one_version(root: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=registering, args=(str(root),)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    whole(root, 1)


STEPS = [
    "log_model_artifacts", "log_outputs", "finalize_logged_model", "log_model_artifact", "create_registered_model",
    "create_model_version", "set_registered_model_alias",
]  # fmt: skip


def test_what_was_interrupted_is_completed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    for step in STEPS:
        with monkeypatch.context() as patch:
            patch.setattr(f"mlflow.MlflowClient.{step}", stop)
            with pytest.raises(KeyboardInterrupt):
                register(root, entries(root), ["ours"])
    register(root, entries(root), ["ours"])
    assert [one["aliases"] for one in state(root).values()] == [{CHAMPION, CHALLENGER}]
    whole(root, 1)


def test_a_server_killed_half_way_is_an_error_that_the_next_run_mends(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{tmp_path}/server.db",
        "--artifacts-destination",
        f"{tmp_path}/files",
    ]
    with serving(command, port, tmp_path / "log") as server, monkeypatch.context() as patch:
        create = mlflow.MlflowClient.create_model_version

        def kill(*given: Any, **named: Any) -> Any:
            end(server)
            return create(*given, **named)

        patch.setattr("mlflow.MlflowClient.create_model_version", kill)
        with pytest.raises(ValueError, match=f"MLflow at http://127.0.0.1:{port}: "):
            register(root, entries(root), ["ours"])
    with pytest.raises(ValueError, match="no answer within"):
        download(f"models:/{NAME}@{CHAMPION}", root)
    with serving(command, port, tmp_path / "log"):
        register(root, entries(root), ["ours"])
        assert [one["aliases"] for one in state(root).values()] == [{CHAMPION, CHALLENGER}]
        whole(root, 1)


def test_a_version_that_another_machine_made_at_the_same_time_stays_alone(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = mlflow.MlflowClient.create_model_version

    def twice(*given: Any, **named: Any) -> Any:
        create(*given, **named)
        return create(*given, **named)

    monkeypatch.setattr("mlflow.MlflowClient.create_model_version", twice)
    assert register(root, entries(root), ["ours"]).versions == {"ours-0": (1, False)}
    whole(root, 1)


def test_only_a_better_challenger_is_promoted(root: Path) -> None:
    less = PSNR._replace(metric="l1")
    for gain, promoted in (([-1.0] * 20, False), ([1.0, -1.0] * 10, False), ([1.0] * 20, True)):
        write_scores(root, "ours-0", gain)
        commit(root)
        register(root, entries(root))
        decision = promote(root, less)
        assert decision.found.difference.mean == pytest.approx(-np.mean(gain))
        assert decision.found.wins is promoted
        assert (decision.champion, decision.challenger) == ("version 1 (baseline-0)", "version 2 (ours-0)")
        assert [CHAMPION in state(root)[number]["aliases"] for number in (1, 2)] == [not promoted, promoted]
    with pytest.raises(ValueError, match=r"version 2 \(ours-0\) is champion and challenger"):
        promote(root, PSNR)


def test_what_cannot_be_compared_is_an_error(root: Path) -> None:
    with pytest.raises(ValueError, match=r"models:/ecdm-inpainting@champion: .*ecdm register"):
        promote(root, PSNR)
    register(root, entries(root))
    shutil.rmtree(root / "build")  # the store alone is asked
    with pytest.raises(ValueError, match="metric: found fid"):
        promote(root, PSNR._replace(metric="fid"))
    client = Store.connect(root).client
    for name, message in (("ecdm.scores", "not stored completely"), ("ecdm.test_data", "different test images")):
        client.set_model_version_tag(NAME, "2", name, "other")
        with pytest.raises(ValueError, match=message):
            promote(root, PSNR)
    for name in ("seed", "variant", "ecdm.test_data"):
        client.delete_model_version_tag(NAME, "2", name)
        with pytest.raises(ValueError, match=f"version 2 of {NAME}: found no tag {name}, expected"):
            promote(root, PSNR)


def test_new_scores_replace_those_of_known_weights(root: Path) -> None:
    register(root, entries(root))
    write_scores(root, "ours-0", [-1.0] * 19, range(1, 20))
    (root / "data" / "scenes" / "picture").write_text("b")
    commit(root)
    assert register(root, entries(root), ["ours"]).versions == {"ours-0": (2, False)}
    assert state(root)[2]["tags"]["psnr/50-60"] == "29"
    with pytest.raises(ValueError, match="different test images"):
        promote(root, PSNR)
    register(root, entries(root))
    with pytest.raises(ValueError, match=f"found {len(IMAGES)} test images of the champion and 19 of the challenger"):
        promote(root, PSNR)


def test_an_alias_that_somebody_moved_stays(root: Path) -> None:
    register(root, entries(root))
    Store.connect(root).client.set_registered_model_alias(NAME, CHALLENGER, "1")
    assert register(root, entries(root)).aliases == {CHAMPION: 1, CHALLENGER: 1}


def test_what_is_not_whole_is_left_out_or_an_error(root: Path) -> None:
    known = entries(root)
    del known["train@ours-0"]
    with pytest.raises(ValueError, match="cannot register ours-0: the stage train@ours-0"):
        register(root, known, ["ours"])
    with pytest.raises(ValueError, match=r"cannot register baseline-0: .*; ours-0: "):
        register(root, {})
    assert not (root / "mlflow.db").exists()
    found = register(root, known)
    assert (list(found.versions), len(found.skipped)) == (["baseline-0"], 1)
