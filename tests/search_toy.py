"""A search whose trials are a formula, worked on by a real worker."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optuna import Study
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from ecdm.config import Params, read_yaml
from ecdm.search.findings import Studies
from ecdm.search.interrupts import Interrupts
from ecdm.search.plan import load, prepare
from ecdm.search.samplers import quiet
from ecdm.search.settings import Tune, load_tune
from ecdm.search.worker import Attempt, Outcome, Worker
from ecdm.tracker import NullTracker, Tracker

ROOT = Path(__file__).parents[1]
SHORT: dict[str, Any] = {
    "trials": 6,
    "startup": 2,
    "noise": 2,
    "steps": 4,
    "report_every": 2,
    "heartbeat": 1,
    "grace": 1,
}


def write_search(folder: Path, **changes: Any) -> Path:
    """The project's params.yaml with a short search, and changes of its section `tune`."""
    from ruamel.yaml import YAML

    content = read_yaml(ROOT / "params.yaml")
    # The search's numbers here do not hang on those that the project has set.
    content["tune"] |= {"storage": "sqlite:///studies.db", **SHORT, **changes}
    path = folder / "params.yaml"
    with path.open("w", encoding="utf-8") as file:
        YAML().dump(content, file)
    return path


def settings(folder: Path, **changes: Any) -> tuple[Params, Tune]:
    """The same, read."""
    return load_tune(write_search(folder, **changes))


def formula(attempt: Attempt) -> Outcome:
    """Highest at λ = 0.02 and radius 20; seeds move it a little."""
    distance = abs(math.log10(attempt.values["sail.lambda"] / 0.02)) + abs(attempt.values["acda.radius"] - 20) / 8
    value = 20 - distance + 0.01 * (attempt.seed or 0)
    for step in (2, 4):
        attempt.report(step, value - 1 / step)
    return Outcome([value], 1.5)


@dataclass
class Watched:
    """Notes what a worker tells of."""

    events: list[str] = field(default_factory=list)

    def started(self, study: Study, trial: FrozenTrial) -> Tracker:
        self.events.append(f"started {study.study_name} {trial.number}")
        return NullTracker()

    def ended(self, study: Study, trial: FrozenTrial, tracker: Tracker) -> None:
        state = study.get_trials(deepcopy=False)[trial.number].state.name
        self.events.append(f"ended {study.study_name} {trial.number} {state}")

    def progress(self, studies: Studies) -> None:
        self.events.append("progress")


@dataclass
class Toy:
    """A search in memory, or in another storage."""

    params: Params
    tune: Tune
    storage: BaseStorage = field(default_factory=InMemoryStorage)
    said: list[str] = field(default_factory=list)
    watched: Watched = field(default_factory=Watched)

    def __post_init__(self) -> None:
        quiet()

    def prepare(self, trials: int | None = None, inputs: str = "digest") -> Studies:
        return prepare(self.storage, self.params, self.tune, inputs, trials)

    def work(self, work: Callable[[Attempt], Outcome] = formula, minutes: float | None = None) -> str | None:
        with Interrupts(minutes) as interrupts:
            return self.worker(work, interrupts).run()

    def worker(self, work: Callable[[Attempt], Outcome], interrupts: Interrupts) -> Worker:
        return Worker(
            self.storage, self.params, self.tune, work, self.watched, self.said.append, "c0ffee", interrupts
        )  # fmt: skip

    @property
    def studies(self) -> Studies:
        return load(self.storage, self.tune)


def by_slot(study: Study, *states: TrialState) -> dict[int, list[FrozenTrial]]:
    """Trials of these states, or of all, by their slot."""
    found: dict[int, list[FrozenTrial]] = {}
    for trial in study.get_trials(deepcopy=False, states=states or None):
        found.setdefault(trial.user_attrs["slot"], []).append(trial)
    return found
