"""Reporting that can fail and costs one printed line then: no trial of a search depends on MLflow."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecdm.search.storage import hidden
from ecdm.tracker import Tracker, reason


class Teller:
    """Says on standard error that MLflow lacks something of a search; the same line once."""

    def __init__(self, study: str) -> None:
        self.study = study
        self._told: set[str] = set()

    def __call__(self, error: Exception) -> None:
        # Before it is cut to one line too, which could leave half a password.
        why = hidden(reason(Exception(hidden(str(error)) or type(error).__name__)))
        line = f"search {self.study}: MLflow lacks something: {why}; `ecdm tune report` will fill in"
        if line not in self._told:
            self._told.add(line)
            print(line, file=sys.stderr, flush=True)


class GuardedTracker:
    """A tracker whose first failure is told, and which is silent from then on."""

    def __init__(self, tracker: Tracker, tell: Callable[[Exception], None]) -> None:
        self._tracker: Tracker | None = tracker
        self._tell = tell

    def params(self, values: Mapping[str, object]) -> None:
        self._attempt(lambda tracker: tracker.params(values))

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        self._attempt(lambda tracker: tracker.metrics(values, step))

    def image(self, key: str, image: NDArray[np.uint8], step: int) -> None:
        self._attempt(lambda tracker: tracker.image(key, image, step))

    def artifact(self, path: Path, folder: str | None = None) -> None:
        self._attempt(lambda tracker: tracker.artifact(path, folder))

    def tags(self, values: Mapping[str, str]) -> None:
        self._attempt(lambda tracker: tracker.tags(values))

    def close(self, completed: bool = True) -> None:
        self._attempt(lambda tracker: tracker.close(completed))

    def _attempt(self, work: Callable[[Tracker], None]) -> None:
        if self._tracker is None:
            return
        try:
            work(self._tracker)
        except Exception as error:
            self._tracker = None
            self._tell(error)
