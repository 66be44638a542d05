"""A trained variant with its foundation: as a pipeline, and as one folder that stands alone."""

from __future__ import annotations

from pathlib import Path

import torch

from ecdm.config import load_params
from ecdm.models.branch import INDEX as BRANCH_INDEX
from ecdm.models.branch import load_branch
from ecdm.models.foundation import load_foundation
from ecdm.root import PARAMS
from ecdm.serving.pipeline import FROZEN, INDEX, InpaintPipeline


def export_model(run: Path, output: Path) -> None:
    """Write a run's model, with its project's sampling settings, to the folder `output`, in place of an earlier export.

    Raises: as `open_model`; ValueError where other files stand at `output`.
    """
    open_model(run).save_pretrained(output)


def open_model(folder: Path, device: str | torch.device = "cpu") -> InpaintPipeline:
    """Read an exported folder, or a run of a project: build/train/<run> or its weights.

    A run comes with the foundation of its project, build/foundation, and with the settings `generate` in its
    params.yaml. Raises: as `find_weights`; FileNotFoundError naming a missing file; ValueError naming one that cannot
    be read.
    """
    weights = find_weights(folder)
    pipeline = _trained(weights) if weights else InpaintPipeline.from_pretrained(folder)
    return pipeline.to(device)


def find_weights(folder: Path) -> Path | None:
    """The weights of a trained run; None for an exported model, which has its own.

    Raises: FileNotFoundError for no folder; ValueError for a folder that is neither.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder, expected a model")
    if (folder / INDEX).is_file():
        return None
    for weights in (folder, folder / "weights"):
        if (weights / BRANCH_INDEX).is_file():
            return weights
    raise ValueError(f"{folder}: found neither {INDEX} nor {BRANCH_INDEX}, expected an exported model or a trained run")


def _trained(weights: Path) -> InpaintPipeline:
    build = weights.resolve().parents[2]
    settings = load_params(build.parent / PARAMS).generate
    components, branch = load_foundation(build / "foundation"), load_branch(weights)
    parts = {name: getattr(components, name) for name in FROZEN}
    sampling = settings.model_dump(exclude={"batch"})
    return InpaintPipeline(**parts, controlnet=branch.controlnet, acda=branch.acda, **sampling)
