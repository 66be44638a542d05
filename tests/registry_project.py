"""A project of trained runs that can be registered: DVC knows their files, their networks are tiny."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import branch_case
from tiny_project import dvc

from ecdm.lineage import Entry
from ecdm.mirror.state import reproduction
from ecdm.models.branch import start_branch

PIPELINE = """\
stages:
  train:
    matrix: {variant: '${variants}', seed: '${seeds}'}
    cmd: train ${item.variant}-${item.seed}
    deps: [build/foundation]
    params: [train]
    outs: ['build/train/${item.variant}-${item.seed}']
  generate:
    matrix: {variant: '${variants}', seed: '${seeds}'}
    cmd: generate ${item.variant}-${item.seed}
    deps: [build/foundation, 'build/train/${item.variant}-${item.seed}/weights']
    params: [generate]
    outs: ['build/generate/${item.variant}-${item.seed}']
  evaluate:
    matrix: {variant: '${variants}', seed: '${seeds}'}
    cmd: evaluate ${item.variant}-${item.seed}
    deps: ['build/generate/${item.variant}-${item.seed}', data/scenes]
    outs: ['build/scores/${item.variant}-${item.seed}.csv']
"""
IMAGES = range(20)


def make_registry_project(root: Path, foundation: Path, parts: Any, write_params: Callable[..., None]) -> None:
    """Write a project with `baseline` and `ours`, of which the latter is better by 1 on each image."""
    shutil.copytree(foundation, root / "build" / "foundation")
    write_params(root, variants=["baseline", "ours"], seeds=[0], generate={"steps": 2})
    (root / "dvc.yaml").write_text(PIPELINE)
    (root / "data" / "scenes").mkdir(parents=True)
    (root / "data" / "scenes" / "picture").write_text("a")
    (root / "build" / "variants").mkdir()
    for name, acda in (("baseline", None), ("ours", branch_case.IMAGE)):
        (root / "build" / "variants" / f"{name}.yaml").write_text(f"name: {name}\n")
        branch = start_branch(parts, acda, 0)
        (branch if acda is None else branch_case.randomised(branch)).save(root / f"build/train/{name}-0/weights")
        (root / f"build/generate/{name}-0").mkdir(parents=True)
        (root / f"build/generate/{name}-0" / "manifest.json").write_text("{}")
        write_scores(root, f"{name}-0", [float(name == "ours")] * len(IMAGES))
    dvc(root, "init", "-q", "--no-scm")
    commit(root)


def write_scores(root: Path, name: str, gain: Sequence[float], images: Sequence[int] = IMAGES) -> None:
    """PSNR 20 + gain, and as L1 the negative of that."""
    variant, _, seed = name.rpartition("-")
    lines = ["dataset,variant,seed,image_id,bucket,metric,pasted,value"]
    for image, value in zip(images, gain, strict=True):
        row = f"scenes,{variant},{seed},{image},50-60"
        lines += [f"{row},psnr,1,{20 + image + value}", f"{row},l1,1,{20 + image - value}"]
    path = root / "build" / "scores" / f"{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def commit(root: Path) -> None:
    """Have dvc.lock say what the files are."""
    dvc(root, "commit", "-f", "-q")


def entries(root: Path) -> dict[str, Entry]:
    """The stages of dvc.lock."""
    return reproduction(root).entries
