"""Optuna's samplers and pruners as params.yaml names them."""

from __future__ import annotations

import hashlib
import warnings

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, TPESampler

from ecdm.search.settings import Tune

# Pruning by the median wants some finished trials to compare with.
MEDIAN_OF = 5


def sampler(tune: Tune, trial: int) -> BaseSampler:
    """The sampler for one trial, seeded by its number.

    So no two workers draw the same, nor one that was started again, and a single worker draws the same each time.
    """
    digest = hashlib.sha256(f"{tune.seed}/{tune.study}/{trial}".encode()).digest()
    seed = int.from_bytes(digest[:4], "big") >> 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        if tune.sampler == "tpe":
            return TPESampler(seed=seed, n_startup_trials=max(1, tune.startup), constant_liar=True)
        if tune.sampler == "gp":
            return GPSampler(seed=seed, n_startup_trials=max(1, tune.startup), deterministic_objective=False)
        return CmaEsSampler(seed=seed, n_startup_trials=max(1, tune.startup))


def pruner(tune: Tune) -> BasePruner:
    """The pruner: patient until `prune_after` steps, and without an opinion between reports."""
    if tune.pruner == "median":
        return MedianPruner(n_startup_trials=MEDIAN_OF, n_warmup_steps=tune.prune_after)
    if tune.pruner == "hyperband":
        lowest = max(1, tune.prune_after, tune.report_every)
        return HyperbandPruner(min_resource=lowest, max_resource=max(lowest, tune.steps), reduction_factor=2)
    return NopPruner()


def quiet() -> None:
    """Optuna's log tells in its own words what the worker tells already."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", ExperimentalWarning)
