"""How fast a variant's training goes, measured live: it belongs into no output of the pipeline."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ecdm.config import Train
from ecdm.tracker import Tracker


class Paced:
    """Hands everything on to `live` and adds `images_per_second` of all processes, measured between two reports.

    Reporting itself is not counted, nor is the stretch before a report that came with a picture, for pictures take
    time of their own. Loading the data and saving checkpoints are.
    """

    def __init__(self, live: Tracker, settings: Train) -> None:
        self.live = live
        self.images = settings.batch
        self.last: tuple[int, float] | None = None
        self.interrupted = False

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Numbers at a training step."""
        now = time.perf_counter()
        if self.last and not self.interrupted and now > self.last[1]:
            speed = (step - self.last[0]) * self.images / (now - self.last[1])
            values = {**values, "images_per_second": speed}
        self.live.metrics(values, step)
        self.last, self.interrupted = (step, time.perf_counter()), False

    def image(self, key: str, image: NDArray[np.uint8], step: int) -> None:
        """A picture at a training step."""
        self.interrupted = True
        self.live.image(key, image, step)
