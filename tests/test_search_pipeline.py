"""The search as a stage of DVC, in a copy of the working tree on the smallest settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from test_pipeline import closure
from warm_python import WarmPython
from working_copy import ROOT, copy_tree, run

from ecdm.search.plan import definition
from ecdm.search.settings import load_tune
from ecdm.tracking import Store

STAGES: dict[str, Any] = YAML(typ="safe").load((ROOT / "tune" / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


def must(copy: Path, *command: str, python: Path | None = None) -> str:
    done = run(copy, *command, quiet=True, python=python)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy in which the short form has run through DVC."""
    target = copy_tree(tmp_path_factory.mktemp("search"))
    must(target, "ecdm", "profile", "micro")
    with WarmPython(target.with_name("python")) as warm:
        must(target, "dvc", "repro", "tune/dvc.yaml:short", python=warm.folder)
    return target


def test_a_plain_reproduction_never_comes_to_the_search(copy: Path) -> None:
    plan = must(copy, "dvc", "repro", "--dry", "--force")
    assert "stage 'report'" in plan
    assert "tune" not in plan


def test_the_stage_leaves_tables_and_figures_and_is_done(copy: Path) -> None:
    folder = copy / "build" / "search" / "short"
    names = {path.name for path in folder.iterdir()}
    assert {
        "trials.csv",
        "seeds.csv",
        "best.yaml",
        "summary.json",
        "summary.md",
        "landscape.png",
        "history.png",
    } <= names
    assert len((folder / "trials.csv").read_text().splitlines()) == 3
    assert "didn't change, skipping" in must(copy, "dvc", "repro", "tune/dvc.yaml:short")
    # Of the pipeline only what trials read was made.
    assert {path.name for path in (copy / "build").iterdir()} == {
        "masks", "edges", "foundation", "latents", "tune", "search",
    }  # fmt: skip


def test_the_same_search_again_is_the_same(copy: Path, digests: Callable[[Path], dict[str, str]]) -> None:
    first = digests(copy / "build" / "search" / "short")
    assert "lambda-radius-short-noise" in must(copy, "ecdm", "tune", "remove", "--short", "--yes")
    must(copy, "ecdm", "tune", "run", "--short", "--out", "again")
    assert digests(copy / "again") == first


def test_mlflow_has_the_search_with_its_trials(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    store = Store.connect(copy)
    runs = store.client.search_runs([store.experiment_id], "tags.stage = 'search'")
    assert runs
    for run_ in runs:
        assert run_.info.status == "FINISHED"
        files = {file.path for file in store.client.list_artifacts(run_.info.run_id)}
        assert {"search.html", "landscape.png", "timeline.png", "history.png"} <= files
        found = store.client.search_runs([store.experiment_id], f"tags.`mlflow.parentRunId` = '{run_.info.run_id}'")
        phases = [trial.data.tags["phase"] for trial in found]
        assert (phases.count("search"), phases.count("noise")) == (2, 2)
        for trial in found:
            assert trial.data.tags["mlflow.loggedImages"] == "True"


@pytest.mark.parametrize("name", STAGES)
def test_deps_cover_what_the_search_imports(name: str) -> None:
    stage, imported = STAGES[name], closure(ROOT / "stages" / "tune.py")
    paths = [ROOT / dep for dep in stage["deps"]]
    assert not [path for path in imported if not any(path == p or p in path.parents for p in paths)]
    ours = [path for path in paths if path.parts[-2:-1] == ("ecdm",)]
    unused = [p for p in ours if not any(p == path or p in path.parents for path in imported)]
    assert not unused
    assert stage["deps"][0] == "stages/tune.py"


@pytest.mark.parametrize("name", STAGES)
def test_the_stages_know_the_parameters_of_a_trial(name: str) -> None:
    params, tune = load_tune(ROOT / "params.yaml")
    assert set(definition(params, tune, "")["params"]) <= set(STAGES[name]["params"])
    assert {"tune", "evaluate", "masks"} <= set(STAGES[name]["params"])


def test_accepting_writes_the_best_values_and_keeps_the_comments(copy: Path) -> None:
    before = (copy / "params.yaml").read_text(encoding="utf-8")
    best = YAML(typ="safe").load((copy / "build/search/short/best.yaml").read_text())
    shown = must(copy, "ecdm", "tune", "accept", "--short", "--dry-run")
    assert (copy / "params.yaml").read_text(encoding="utf-8") == before
    assert must(copy, "ecdm", "tune", "accept", "--short") == shown
    after = (copy / "params.yaml").read_text(encoding="utf-8")
    content = YAML(typ="safe").load(after)
    assert content["sail"]["lambda"] == best["sail"]["lambda"]
    assert content["acda"]["radius"] == best["acda"]["radius"]
    if after != before:
        assert "+++ b/params.yaml" in shown
    assert [line.partition("#")[2] for line in after.splitlines()] == [
        line.partition("#")[2] for line in before.splitlines()
    ]
    assert "has these values already" in must(copy, "ecdm", "tune", "accept", "--short")
    (copy / "params.yaml").write_text(before, encoding="utf-8")
    missing = run(copy, "ecdm", "tune", "accept", "--from", "nowhere", quiet=True)
    assert missing.returncode == 2
    assert missing.stderr.startswith("error: nowhere/best.yaml: no such file, expected the best values of a search")
