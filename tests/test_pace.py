"""Images per second of all processes between two reports, without the time that pictures and reporting take."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from ecdm import pace
from ecdm.config import Train
from ecdm.pace import Paced
from ecdm.tracker import NullTracker


class Seen(NullTracker):
    """Keeps what was reported; every report takes half a second of the clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.pictures: list[tuple[str, int]] = []

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        self.now += 0.5
        self.rows.append((step, dict(values)))

    def image(self, key: str, image: Any, step: int) -> None:
        self.pictures.append((key, step))


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    found = Seen()
    monkeypatch.setattr(pace, "time", SimpleNamespace(perf_counter=lambda: found.now))
    return found


def test_images_per_second(seen: Seen) -> None:
    paced = Paced(seen, cast(Train, SimpleNamespace(batch=8)))
    first = {"loss": 1.0}
    paced.metrics(first, 1)
    seen.now += 2
    paced.metrics({"loss": 0.5}, 6)
    seen.now += 98
    paced.image("validation", np.zeros((1, 1, 3), np.uint8), 10)
    paced.metrics({"loss": 0.4}, 10)
    seen.now += 1
    paced.metrics({"loss": 0.3}, 11)
    paced.metrics({"loss": 0.2}, 12)
    speeds = [(step, values.get("images_per_second")) for step, values in seen.rows]
    assert speeds == [(1, None), (6, 20.0), (10, None), (11, 8.0), (12, None)]
    assert [values["loss"] for _, values in seen.rows] == [1.0, 0.5, 0.4, 0.3, 0.2]
    assert seen.pictures == [("validation", 10)]
    assert first == {"loss": 1.0}
