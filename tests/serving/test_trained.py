"""Runs of a reproduction: which are whole, and what makes two of them the same model."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from ecdm.serving.trained import trained

SAMPLING = {"sampler": "ddim", "steps": 2, "precision": "no", "batch": 4}


def stages(name: str) -> dict[str, Any]:
    """A run's stages as dvc.lock has them."""

    def file(path: str, digest: str) -> dict[str, str]:
        return {"path": path, "hash": "md5", "md5": digest}

    weights = file(f"build/train/{name}/weights", "w.dir")
    deps = [file("build/foundation", "f.dir"), weights, file("src/ecdm/models", "s.dir")]
    tested = [file("data/scenes", "t.dir"), file("build/masks", "m.dir"), file(f"build/generate/{name}", "g.dir")]
    return {
        f"train@{name}": {"cmd": "train"},
        f"generate@{name}": {"cmd": "g", "deps": deps, "params": {"params.yaml": {"generate": dict(SAMPLING)}}},
        f"evaluate@{name}": {"cmd": "e", "deps": tested, "outs": [file(f"build/scores/{name}.csv", "c")]},
    }


@pytest.fixture
def project(tmp_path: Path, write_params: Any) -> Path:
    write_params(tmp_path, variants=["ours", "baseline"], seeds=[1, 0])
    return tmp_path


def test_runs_come_in_the_order_of_the_ablation(project: Path) -> None:
    entries = {k: v for name in ("ours-1", "ours-0", "baseline-0") for k, v in stages(name).items()}
    del entries["evaluate@ours-1"]
    found, skipped = trained(project, entries, [])
    assert [run.name for run in found] == ["baseline-0", "ours-0"]
    assert [line.partition(";")[0] for line in skipped] == [
        "baseline-1: the stage train@baseline-1 is not as in dvc.lock",
        "ours-1: the stage evaluate@ours-1 is not as in dvc.lock",
    ]
    assert [run.name for run in trained(project, entries, ["ours"])[0]] == ["ours-0"]
    assert (found[1].dataset, found[1].scored, found[1].stage) == ("scenes", "c", "train@ours-0")
    with pytest.raises(ValueError, match=r"variant: found sail, expected one that params\.yaml lists: ours, baseline"):
        trained(project, entries, ["sail"])


def test_weights_foundation_and_sampling_make_the_model(project: Path) -> None:
    entries = stages("ours-0")

    def run(change: str, value: str) -> Any:
        """The run after one change of what dvc.lock says."""
        changed = copy.deepcopy(entries)
        for item in (changed["generate@ours-0"], changed["evaluate@ours-0"]):
            for dep in item["deps"]:
                dep["md5"] = value if dep["path"] == change else dep["md5"]
            if change in SAMPLING and "params" in item:
                item["params"]["params.yaml"]["generate"][change] = value
        return trained(project, changed, ["ours"])[0][0]

    same = run("", "")
    for change in ("build/train/ours-0/weights", "build/foundation", "sampler", "precision"):
        assert run(change, "x").source != same.source
    for change in ("src/ecdm/models", "batch", "data/scenes", "build/generate/ours-0"):
        assert run(change, "x").source == same.source
    for change in ("data/scenes", "build/masks"):
        assert run(change, "x").tested_on != same.tested_on
    assert run("build/generate/ours-0", "x").tested_on == same.tested_on
