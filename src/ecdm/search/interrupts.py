"""Ending a worker in good order: SIGTERM from a runner that is reclaimed, Ctrl-C, and the end of its time."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, ClassVar


class Reclaimed(BaseException):
    """The worker has to end. Not an Exception, so that nothing on the way takes it for a failure."""


class Interrupts:
    """Turns signals into `Reclaimed`, raised only where work may be dropped; a signal elsewhere waits until then."""

    REASONS: ClassVar = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C", signal.SIGALRM: "its time is over"}

    def __init__(self, minutes: float | None = None) -> None:
        self.minutes = minutes
        self.reason: str | None = None
        self._open = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupts:
        self._before = {number: signal.signal(number, self._heard) for number in self.REASONS}
        if self.minutes is not None:
            signal.setitimer(signal.ITIMER_REAL, self.minutes * 60)
        return self

    def __exit__(self, *error: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """A block that may end at any moment."""
        with self._set(True):
            yield

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """Within such a block, a part that is finished first."""
        with self._set(False):
            yield

    @contextmanager
    def _set(self, value: bool) -> Iterator[None]:
        before, self._open = self._open, value
        try:
            self._raise()
            yield
        finally:
            self._open = before
        self._raise()

    def _heard(self, number: int, frame: FrameType | None) -> None:
        self.reason = self.reason or self.REASONS[signal.Signals(number)]
        self._raise()

    def _raise(self) -> None:
        if self._open and self.reason:
            raise Reclaimed(self.reason)
