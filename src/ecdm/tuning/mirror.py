"""A search in MLflow: one run per study, below it one per attempt of a trial."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from filelock import FileLock
from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from ecdm.address import project_of, shown, unreachable
from ecdm.lineage import origin
from ecdm.mlflow_run import MLflowTracker
from ecdm.search.findings import Studies
from ecdm.tracker import NullTracker, Tracker
from ecdm.tracking import KEY, Store
from ecdm.tuning.mirror_guard import GuardedTracker, Teller
from ecdm.tuning.mirror_note import note, view, view_key
from ecdm.tuning.mirror_trial import (
    STATES,
    best_so_far,
    counts,
    curve,
    measured,
    phase,
    repeats,
    status,
    study_key,
    study_params,
    study_tags,
    trial_name,
    trial_params,
    trial_tags,
)

PARENT, NOTE = "mlflow.parentRunId", "mlflow.note.content"
REFRESHED, FIRST = "ecdm.refreshed", "ecdm.open_first"
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
# Seconds between two refreshes, and how long one waits for another on this machine.
EVERY, PATIENCE = 300.0, 600.0
# Numbers of a running trial that are held back: few, for they are to be seen while it runs.
HELD_BACK = 10
PAGE = 1000

Files = Callable[[], Mapping[str, bytes]]
Result = TypeVar("Result")


@dataclass
class SearchMirror:
    """The search in MLflow: one run per study, one below it per trial.

    Noise and confirmation are trials of the same run. Whatever keeps MLflow from being used costs a printed line.
    `storage` is where the studies are, for the description.
    """

    root: Path
    store: Store
    search: Study
    storage: str | None = None
    tell: Teller = field(init=False)
    _studies: dict[str, Study] = field(init=False, default_factory=dict)
    _refreshed: float | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.tell = Teller(self.search.study_name)

    @classmethod
    def open(cls, root: Path, search: Study, storage: str | None = None) -> SearchMirror | None:
        """The mirror with its run made; None, and one printed line, where MLflow cannot be used."""
        try:
            mirror = cls(root, Store.connect(root), search, storage)
            mirror._parent()
        except Exception as error:
            Teller(search.study_name)(error)
            return None
        return mirror

    def started(self, study: Study, trial: FrozenTrial) -> Tracker:
        """The tracker of a trial that runs, once its values are chosen."""
        found = self._attempt(lambda: self._start(study, trial))
        return GuardedTracker(found, self.tell) if found else NullTracker()

    def ended(self, study: Study, trial: FrozenTrial, tracker: Tracker) -> None:
        """Write how a trial ended, as its study says it now, also where `tracker` failed or is a `NullTracker`."""
        self._attempt(lambda: self._end(study, study.get_trials(deepcopy=False)[trial.number], tracker))

    def refresh(self, files: Files, force: bool = False) -> None:
        """Write how far the search is: numbers, description, and `files`, that to open first first.

        Without `force` once in five minutes, counted over all workers; else `files` is not called.
        """
        if force or self._refreshed is None or time.monotonic() - self._refreshed >= EVERY:
            self._attempt(lambda: self._show(files, force))
            self._refreshed = time.monotonic()

    def complete(self, studies: Sequence[Study]) -> int:
        """Write every ended trial that MLflow lacks or knows as running; returns how many."""
        return self._attempt(lambda: self._fill(studies)) or 0

    def _fill(self, studies: Sequence[Study]) -> int:
        self._studies |= {study.study_name: study for study in studies}
        filled = 0
        with self._alone():
            settled = self._settled()
            for study in studies:
                for trial in study.get_trials(deepcopy=False, states=ENDED):
                    key = self._key(study, trial)
                    if settled.get(key) != (status(trial), STATES[trial.state]):
                        self._finish(study, trial)
                        filled += 1
        return filled

    def _start(self, study: Study, trial: FrozenTrial) -> MLflowTracker:
        tracker = self._run(study, trial)
        tracker.flush_every = HELD_BACK
        tracker.tags({"state": STATES[TrialState.RUNNING]})
        tracker.reopen()
        return tracker

    def _end(self, study: Study, trial: FrozenTrial, tracker: Tracker) -> None:
        if trial.state not in ENDED:
            raise ValueError(f"trial {trial.number}: found {STATES[trial.state]}, expected one that ended")
        tracker.close(trial.state != TrialState.FAIL)
        self._finish(study, trial)

    def _finish(self, study: Study, trial: FrozenTrial) -> None:
        tracker, ended = self._run(study, trial), status(trial)
        tracker.summary(measured(trial))
        for step, values in curve(study, trial).items():
            tracker.metrics(values, step)
        tracker.close(ended == "FINISHED")
        if ended == "KILLED":
            self.store.client.set_terminated(tracker.run_id, ended)
        # Last, for a run with the state it has in its study counts as written.
        tracker.tags({"state": STATES[trial.state]})

    def _run(self, study: Study, trial: FrozenTrial) -> MLflowTracker:
        """The run of a trial, with what is known of it now."""
        self._studies[study.study_name] = study
        tags = {**trial_tags(study, trial), "study": self.search.study_name, PARENT: self._parent().run_id}
        key, name = self._key(study, trial), trial_name(study, trial)
        tracker = self.store.run(key, name, trial_params(study, trial), tags, strict=True)
        tracker.tags(tags)
        return tracker

    def _key(self, study: Study, trial: FrozenTrial) -> str:
        return f"{study_key(self.search)}/{study.study_name}/{trial.number}"

    @cached_property
    def _tags(self) -> dict[str, str]:
        return {**origin(self.root), **study_tags(self.search)}

    def _parent(self) -> MLflowTracker:
        """The run of the search; looked up again, for of two made at once on a server one is left."""
        name, params = f"search {self.search.study_name}", study_params(self.search)
        return _twice(lambda: self.store.run(study_key(self.search), name, params, self._tags, strict=True))

    def _settled(self) -> dict[str, tuple[str, str]]:
        """Status and state of each trial's run, by its key."""
        chosen, page = f"tags.`{PARENT}` = '{self._parent().run_id}'", None
        found: dict[str, tuple[str, str]] = {}
        while True:
            runs = self.store.client.search_runs([self.store.experiment_id], chosen, max_results=PAGE, page_token=page)
            for run in runs:
                tags = run.data.tags
                found[tags.get(KEY, "")] = (run.info.status, tags.get("state", ""))
            page = runs.token
            if not page:
                return found

    def _show(self, files: Files, force: bool) -> None:
        parent, now = self._parent(), time.time()
        if not force:
            known = self.store.client.get_run(parent.run_id).data.tags.get(REFRESHED, "0")
            if 0 <= now - float(known) < EVERY:
                return
            parent.tags({REFRESHED: str(int(now))})
        # What cannot be drawn keeps no number back.
        found = self._attempt(files) or {}
        with self._alone():
            _twice(lambda: self._write(found))

    def _write(self, files: Mapping[str, bytes]) -> None:
        # Another process may have written meanwhile, which a new tracker sees.
        parent, first = self._parent(), next(iter(files), None)
        parent.files(files)
        parent.flush_every = 1
        for study in self._studies.values():
            if study.study_name != self.search.study_name:
                parent.summary(repeats(study))
        parent.summary({f"trials/{name}": number for name, number in counts(self.search).items()})
        for step, best in enumerate(best_so_far(self.search)):
            parent.metrics(best, step)
        data = self.store.client.get_run(parent.run_id).data
        shown_first = first or data.tags.get(FIRST)
        link = _link(self.store, self.search.study_name)
        known = {phase(study): study for study in self._studies.values()}
        studies = Studies(self.search, known.get("noise"), known.get("confirm"))
        tags = {NOTE: note(studies, data.metrics, shown_first, self.storage, link)}
        parent.tags(tags | ({FIRST: shown_first} if shown_first else {}))
        self.store.tags(view(self.search))
        if self._open():
            parent.reopen()
        else:
            parent.close()

    def _open(self) -> bool:
        """Whether a trial runs or waits in any study known here."""
        going = (TrialState.WAITING, TrialState.RUNNING)
        known = [self.search, *self._studies.values()]
        return any(study.get_trials(deepcopy=False, states=going) for study in known)

    def _alone(self) -> FileLock:
        """Two processes at once would each find the same things missing."""
        return FileLock(project_of(self.root) / "mlflow.db.search.lock", timeout=PATIENCE)

    def _attempt(self, work: Callable[[], Result]) -> Result | None:
        uri = self.store.client.tracking_uri
        try:
            # MLflow itself would try for long.
            if problem := unreachable(uri):
                raise ValueError(f"MLflow at {shown(uri)}: {problem}")
            return work()
        except Exception as error:
            self.tell(error)
            return None


def _twice(work: Callable[[], Result]) -> Result:
    """The work again where it fails: of two machines that make the same row, a server refuses one the first time."""
    try:
        return work()
    except ValueError:
        return work()


def backfill(root: Path, studies: Sequence[Study], files: Files = dict, storage: str | None = None) -> int:
    """Fill MLflow with the ended trials of a search, its noise and its confirmation; returns how many it lacked.

    What is there already stays as it is. Whatever keeps MLflow from being used costs one printed line.
    """
    (search,) = (study for study in studies if phase(study) == "search")
    mirror = SearchMirror.open(root, search, storage)
    if mirror is None:
        return 0
    filled = mirror.complete(studies)
    mirror.refresh(files, force=True)
    return filled


def search_link(store: Store, parent_run_id: str) -> str:
    """The part of an address behind the UI's own that opens the comparison of a search's trials."""
    study = store.client.get_run(parent_run_id).data.tags["study"]
    return _link(store, study)


def _link(store: Store, study: str) -> str:
    # Without its kind a browser that was never here shows the menu for language models.
    query = f"workflowType=machine_learning&viewStateShareKey={view_key(study)}"
    return f"#/experiments/{store.experiment_id}/runs?{query}"
