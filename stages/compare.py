"""Inpaint a data set with one published method."""

from __future__ import annotations

import argparse
from pathlib import Path

from ecdm.config import load_params
from ecdm.evaluation.comparison import Scope, compare
from ecdm.evaluation.team import Team
from ecdm.methods.registry import Ingredients, make_method
from ecdm.models.foundation import BRANCHES, load_foundation
from ecdm.stage import run

DATA, MASKS, BUILD = Path("data"), Path("build/masks"), Path("build")


def main(name: str, dataset: str) -> None:
    """build/{foundation,networks,masks}, data/ → build/compare/<method>-<data set>."""
    params, team = load_params(), Team.of_processes()
    first, second = params.data.source, params.data.second.source
    objects, strokes = params.compare.objects, params.compare.strokes
    scope = Scope(first, second, params.masks.buckets, objects, params.masks.sets, strokes)
    settings = params.compare.of(name)
    work = scope.work(dataset, settings.images, DATA, MASKS)
    parts = load_foundation(BUILD / "foundation").to(team.device, without=BRANCHES)
    method = make_method(name, Ingredients(parts, BUILD / "networks", settings, params.generate.precision))
    compare(method, work, BUILD / "compare" / f"{name}-{dataset}", params.seed, settings.batch, team)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("method", help="one of compare.methods")
    parser.add_argument("dataset", help="data.source or data.second.source")
    arguments = parser.parse_args()
    run(f"compare@{arguments.method}-{arguments.dataset}", lambda: main(arguments.method, arguments.dataset))
