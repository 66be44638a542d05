"""A trained variant with its foundation: as a pipeline, and as one folder that stands alone."""

from __future__ import annotations

from pathlib import Path

from ecdm.config import Generate, load_params
from ecdm.models.branch import INDEX as BRANCH_INDEX
from ecdm.models.branch import load_branch
from ecdm.models.foundation import load_foundation
from ecdm.serving.pipeline import DEFAULT, FROZEN, INDEX, InpaintPipeline

PARAMS = "params.yaml"


def trained_pipeline(foundation: Path, weights: Path, settings: Generate = DEFAULT) -> InpaintPipeline:
    """The pipeline of what the stages left: build/foundation and build/train/<variant>-<seed>/weights.

    Raises: FileNotFoundError naming a missing file; ValueError naming one that cannot be read.
    """
    components, branch = load_foundation(foundation), load_branch(weights)
    parts = {name: getattr(components, name) for name in FROZEN}
    return InpaintPipeline(
        **parts,
        controlnet=branch.controlnet,
        acda=branch.acda,
        sampler=settings.sampler,
        eta=settings.eta,
        steps=settings.steps,
        guidance=settings.guidance,
    )


def export_model(foundation: Path, weights: Path, output: Path, settings: Generate = DEFAULT) -> None:
    """Write the pipeline's folder to `output` in one step, in place of an earlier export.

    `settings`: how the pipeline samples unless a call says otherwise.
    Raises: as `trained_pipeline`; ValueError where other files stand at `output`.
    """
    trained_pipeline(foundation, weights, settings).save_pretrained(output)


def open_model(folder: Path) -> InpaintPipeline:
    """Read an exported folder, or a run of a project: build/train/<run> or its weights.

    A run comes with the foundation of its project, build/foundation, and with its settings in params.yaml.
    Raises: FileNotFoundError for no folder or a missing file; ValueError for a folder that is neither.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder, expected a model")
    if (folder / INDEX).is_file():
        return InpaintPipeline.from_pretrained(folder)
    weights = folder if (folder / BRANCH_INDEX).is_file() else folder / "weights"
    if not (weights / BRANCH_INDEX).is_file():
        raise ValueError(
            f"{folder}: found neither {INDEX} nor {BRANCH_INDEX}, expected an exported model or a trained run"
        )
    build = weights.resolve().parents[2]
    settings = build.parent / PARAMS
    return trained_pipeline(
        build / "foundation", weights, load_params(settings).generate if settings.is_file() else DEFAULT
    )
