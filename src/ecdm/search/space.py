"""The search space as Optuna sees it: dotted keys of params.yaml, their ranges, and where trials start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.study import StudyDirection

from ecdm.config import Params
from ecdm.data.scores import LOWER_IS_BETTER
from ecdm.search.settings import COUNTED, Range, Space, Tune

Values = dict[str, Any]

# Names in tune.space, and the keys they stand for.
KEYS = {
    "lambda": "sail.lambda",
    "features": "sail.features",
    "radius": "acda.radius",
    "domain": "acda.domain",
    "window": "acda.window",
    "lr": "train.lr",
}
PAPER: Values = {
    "sail.lambda": 0.1,
    "sail.features": "decoder",
    "acda.radius": 4.0,
    "acda.domain": "image",
    "acda.window": "circle",
}
SIGNIFICANT = 4


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """What each searched key may be, by its dotted name."""
    found: dict[str, BaseDistribution] = {}
    for name, key in KEYS.items():
        value = getattr(space, "lam" if name == "lambda" else name)
        if isinstance(value, Range):
            found[key] = FloatDistribution(value.low, value.high, log=value.scale == "log", step=value.step)
        elif value is not None:
            found[key] = CategoricalDistribution(value)
    return found


def applied(values: Mapping[str, Any]) -> Values:
    """The values a trial really uses: numbers to four significant digits, so that what is accepted can be read."""
    return {
        key: float(f"{value:.{SIGNIFICANT}g}") if isinstance(value, float) else value for key, value in values.items()
    }


def present(params: Params, keys: Iterable[str]) -> Values:
    """What params.yaml has under these keys."""
    return {key: reduce(getattr, key.replace("lambda", "lam").split("."), params) for key in keys}


def published(params: Params, keys: Iterable[str]) -> Values:
    """The paper's values, which a search has to beat; where it tells none, those of params.yaml."""
    return {key: PAPER.get(key, value) for key, value in present(params, keys).items()}


def overridden(params: Params, values: Mapping[str, Any]) -> Params:
    """The parameters with other values under dotted keys; raises ValueError for a pair that cannot be."""
    content = params.model_dump(by_alias=True)
    for key, value in values.items():
        section, name = key.split(".")
        content[section][name] = value
    return Params.model_validate(content, by_alias=True, by_name=False)


def start_points(tune: Tune) -> list[Values]:
    """`tune.startup` quasi-random points: a scrambled Sobol sequence over the ranges, lists at random."""
    sampler = optuna.samplers.QMCSampler(scramble=True, seed=tune.seed, warn_independent_sampling=False)
    study = optuna.create_study(sampler=sampler)
    points = []
    for _ in range(tune.startup + 1):
        trial = study.ask(distributions(tune.space))
        study.tell(trial, 0.0)
        points.append(dict(trial.params))
    # Optuna learns the space from its first trial, which is therefore not of the sequence.
    return points[1:]


def objective_name(goal: Mapping[str, Any]) -> str:
    """`psnr/50-60`, or a counted metric's bare name."""
    return f"{goal['metric']}/{goal['bucket']}" if goal.get("bucket") else str(goal["metric"])


def directions(tune: Tune) -> list[StudyDirection]:
    """Which way each objective gets better."""
    lower = (*LOWER_IS_BETTER, *COUNTED)
    better = {True: StudyDirection.MINIMIZE, False: StudyDirection.MAXIMIZE}
    return [better[goal.metric in lower] for goal in tune.objectives]
