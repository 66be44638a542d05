"""One worker of a search: it takes trials that wait, runs them, and goes on until every slot has a result."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import optuna
from optuna import Study, TrialPruned
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from ecdm.config import Params
from ecdm.search.findings import RESULTS, Studies, slot_of
from ecdm.search.interrupts import Interrupts, Reclaimed
from ecdm.search.labels import number, place_name, settings, unit
from ecdm.search.liveness import Reaper, heartbeat
from ecdm.search.plan import GOING, confirm, load, phases, refill, requeue, space_of, superseded
from ecdm.search.samplers import pruner, sampler
from ecdm.search.settings import Tune
from ecdm.search.space import Values, applied, objective_name
from ecdm.tracker import Tracker

# Seconds between two looks of a worker that has nothing to do but wait for others.
PAUSE = 2.0
NEVER_PRUNED = ("paper", "seed")


@dataclass(frozen=True)
class Outcome:
    """What a trial came to: a value per objective, and its peak memory in GiB."""

    values: list[float]
    peak_memory_gib: float


@dataclass(frozen=True)
class Attempt:
    """A trial at work: dotted keys → values, the training seed or None for the usual one, and where it reports."""

    study: Study
    trial: Trial
    slot: int
    values: Values
    seed: int | None
    tracker: Tracker
    interrupts: Interrupts
    prunable: bool
    steps: int

    def report(self, step: int, value: float) -> None:
        """Report the objective at a training step; raises TrialPruned where the trial is to end."""
        if not math.isfinite(value):
            raise TrialPruned(f"diverged: step {step}: found {value}, expected a finite objective")
        with self.interrupts.shielded():
            self.trial.report(value, step)
            # At the last step there is nothing left to be saved.
            if self.prunable and step < self.steps and self.trial.should_prune():
                raise TrialPruned(f"step {step}: no better than what others had there")


class Watch(Protocol):
    """Who looks on, as `tuning.mirror` does."""

    def started(self, study: Study, trial: FrozenTrial) -> Tracker:
        """The tracker of a trial."""

    def ended(self, study: Study, trial: FrozenTrial, tracker: Tracker) -> None:
        """A trial ended."""

    def progress(self, studies: Studies) -> None:
        """The search has come further."""


def worker_name() -> str:
    """Host and process."""
    return f"{socket.gethostname()}-{os.getpid()}"


@dataclass
class Worker:
    """Runs trials by `work` until all are done; `say` gets a line for each, `commit` is that of the code."""

    storage: BaseStorage
    params: Params
    tune: Tune
    work: Callable[[Attempt], Outcome]
    watch: Watch
    say: Callable[[str], None]
    commit: str | None
    interrupts: Interrupts

    def __post_init__(self) -> None:
        self._reap = Reaper(self.storage, self.tune.grace, self.lost)

    def lost(self, study: Study, trial: FrozenTrial) -> None:
        """Let the trial of a lost worker wait again."""
        again = requeue(study, trial)
        self.say(f"{self._name(study, trial)}: its worker is lost, {'to be done again' if again else 'given up'}")

    def run(self) -> str | None:
        """Work until every slot of every study has a result; returns why it ended before, or None.

        Raises: what a trial raises, its slot being free again.
        """
        try:
            while not self.interrupts.reason:
                studies = load(self.storage, self.tune)
                for study in phases(studies):
                    self._reap(study)
                claimed = self._claim(studies)
                if claimed is not None:
                    self._do(*claimed, studies)
                elif not self._wait(studies):
                    return None
        except Reclaimed:
            pass
        return self.interrupts.reason

    def _claim(self, studies: Studies) -> tuple[Study, int] | None:
        for study in phases(studies):
            waiting = self.storage.get_all_trials(study._study_id, deepcopy=False, states=(TrialState.WAITING,))
            for trial in sorted(waiting, key=slot_of):
                if self._take(trial):
                    return study, trial.number
        return None

    def _take(self, trial: FrozenTrial) -> bool:
        try:
            return self.storage.set_trial_state_values(trial._trial_id, state=TrialState.RUNNING)
        except UpdateFinishedTrialError:
            return False

    def _wait(self, studies: Studies) -> bool:
        """Whether there is something to wait for; if not, what was lost and what follows is laid out."""
        if any(study.get_trials(deepcopy=False, states=GOING) for study in phases(studies)):
            with self.interrupts.allowed():
                time.sleep(PAUSE)
            return True
        if any([refill(study) for study in phases(studies)]):
            return True
        confirmed = confirm(self.storage, self.params, self.tune, studies).confirm
        return confirmed is not None and bool(confirmed.get_trials(deepcopy=False, states=GOING))

    def _do(self, study: Study, number: int, studies: Studies) -> None:
        frozen = study.get_trials(deepcopy=False)[number]
        study = optuna.load_study(
            study_name=study.study_name,
            storage=self.storage,
            sampler=sampler(self.tune, number),
            pruner=pruner(self.tune),
        )
        with heartbeat(self.storage, frozen._trial_id, self.tune.heartbeat):
            trial = Trial(study, frozen._trial_id)
            trial.set_user_attr("worker", worker_name())
            if self.commit:
                trial.set_user_attr("commit", self.commit)
            if superseded(study, frozen):
                self._tell(study, trial, TrialState.FAIL, None, "another trial fills its slot")
                return
            for key, distribution in space_of(study, self.tune).items():
                _choose(trial, key, distribution)
            frozen = study.get_trials(deepcopy=False)[number]
            tracker = self.watch.started(study, frozen)
            try:
                self._attempt(study, trial, frozen, tracker)
            finally:
                self.watch.ended(study, frozen, tracker)
        with self.interrupts.allowed():
            self.watch.progress(studies)

    def _attempt(self, study: Study, trial: Trial, frozen: FrozenTrial, tracker: Tracker) -> None:
        name = self._name(study, frozen)
        repeated = study.user_attrs["params"] or study.user_attrs["paper"]
        search, origin = study.user_attrs["phase"] == "search", frozen.user_attrs["origin"]
        attempt = Attempt(
            study=study,
            trial=trial,
            slot=slot_of(frozen),
            values=applied(frozen.params) if search else repeated,
            seed=None if search else int(frozen.params["seed"]),
            tracker=tracker,
            interrupts=self.interrupts,
            prunable=origin not in NEVER_PRUNED and self.tune.pruner != "none",
            steps=self.tune.steps,
        )
        try:
            with self.interrupts.allowed():
                outcome = self.work(attempt)
            self._complete(study, trial, outcome, name)
        except TrialPruned as pruned:
            if self._tell(study, trial, TrialState.PRUNED, None, str(pruned)):
                self.say(f"{name}: pruned, {pruned}")
        except UpdateFinishedTrialError:
            self.say(f"{name}: others took this worker for lost and do it again")
        except BaseException as error:
            reclaimed = isinstance(error, Reclaimed)
            why = f"reclaimed: {error}" if reclaimed else f"{type(error).__name__}: {error}"
            # In this order: one that is killed in between leaves a slot that `refill` finds.
            if self._tell(study, trial, TrialState.FAIL, None, " ".join(why.split())[:500]):
                # A full disk or a storage that is away is no fault of the trial, as little as a reclaimed runner.
                counted = not isinstance(error, Reclaimed | OSError | StorageInternalError)
                requeue(study, study.get_trials(deepcopy=False)[frozen.number], counted)
            self.say(f"{name}: {why.splitlines()[0]}; it waits for another worker")
            raise

    def _complete(self, study: Study, trial: Trial, outcome: Outcome, name: str) -> None:
        if not all(map(math.isfinite, outcome.values)):
            if self._tell(study, trial, TrialState.PRUNED, None, f"diverged: found {outcome.values}"):
                self.say(f"{name}: pruned, diverged")
            return
        trial.set_user_attr("peak_memory_gib", outcome.peak_memory_gib)
        if self.tune.memory_gib is not None:
            trial.set_constraint("peak_memory_gib", outcome.peak_memory_gib - self.tune.memory_gib)
        if self._tell(study, trial, TrialState.COMPLETE, outcome.values):
            names = [objective_name(goal) for goal in study.user_attrs["objectives"]]
            pairs = zip(names, outcome.values, strict=True)
            shown = ", ".join(f"{goal} {number(goal, value)}{unit(goal)}" for goal, value in pairs)
            done = len(study.get_trials(deepcopy=False, states=RESULTS))
            self.say(f"{name}: {shown} [{done} of {study.user_attrs.get('slots', self.tune.noise)}]")

    def _tell(
        self, study: Study, trial: Trial, state: TrialState, values: list[float] | None, why: str | None = None
    ) -> bool:
        """False where others have taken this worker for lost and failed the trial."""
        try:
            if why:
                trial.set_user_attr("reason", why)
            study.tell(trial, values, state)
        except UpdateFinishedTrialError:
            return False
        return True

    def _name(self, study: Study, trial: FrozenTrial) -> str:
        """`trial 07 (λ 0.1, radius 4)`, or what is repeated under which seed."""
        name = place_name(study.user_attrs["phase"], slot_of(trial), trial.params.get("seed"))
        chosen = settings({key: value for key, value in applied(trial.params).items() if key != "seed"})
        return f"{name} ({chosen})" if chosen else name


def _choose(trial: Trial, key: str, distribution: BaseDistribution) -> None:
    if isinstance(distribution, FloatDistribution):
        low, high = distribution.low, distribution.high
        trial.suggest_float(key, low, high, step=distribution.step, log=distribution.log)
    elif isinstance(distribution, IntDistribution):
        trial.suggest_int(key, distribution.low, distribution.high)
    elif isinstance(distribution, CategoricalDistribution):
        trial.suggest_categorical(key, distribution.choices)
