"""Inpaint every test image with one trained variant."""

from __future__ import annotations

import argparse
from pathlib import Path

from ecdm.config import load_params
from ecdm.evaluation.generate import generate
from ecdm.evaluation.jobs import jobs
from ecdm.evaluation.team import Team
from ecdm.methods.ours import variant
from ecdm.models.branch import load_branch
from ecdm.models.foundation import BRANCHES, load_foundation
from ecdm.stage import run

DATA, MASKS, BUILD = Path("data"), Path("build/masks"), Path("build")


def main(name: str, seed: int) -> None:
    """build/train/<variant>-<seed> → build/generate/<variant>-<seed>/<dataset>/<bucket>/{raw,pasted}."""
    params = load_params()
    team = Team.of_processes()
    components = load_foundation(BUILD / "foundation").to(team.device, without=BRANCHES)
    branch = load_branch(BUILD / "train" / f"{name}-{seed}" / "weights").to(team.device)
    method = variant(name, components, branch, params.generate)
    with team.folder(BUILD / "generate" / f"{name}-{seed}") as folder:
        work = jobs((params.data.source, "photos"), params.masks.buckets, DATA, MASKS)
        generate(method, work, folder, params.seed, params.generate.batch, team)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variant")
    parser.add_argument("seed", type=int)
    arguments = parser.parse_args()
    run(f"generate@{arguments.variant}-{arguments.seed}", lambda: main(arguments.variant, arguments.seed))
