"""A project tree with a trained branch's weights in it, so that the stages after training can run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def weights(parts: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A branch with ACDA, every weight of it moved."""
    import torch

    from ecdm.config import Acda
    from ecdm.models.branch import start_branch

    acda = Acda(radius=2.0, window="circle", domain="image", amplitude="log", lr=1e-3)
    branch, generator = start_branch(parts, acda, 0), torch.Generator().manual_seed(4)
    for parameter in branch.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    folder = tmp_path_factory.mktemp("weights")
    branch.save(folder)
    return folder


@pytest.fixture
def trained(tree: Path, weights: Path) -> Path:
    """The tree after the stage train@ours-0, as the working directory."""
    shutil.copytree(weights, tree / "build" / "train" / "ours-0" / "weights")
    return tree
