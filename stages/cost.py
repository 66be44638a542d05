"""Count what every variant costs: operations per inpainted image and per training step, evaluations, weights."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from ecdm.config import load_params, load_variant
from ecdm.data.files import fresh_folder
from ecdm.evaluation.cost import cost
from ecdm.models.branch import start_branch
from ecdm.models.foundation import load_foundation
from ecdm.stage import run
from ecdm.training.cost import train_step

BUILD, TARGET = Path("build"), Path("build/cost")


def main() -> None:
    """build/foundation, build/variants → build/cost/<variant>.json."""
    params, parts = load_params(), load_foundation(BUILD / "foundation")
    size, images = params.data.size, params.train.batch
    with fresh_folder(TARGET) as folder:
        for name in params.variants:
            settings = load_variant(BUILD / "variants" / f"{name}.yaml")
            branch = start_branch(parts, settings.acda, 0)
            step = partial(train_step, parts, branch, settings.sail)
            found = cost(parts, branch, params.generate, size, images, step)
            (folder / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run("cost", main)
