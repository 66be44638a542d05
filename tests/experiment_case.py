"""Whole runs of the small project, from files to files, and what they report on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecdm.config import VariantSettings, load_params
from ecdm.models.variants import VARIANTS
from ecdm.training.experiment import Paths, run_experiment


class Killed(BaseException):
    """Stands for a kill."""


class Live:
    """Keeps what a run reports; stops it when a step is reached."""

    def __init__(self, kill_at: int = 10**9) -> None:
        self.kill_at = kill_at
        self.steps: list[int] = []
        self.pictures: dict[int, NDArray[np.uint8]] = {}

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        if step >= self.kill_at:
            raise Killed
        self.steps.append(step)

    def image(self, key: str, image: NDArray[np.uint8], step: int) -> None:
        assert key == "validation"
        self.pictures[step] = image


def settings_of(variant: str) -> VariantSettings:
    """What params.yaml in the working directory gives a variant."""
    params, switches = load_params(), VARIANTS[variant]
    sail, acda = params.sail if switches.sail else None, params.acda if switches.acda else None
    return VariantSettings(name=switches.name, sail=sail, acda=acda)  # type: ignore[arg-type]


def start(variant: str = "ours", live: Live | None = None, **changes: Any) -> Live:
    """Run a variant in the working directory."""
    told = live or Live()
    train = load_params().train.model_copy(update=changes)
    run_experiment(settings_of(variant), train, 0, Paths.of("scenes", variant, 0), told)
    return told
