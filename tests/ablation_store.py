"""An MLflow store of one mirrored ablation: four variants with known scores, curves and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from report_project import Project, reported_project
from ruamel.yaml import YAML

from ecdm.mirror.state import Reproduction
from ecdm.mirror.tree import Tree
from ecdm.tracking import Store

STEPS = (5, 10, 15)
REPORTS = ("ablation.csv", "differences.csv", "grids", "curves.png")


def ablation_store(root: Path) -> Store:
    """Write a reported project and its mirror; `root` is a new folder, the store its own mlflow.db."""
    reported_project(root, "a red striped circle")
    project = Project(root)
    for place, variant in enumerate(Project.VARIANTS):
        run = root / "build" / "train" / f"{variant}-0"
        project.write_image(run / "samples" / f"{STEPS[-1]:06d}.png", np.full((16, 16, 3), 40 * place, np.uint8))
        for folder in (root / "build" / "generate" / f"{variant}-0").glob("*/*"):
            (folder / "manifest.json").write_text("{}", encoding="utf-8")
    entries = _entries()
    with (root / "dvc.lock").open("w", encoding="utf-8") as file:
        YAML().dump({"schema": "2.0", "stages": entries}, file)
    store = Store.connect(root)
    Tree(root, Reproduction(entries, {}, []), store).fill()
    return store


def _entries() -> dict[str, Any]:
    """The stages of training, sampling, scoring and reporting as dvc.lock has them."""
    found = {}
    for variant in Project.VARIANTS:
        run = f"{variant}-0"
        weights, outputs, scored = f"build/train/{run}", f"build/generate/{run}", f"build/scores/{run}.csv"
        found[f"train@{run}"] = _entry(f"train {variant} 0", [], [weights], train={"lr": 0.001})
        found[f"generate@{run}"] = _entry(f"generate {variant} 0", [weights], [outputs], data={"source": "scenes"})
        found[f"evaluate@{run}"] = _entry(f"evaluate {variant} 0", [outputs], [scored])
    scores = [f"build/scores/{variant}-0.csv" for variant in Project.VARIANTS]
    reports = [f"reports/{name}" for name in REPORTS]
    return found | {"report": _entry("report", scores, reports, variants=list(Project.VARIANTS))}


def _entry(command: str, deps: list[str], outs: list[str], **params: Any) -> dict[str, Any]:
    paths = {"deps": deps, "outs": outs}
    files = {kind: [{"path": path, "hash": "md5", "md5": "0" * 32} for path in found] for kind, found in paths.items()}
    return {"cmd": f"python stages/{command}", **files, "params": {"params.yaml": params}}
