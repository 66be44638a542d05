"""What the trials of a search come to: one result per slot, the best of them, the Pareto front, importances."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import optuna
from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from ecdm.search.labels import title
from ecdm.search.space import Values, applied, objective_name

RESULTS = (TrialState.COMPLETE, TrialState.PRUNED)
# The best tenth of fewer trials is not even one.
TENTH = 10
BROKEN = "a constraint is broken"


@dataclass(frozen=True)
class Studies:
    """The studies of a search; noise repeats the paper's values, confirm the best ones, under the same seeds."""

    search: Study
    noise: Study | None
    confirm: Study | None


@dataclass(frozen=True)
class Repeats:
    """Values repeated under training seeds: seed → a value per objective."""

    params: Values
    values: Mapping[int, tuple[float, ...]]

    def mean(self, place: int = 0) -> float | None:
        """Mean of an objective over the seeds; None without one."""
        return float(np.mean(self._of(place))) if self.values else None

    def sd(self, place: int = 0) -> float | None:
        """Sample standard deviation over the seeds; None with fewer than two."""
        return float(np.std(self._of(place), ddof=1)) if len(self.values) > 1 else None

    def _of(self, place: int) -> list[float]:
        return [values[place] for values in self.values.values()]


@dataclass(frozen=True)
class Findings:
    """Everything that tables and figures of a search are made from; attempts that failed are not among it."""

    studies: Studies

    @property
    def search(self) -> Study:
        """The study of the search itself."""
        return self.studies.search

    @cached_property
    def names(self) -> list[str]:
        """The objectives."""
        return [objective_name(goal) for goal in self.search.user_attrs["objectives"]]

    @cached_property
    def higher(self) -> list[bool]:
        """Per objective, whether more is better."""
        return [direction == StudyDirection.MAXIMIZE for direction in self.search.directions]

    @property
    def several(self) -> bool:
        """Whether there are several objectives."""
        return len(self.names) > 1

    @cached_property
    def keys(self) -> list[str]:
        """The searched keys, in the order of the space."""
        return list(self.search.user_attrs["paper"])

    @cached_property
    def results(self) -> list[FrozenTrial]:
        """The result of each slot that has one, by slot."""
        return results(self.search)

    @property
    def slots(self) -> int:
        """How many results there will be."""
        return max(int(self.search.user_attrs.get("slots", 0)), len(self.results))

    @cached_property
    def given_up(self) -> int:
        """Slots in which every attempt was lost, so that none waits."""
        states: dict[int, set[TrialState]] = {}
        for trial in self.search.get_trials(deepcopy=False):
            states.setdefault(slot_of(trial), set()).add(trial.state)
        return sum(found == {TrialState.FAIL} for found in states.values())

    @property
    def done(self) -> bool:
        """Whether no more results are to come."""
        return len(self.results) + self.given_up >= self.slots

    @cached_property
    def complete(self) -> list[FrozenTrial]:
        """Results that were not pruned."""
        return [trial for trial in self.results if trial.state == TrialState.COMPLETE]

    @cached_property
    def allowed(self) -> list[FrozenTrial]:
        """Complete results that keep every constraint."""
        return [trial for trial in self.complete if feasible(trial)]

    @cached_property
    def front(self) -> list[FrozenTrial]:
        """Allowed results that no other is better than: better in one objective and worse in none."""
        if not self.allowed:
            return []
        signs = np.where(self.higher, -1.0, 1.0)
        losses = np.array([trial.values for trial in self.allowed]) * signs
        beaten = [bool(((losses <= loss).all(1) & (losses < loss).any(1)).any()) for loss in losses]
        return [trial for trial, is_beaten in zip(self.allowed, beaten, strict=True) if not is_beaten]

    @cached_property
    def best(self) -> FrozenTrial | None:
        """The best on the first objective, of the front; of equal ones that of the lowest slot."""
        sign = -1 if self.higher[0] else 1
        return min(self.front, key=lambda trial: (sign * trial.values[0], slot_of(trial)), default=None)

    @cached_property
    def paper(self) -> FrozenTrial | None:
        """The trial with the paper's values, once it is complete."""
        return next((trial for trial in self.complete if slot_of(trial) == 0), None)

    @cached_property
    def noise(self) -> Repeats:
        """The paper's values under several seeds."""
        return _repeats(self.studies.noise, self.search.user_attrs["paper"])

    @cached_property
    def confirm(self) -> Repeats:
        """The best values under the same seeds; their params are empty while there is no such study."""
        study = self.studies.confirm
        return _repeats(study, (study.user_attrs.get("params") or {}) if study else {})

    @cached_property
    def numeric(self) -> list[str]:
        """Searched keys that are numbers."""
        return [key for key in self.keys if not isinstance(self.search.user_attrs["paper"][key], str)]

    def logarithmic(self, key: str) -> bool:
        """Whether a key is searched in logarithms."""
        return any(getattr(trial.distributions.get(key), "log", False) for trial in self.results)

    @cached_property
    def importances(self) -> dict[str, float]:
        """Each key's share in whether a trial is among the best tenth, the largest first.

        By Optuna's PED-ANOVA; empty with fewer than `TENTH` complete trials, with equal ones, and with a single key.
        """
        several_values = len({tuple(trial.values) for trial in self.complete}) > 1
        if len(self.keys) < 2 or len(self.complete) < TENTH or not several_values:
            return {}
        with warnings.catch_warnings():
            # It warns where it has nothing to compare, and then calls all equal.
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", ExperimentalWarning)
            try:
                found = optuna.importance.get_param_importances(tidy(self))
            except UserWarning:
                return {}
        named = {key: found[title(key)] for key in self.keys if title(key) in found}
        return dict(sorted(named.items(), key=lambda item: -item[1]))


def best(search: Study) -> FrozenTrial | None:
    """The best complete trial that keeps its constraints, of equal ones that of the lowest slot; None without one.

    With several objectives the one of the Pareto front that is best on the first.
    """
    return Findings(Studies(search, None, None)).best


def slot_of(trial: FrozenTrial) -> int:
    """The slot that a trial fills."""
    return int(trial.user_attrs["slot"])


def feasible(trial: FrozenTrial) -> bool:
    """Whether a trial keeps every constraint."""
    return all(value <= 0 for value in trial.constraints.values())


def results(study: Study) -> list[FrozenTrial]:
    """The complete or pruned trial of each slot, by slot; of two that one made first."""
    found: dict[int, FrozenTrial] = {}
    for trial in study.get_trials(deepcopy=False, states=RESULTS):
        found.setdefault(slot_of(trial), trial)
    return [found[slot] for slot in sorted(found)]


def _repeats(study: Study | None, params: Mapping[str, Any]) -> Repeats:
    done = [trial for trial in results(study) if trial.state == TrialState.COMPLETE] if study else []
    values = {int(trial.params["seed"]): tuple(trial.values) for trial in done}
    return Repeats(applied(params), dict(sorted(values.items())))


def tidy(found: Findings) -> Study:
    """A study in memory for Optuna's figures: trial n is slot n, values as applied, keys by their titles."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(study_name=found.search.study_name, directions=found.search.directions)
    spans = {key: _distribution(found, key) for key in found.keys}
    by_slot = {slot_of(trial): trial for trial in found.results}
    for slot in range(max(by_slot, default=-1) + 1):
        trial = by_slot.get(slot)
        study.add_trial(_tidied(trial, spans) if trial else create_trial(state=TrialState.WAITING))
    return study


def _tidied(trial: FrozenTrial, spans: Mapping[str, BaseDistribution]) -> FrozenTrial:
    params = {key: value for key, value in applied(trial.params).items() if key in spans}
    return create_trial(
        state=trial.state,
        values=trial.values,
        params={title(key): value for key, value in params.items()},
        distributions={title(key): spans[key] for key in params},
        intermediate_values=trial.intermediate_values,
        constraints=trial.constraints or None,
        user_attrs={name: trial.user_attrs[name] for name in ("slot", "origin") if name in trial.user_attrs},
    )


def _distribution(found: Findings, key: str) -> BaseDistribution:
    """The span of the applied values, which rounding may have moved out of that of the search."""
    values = [applied(trial.params)[key] for trial in found.results if key in trial.params]
    if key not in found.numeric:
        return CategoricalDistribution(tuple(dict.fromkeys(values)) or ("",))
    spans: Sequence[Any] = [trial.distributions[key] for trial in found.results if key in trial.params]
    low = min([*values, *(span.low for span in spans)], default=0.0)
    high = max([*values, *(span.high for span in spans)], default=1.0)
    return FloatDistribution(low, high, log=found.logarithmic(key))
