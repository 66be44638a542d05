"""Which trials are still worked on: heartbeats, and those whose heart has stopped.

Databases have Optuna's own heartbeats. A journal file and the gRPC proxy have none; there a running trial counts upward
in one of its attributes, and whoever sees that number stand still for the grace period takes the worker for lost.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from optuna import Study
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, fail_stale_trials
from optuna.storages._heartbeat import BaseHeartbeat, is_heartbeat_enabled
from optuna.trial import FrozenTrial, TrialState

BEAT = "beat"


@contextmanager
def heartbeat(storage: BaseStorage, trial_id: int, seconds: float) -> Iterator[None]:
    """While the block runs, a sign of life of this trial every `seconds`, the first one before it begins."""
    beats = itertools.count()

    def beat() -> None:
        if isinstance(storage, BaseHeartbeat) and is_heartbeat_enabled(storage):
            storage.record_heartbeat(trial_id)
        else:
            storage.set_trial_user_attr(trial_id, BEAT, next(beats))

    def go_on() -> None:
        while not over.wait(seconds):
            try:
                beat()
            except UpdateFinishedTrialError:
                return
            except Exception:
                # A storage that is away for a moment: the next beat may come through, and the work goes on meanwhile.
                continue

    beat()
    over = threading.Event()
    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class Reaper:
    """Fails the trials whose worker is lost, and tells `lost` of each, which only one of several workers gets to do."""

    def __init__(self, storage: BaseStorage, grace: float, lost: Callable[[Study, FrozenTrial], None]) -> None:
        self.storage, self.grace, self.lost = storage, grace, lost
        # Trial → its last sign of life, and since when it is the last, by this process's clock.
        self._seen: dict[int, tuple[object, float]] = {}

    def __call__(self, study: Study) -> None:
        """Look at the running trials of a study."""
        if is_heartbeat_enabled(self.storage):
            # It calls `lost` itself, as the storage was told.
            fail_stale_trials(study)
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if self._silent(trial) and self._fail(trial):
                self.lost(study, trial)

    def _silent(self, trial: FrozenTrial) -> bool:
        # A database knows nothing of a worker that was killed before its first heartbeat.
        if is_heartbeat_enabled(self.storage) and "worker" in trial.user_attrs:
            return False
        sign, now = trial.user_attrs.get(BEAT), time.monotonic()
        known, since = self._seen.get(trial._trial_id, (sign, now))
        if known != sign:
            since = now
        self._seen[trial._trial_id] = sign, since
        return now - since > self.grace

    def _fail(self, trial: FrozenTrial) -> bool:
        try:
            return self.storage.set_trial_state_values(trial._trial_id, state=TrialState.FAIL)
        except UpdateFinishedTrialError:
            return False
