"""Count what every variant costs: operations per inpainted image and per training step, evaluations, weights."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ecdm.config import Params, VariantSettings, load_params, load_variant
from ecdm.data.files import fresh_folder
from ecdm.evaluation.cost import blank_batch, count_flops, frozen_parameters, parameters, sampling_cost
from ecdm.methods.ours import variant
from ecdm.models.branch import Branch, start_branch
from ecdm.models.foundation import Components, load_foundation
from ecdm.stage import run
from ecdm.training.objective import Objective, TrainBatch

BUILD, TARGET = Path("build"), Path("build/cost")


def step_flops(settings: VariantSettings, parts: Components, branch: Branch, size: int) -> int:
    """Operations of one sample's loss and gradients; latents, drawn once for all variants, are not in it."""
    blank, side = blank_batch(size), size // parts.factor
    z0 = torch.zeros(1, parts.vae.config.latent_channels, side, side)
    inputs = (z0, z0, torch.zeros(1, dtype=torch.long), parts.embed(blank.captions), blank.images)
    batch, objective = TrainBatch(*inputs, blank.masks, blank.masks), Objective(parts, settings.sail)
    return count_flops(lambda: objective(branch, batch).loss.backward())


def cost(settings: VariantSettings, parts: Components, params: Params) -> dict[str, Any]:
    """Everything counted about one variant."""
    branch = start_branch(parts, settings.acda, 0)
    size, sampled, images = params.data.size, params.generate, params.train.batch * params.train.accumulation
    trained = step_flops(settings, parts, branch, size)
    per_image = sampling_cost(lambda g: variant(settings.name, parts, branch, g), sampled, parts, branch, size)
    return {
        "image_size": size,
        "weights": {"trained": parameters(branch), "frozen": frozen_parameters(parts)},
        "sampling": asdict(per_image),
        "training": {"images": images, "flops_per_image": trained, "flops_per_step": images * trained},
    }


def main() -> None:
    """build/foundation, build/variants → build/cost/<variant>.json."""
    params, parts = load_params(), load_foundation(BUILD / "foundation")
    with fresh_folder(TARGET) as folder:
        for name in params.variants:
            found = cost(load_variant(BUILD / "variants" / f"{name}.yaml"), parts, params)
            (folder / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run("cost", main)
