"""Fine-tune the inpainting branch of one variant under one seed."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from pathlib import Path

from ecdm.config import load_params, load_variant
from ecdm.pace import Paced
from ecdm.stage import run
from ecdm.tracker import NullTracker
from ecdm.tracking import stage_tracker
from ecdm.training.experiment import Paths, run_experiment
from ecdm.training.loop import is_main_process


def main(variant: str, seed: int) -> None:
    """build/variants/<variant>.yaml and the shared inputs → build/train/<variant>-<seed>, build/probe/…json."""
    params = load_params()
    settings = load_variant(Path(f"build/variants/{variant}.yaml"))
    # Of several processes one alone reports.
    tracked = stage_tracker(f"train@{variant}-{seed}") if is_main_process() else nullcontext(NullTracker())
    with tracked as tracker:
        paths = Paths.of(params.data.source, variant, seed)
        run_experiment(settings, params.train, seed, paths, Paced(tracker, params.train))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variant")
    parser.add_argument("seed", type=int)
    arguments = parser.parse_args()
    run(f"train@{arguments.variant}-{arguments.seed}", lambda: main(arguments.variant, arguments.seed))
