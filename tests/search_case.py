"""Studies of a search made up in memory: many trials whose values follow a known landscape, and their seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from ecdm.search.findings import Studies
from ecdm.search.space import Values, applied

GOAL = {"metric": "psnr", "bucket": "50-60"}
NAME = "psnr/50-60"
SPACE: dict[str, BaseDistribution] = {
    "sail.lambda": FloatDistribution(0.003, 3.0, log=True),
    "sail.features": CategoricalDistribution(("decoder", "residuals")),
    "acda.radius": FloatDistribution(0, 32, step=1),
    "acda.window": CategoricalDistribution(("circle", "square")),
    "train.lr": FloatDistribution(1e-5, 1e-2, log=True),
    "seed": IntDistribution(1, 2**31 - 1),
}
PAPER: Values = {"sail.lambda": 0.1, "acda.radius": 4.0}
WIDE: Values = {**PAPER, "sail.features": "decoder", "acda.window": "circle", "train.lr": 0.001}
START = datetime(2024, 1, 1)
DONE, PRUNED, FAIL, WAITING = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.WAITING


def make_study(phase: str = "search", **attrs: Any) -> optuna.Study:
    """An empty study; `directions`: one per objective, by default one to maximize."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    name = "lambda-radius" if phase == "search" else f"lambda-radius-{phase}"
    study = optuna.create_study(study_name=name, directions=attrs.pop("directions", ["maximize"]))
    shared = {"phase": phase, "objectives": [GOAL], "paper": PAPER, "level": 0.95}
    for key, value in {**shared, **attrs}.items():
        study.set_user_attr(key, value)
    return study


def add(
    study: optuna.Study,
    slot: int,
    params: Mapping[str, Any],
    values: Sequence[float] = (),
    state: TrialState = DONE,
    **more: Any,
) -> None:
    """A trial in a slot; `more`: steps, constraints, and user attributes."""
    steps, constraints = more.pop("steps", {}), more.pop("constraints", None)
    attrs = {"slot": slot, "origin": "paper" if slot == 0 else "sampler", "worker": f"host-{slot % 3}", **more}
    trial = create_trial(
        state=state,
        values=list(values) if state == DONE else None,
        params=dict(params),
        distributions={key: SPACE[key] for key in params},
        intermediate_values=steps,
        constraints=constraints,
        user_attrs=attrs,
    )
    begin = START + timedelta(minutes=9 * (slot // 3) + slot % 3)
    trial.datetime_start = None if state == WAITING else begin
    trial.datetime_complete = begin + timedelta(minutes=3 if state == PRUNED else 8) if state.is_finished() else None
    study.add_trial(trial)


def repeated(phase: str, values: Sequence[float], **attrs: Any) -> optuna.Study:
    """The values of seeds 1, 2, … of a study that repeats."""
    study = make_study(phase, **attrs)
    for slot, value in enumerate(values):
        add(study, slot, {"seed": slot + 1}, [value], origin="seed")
    return study


def height(params: Mapping[str, Any]) -> float:
    """A hill whose top is at λ 0.3 and radius 7."""
    across = (math.log10(params.get("sail.lambda", 0.3)) + 0.523) / 1.0
    along = (params.get("acda.radius", 7.0) - 7) / 14
    other = 0.1 * (params.get("sail.features") == "residuals") + 0.05 * (params.get("acda.window") == "square")
    return 24.6 - 0.5 * across**2 - 0.4 * along**2 - other


def small() -> Studies:
    """Paper's values, a lost attempt and its successor, a pruned one, a better one, an open slot; two seeds each."""
    search = make_study(slots=5)
    add(search, 0, PAPER, [24.0], steps={100: 23.0, 200: 24.0})
    add(search, 1, {"sail.lambda": 1.23456, "acda.radius": 8.0}, state=FAIL, steps={100: 9.0}, reason="reclaimed")
    add(search, 2, {"sail.lambda": 2.5, "acda.radius": 30.0}, state=PRUNED, steps={100: 20.5}, reason="step 100: low")
    add(search, 1, {"sail.lambda": 1.23456, "acda.radius": 8.0}, [23.5], steps={100: 22.0})
    add(search, 3, {"sail.lambda": 0.345678, "acda.radius": 6.0}, [24.25], origin="start")
    add(search, 4, {}, state=WAITING)
    best = {"sail.lambda": 0.3457, "acda.radius": 6.0}
    return Studies(search, repeated("noise", [23.9, 24.1]), repeated("confirm", [24.1, 24.5], params=best))


def large(trials: int = 32, paper: Values = PAPER, pruned: bool = True, several: bool = False) -> Studies:
    """A finished search of many trials; its values and those of four seeds carry noise."""
    rng = np.random.default_rng(4)
    goals = [{"metric": "lpips_random", "bucket": "50-60"}, {"metric": "training_flops", "bucket": None}]
    more: dict[str, Any] = {"objectives": goals, "directions": ["minimize"] * 2} if several else {}
    search = make_study(paper=paper, slots=trials, **more)
    for slot in range(trials):
        params = dict(paper) if slot == 0 else {key: _draw(rng, SPACE[key]) for key in paper}
        top = height(params) + rng.normal(0, 0.06)
        curve = {step: top - 2.5 * math.exp(-step / 300) + rng.normal(0, 0.03) for step in range(100, 1001, 100)}
        if several:
            add(search, slot, params, [(26 - top) / 40, 1e12 * (2 + rng.random() / 2 + top - 24)])
        elif pruned and slot > 5 and top < 23.9:
            add(search, slot, params, state=PRUNED, steps=dict(list(curve.items())[:4]), reason="step 400: low")
        else:
            add(search, slot, params, [top], steps=curve)
    if several:
        return Studies(search, None, None)
    used = applied(search.best_trial.params)
    noise = [height(paper) + rng.normal(0, 0.06) for _ in range(4)]
    confirm = [height(used) + rng.normal(0, 0.06) for _ in range(4)]
    return Studies(search, repeated("noise", noise, paper=paper), repeated("confirm", confirm, params=used))


def _draw(rng: np.random.Generator, span: BaseDistribution) -> Any:
    if isinstance(span, CategoricalDistribution):
        return span.choices[int(rng.integers(len(span.choices)))]
    assert isinstance(span, FloatDistribution)
    if span.log:
        return float(10 ** rng.uniform(math.log10(span.low), math.log10(span.high)))
    return float(rng.integers(int(span.low), int(span.high) + 1))
