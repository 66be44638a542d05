"""Training runs of a few steps, in a project tree of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ecdm.models.foundation import Components
    from ecdm.training.folder import TrainFolder
    from ecdm.training.loop import Run


@pytest.fixture
def folder_of(made_tree: Path, parts: Components) -> Callable[..., TrainFolder]:
    """A split of the tree as training data."""
    from ecdm.training.folder import TrainFolder

    def make(split: str = "train", seed: int = 0, text_dropout: float = 0.1) -> TrainFolder:
        build = made_tree / "build"
        moments = build / "latents" / f"{split}.safetensors"
        return TrainFolder(made_tree / "data/scenes", build / "edges/scenes", moments, split, parts, seed, text_dropout)

    return make


@pytest.fixture
def make_run(
    made_tree: Path, parts: Components, folder_of: Callable[..., TrainFolder], tmp_path: Path
) -> Callable[..., Run]:
    """A run of a variant, with changes to the small settings of training."""
    from ecdm.config import load_params
    from ecdm.models.branch import start_branch
    from ecdm.models.variants import VARIANTS
    from ecdm.training.loop import Run
    from ecdm.training.objective import Objective

    params = load_params(made_tree / "params.yaml")

    def make(variant: str = "ours", key: str = "key", lam: float = 0.1, **changes: Any) -> Run:
        switches = VARIANTS[variant]
        sail = params.sail.model_copy(update={"lam": lam}) if switches.sail else None
        acda = params.acda if switches.acda else None
        return Run(
            branch=start_branch(parts, acda, 0),
            objective=Objective(parts, sail),
            train=folder_of("train"),
            validation=folder_of("validation", text_dropout=0.0),
            settings=params.train.model_copy(update=changes),
            acda_lr=0.01,
            checkpoint=tmp_path / "checkpoints" / "run.safetensors",
            key=key,
        )

    return make
