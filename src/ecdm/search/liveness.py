"""Which trials are still worked on: heartbeats, and those whose heart has stopped.

Databases have Optuna's own heartbeats. A journal file and the gRPC proxy have none; there a running trial counts upward
in one of its attributes, and whoever sees that number stand still for the grace period takes the worker for lost.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from optuna import Study
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, fail_stale_trials
from optuna.storages._heartbeat import get_heartbeat_thread, is_heartbeat_enabled
from optuna.trial import FrozenTrial, TrialState

BEAT = "beat"


@contextmanager
def heartbeat(storage: BaseStorage, trial_id: int, seconds: float) -> Iterator[None]:
    """While the block runs, a sign of life of this trial every `seconds`."""
    own = not is_heartbeat_enabled(storage)
    with _Beat(storage, trial_id, seconds) if own else get_heartbeat_thread(trial_id, storage):
        yield


class _Beat:
    def __init__(self, storage: BaseStorage, trial_id: int, seconds: float) -> None:
        self.storage, self.trial_id, self.seconds = storage, trial_id, seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        count = 0
        while True:
            try:
                self.storage.set_trial_user_attr(self.trial_id, BEAT, count)
            except UpdateFinishedTrialError:
                return
            count += 1
            if self._over.wait(self.seconds):
                return


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
