"""Inpaint a data set with the trained variant that stands beside the published methods."""

from __future__ import annotations

import argparse
from pathlib import Path

from ecdm.config import load_params
from ecdm.evaluation.comparison import Scope, compare
from ecdm.evaluation.team import Team
from ecdm.methods.ours import variant
from ecdm.models.branch import load_branch
from ecdm.models.foundation import BRANCHES, load_foundation
from ecdm.stage import run

DATA, MASKS, BUILD = Path("data"), Path("build/masks"), Path("build")


def main(dataset: str) -> None:
    """build/{foundation,train,masks}, data/ → build/compare/<variant>-<data set>."""
    params, team = load_params(), Team.of_processes()
    first, second = params.data.source, params.data.second.source
    objects, strokes = params.compare.objects, params.compare.strokes
    scope = Scope(first, second, params.masks.buckets, objects, params.masks.sets, strokes)
    own = params.compare.variant
    work = scope.work(dataset, own.images, DATA, MASKS)
    parts = load_foundation(BUILD / "foundation").to(team.device, without=BRANCHES)
    branch = load_branch(BUILD / "train" / f"{own.name}-{params.seeds[0]}" / "weights").to(team.device)
    method = variant(own.name, parts, branch, params.generate)
    compare(method, work, BUILD / "compare" / f"{own.name}-{dataset}", params.seed, own.batch, team)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", help="data.source or data.second.source")
    dataset = parser.parse_args().dataset
    run(f"compare_own@{dataset}", lambda: main(dataset))
