"""Exported folders and trained runs of a project, opened as the same model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import branch_case
import numpy as np
import pytest
import torch

from ecdm.models.branch import start_branch
from ecdm.serving.export import export_model, open_model


@pytest.fixture
def run(parts: Any, tree: Path) -> Path:
    """A project's build/train/ours-0."""
    folder = tree / "build" / "train" / "ours-0"
    branch_case.randomised(start_branch(parts, branch_case.IMAGE, 0)).save(folder / "weights")
    return folder


def fill(folder: Path, **options: Any) -> Any:
    image = np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8)
    options["generator"] = torch.Generator().manual_seed(0)
    return open_model(folder)("a circle", image, np.eye(32) > 0, **options).images[0]


def test_a_run_its_weights_and_its_export_are_one_model(run: Path, tmp_path: Path) -> None:
    export_model(run, tmp_path / "export")
    found = [fill(folder) for folder in (run, run / "weights", tmp_path / "export")]
    assert found[0] == found[1] == found[2]
    assert not list(tmp_path.glob(".*"))


def test_a_run_samples_with_its_projects_settings(run: Path, tmp_path: Path, write_params: Any) -> None:
    before = fill(run)
    write_params(run.parents[2], generate={"sampler": "ddim", "steps": 2, "guidance": 5.0, "eta": 0.5})
    assert fill(run) != before
    export_model(run, tmp_path / "export")
    assert fill(tmp_path / "export") == fill(run) == fill(run, num_inference_steps=2, guidance_scale=5.0)
    index = json.loads((tmp_path / "export" / "model_index.json").read_text())
    assert [index[key] for key in ("sampler", "steps", "guidance", "eta")] == ["ddim", 2, 5.0, 0.5]


def test_a_failed_export_leaves_what_was_there(run: Path, tmp_path: Path, digests: Any) -> None:
    output = tmp_path / "export"
    export_model(run, output)
    before = digests(tmp_path)
    (run / "weights" / "acda" / "model.safetensors").rename(tmp_path / "kept")
    with pytest.raises(FileNotFoundError, match="model\\.safetensors"):
        export_model(run, output)
    (tmp_path / "kept").rename(run / "weights" / "acda" / "model.safetensors")
    assert digests(tmp_path) == before


def test_other_folders_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        open_model(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"found neither model_index\.json nor branch\.json"):
        open_model(run.parent)
    shutil.rmtree(run.parents[1] / "foundation" / "vae")
    with pytest.raises(FileNotFoundError, match="vae"):
        open_model(run)
    (run.parents[2] / "params.yaml").unlink()
    with pytest.raises(FileNotFoundError, match=r"params\.yaml"):
        open_model(run)
