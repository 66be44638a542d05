"""What a run reports to: the protocol, and the tracker that reports nowhere."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Tracker(Protocol):
    """Where a run reports to."""

    def params(self, values: Mapping[str, object]) -> None:
        """Settings, nested or flat; the first value of a name stands."""

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Numbers at a training step."""

    def image(self, key: str, image: NDArray[np.uint8], step: int) -> None:
        """A picture, uint8 (h, w, 3) RGB or (h, w) gray, at a training step."""

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """A file, into a folder of the run."""

    def tags(self, values: Mapping[str, str]) -> None:
        """Labels; the last value of a name stands."""

    def close(self, completed: bool = True) -> None:
        """End the run; what is buffered is written."""


class NullTracker:
    """Reports nowhere."""

    def params(self, values: Mapping[str, object]) -> None: ...
    def metrics(self, values: Mapping[str, float], step: int) -> None: ...
    def image(self, key: str, image: NDArray[np.uint8], step: int) -> None: ...
    def artifact(self, path: Path, folder: str | None = None) -> None: ...
    def tags(self, values: Mapping[str, str]) -> None: ...
    def close(self, completed: bool = True) -> None: ...


def finite(value: float) -> float:
    """The value as a database keeps it: an infinity becomes the largest number, NaN stays."""
    return value if math.isnan(value) else max(-sys.float_info.max, min(sys.float_info.max, float(value)))


def reason(error: Exception) -> str:
    """An exception as one short line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:197]}..."
