"""A search at work: its settings, storage, trials and MLflow put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from optuna import Study
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial
from safetensors import SafetensorError

from ecdm.config import Params
from ecdm.root import PARAMS
from ecdm.runs import git
from ecdm.search.figures import write_figures
from ecdm.search.findings import Studies
from ecdm.search.interrupts import Interrupts
from ecdm.search.page import mirror_files
from ecdm.search.plan import check, load, phases, prepare, requeue
from ecdm.search.results import write_results
from ecdm.search.samplers import quiet
from ecdm.search.settings import Tune, load_tune
from ecdm.search.storage import hidden, open_storage, storage_uri
from ecdm.search.verdict import Verdict, verdict
from ecdm.search.worker import Worker
from ecdm.stage import set_up_torch
from ecdm.tracker import NullTracker, Tracker
from ecdm.tuning.mirror import SearchMirror, backfill

Say = Callable[[str], None]


class Mirrored:
    """Shows a search in MLflow, as far as that can be had."""

    def __init__(self, mirror: SearchMirror | None) -> None:
        self.mirror = mirror

    def started(self, study: Study, trial: FrozenTrial) -> Tracker:
        """The tracker of a trial."""
        return NullTracker() if self.mirror is None else self.mirror.started(study, trial)

    def ended(self, study: Study, trial: FrozenTrial, tracker: Tracker) -> None:
        """Write how a trial ended."""
        if self.mirror is not None:
            self.mirror.ended(study, trial, tracker)

    def progress(self, studies: Studies) -> None:
        """Write numbers and figures anew, once in a while."""
        if self.mirror is not None:
            self.mirror.refresh(lambda: mirror_files(studies))


@dataclass(frozen=True)
class Session:
    """The search of the project at `root`."""

    root: Path
    params: Params
    tune: Tune
    storage: BaseStorage

    @classmethod
    def open(cls, root: Path, short: bool = False) -> Session:
        """Raises ValueError for settings that are not valid and a storage that does not answer."""
        quiet()
        params, tune = load_tune(root / PARAMS)
        tune = tune.shortened() if short else tune
        return cls(root, params, tune, open_storage(tune, root, requeue))

    @property
    def where(self) -> str:
        """Address of the studies, without a password."""
        return hidden(storage_uri(self.tune, self.root))

    @cached_property
    def _inputs(self) -> str:
        # Large data sets take minutes to read.
        from ecdm.tuning.trial import trial_inputs

        return trial_inputs(self.root, self.params.data.source)

    def prepare(self, trials: int | None = None) -> Studies:
        """Make the studies or go on with them. Raises: as `plan.prepare`; FileNotFoundError for missing inputs."""
        return prepare(self.storage, self.params, self.tune, self._inputs, trials)

    def work(self, say: Say, minutes: float | None = None) -> str | None:
        """Work on the search until it is done or `minutes` are over; returns what ended it before, or None.

        Raises: ValueError without a study and for one of another definition; what a trial raises.
        """
        # It brings the networks, for which reports, states and removals need not wait.
        from ecdm.tuning.trial import Bench

        with Interrupts(minutes) as interrupts:
            studies = load(self.storage, self.tune)
            check(studies, self.params, self.tune, self._inputs)
            set_up_torch(self.params)
            bench = Bench.load(self.root, self.params, self.tune, self._inputs)
            mirror = SearchMirror.open(self.root, studies.search, self.where)
            commit = git(self.root, "rev-parse", "HEAD")
            watch = Mirrored(mirror)
            try:
                return Worker(
                    self.storage, self.params, self.tune, bench, watch, say, commit, interrupts
                ).run()  # fmt: skip
            except (StorageInternalError, SafetensorError) as error:
                # Full disks among them: neither library says so by an OSError.
                what = self.where if isinstance(error, StorageInternalError) else str(bench.paths.checkpoint)
                raise ValueError(f"search {self.tune.study}: {what} cannot be written: {hidden(str(error))}") from error

    def report(self, folder: Path) -> Verdict:
        """Write tables, figures and the page of the search, and whatever MLflow lacks of it; returns the verdict.

        Raises: ValueError without a study.
        """
        studies = load(self.storage, self.tune)
        write_results(studies, folder)
        write_figures(studies, folder)
        backfill(self.root, phases(studies), lambda: mirror_files(studies), self.where)
        return verdict(studies)


def run_search(root: Path, short: bool, folder: Path, say: Say, minutes: float | None = None) -> str | None:
    """Make the studies, work on them, and report; returns what ended the work before it was done, or None."""
    session = Session.open(root, short)
    session.prepare()
    ended = session.work(say, minutes)
    say(session.report(folder).sentence)
    return ended
