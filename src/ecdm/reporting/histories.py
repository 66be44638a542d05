"""Training histories as series per variant and seed, and as plain files for plots."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecdm.reporting.records import csv_text, read_rows

COLUMNS = ("step", "name", "value")
# Share of a run's points that the smoothed line averages over.
SMOOTHING = 0.15
FILE_NAME = re.compile(r"[A-Za-z0-9_.-]+")


class Run(NamedTuple):
    """A training run."""

    variant: str
    seed: int


class Series(NamedTuple):
    """Values over ascending steps."""

    steps: NDArray[np.int64]
    values: NDArray[np.float64]


# name → run → series
Histories = Mapping[str, Mapping[Run, Series]]


def history_paths(folder: Path, variants: Sequence[str], seeds: Sequence[int]) -> dict[Run, Path]:
    """Where each run's history lies below the folder of training outputs."""
    runs = [Run(variant, seed) for variant in variants for seed in seeds]
    return {run: folder / f"{run.variant}-{run.seed}" / "history.csv" for run in runs}


def read_history(path: Path) -> dict[str, dict[int, float]]:
    """A history.csv (step, name, value) as values by name and step.

    Raises: FileNotFoundError without the file; ValueError naming file and line for a missing column, a value
    that is no finite number, a step given twice, or a name that cannot be a file's.
    """
    series: dict[str, dict[int, float]] = {}
    for place, row in read_rows(path, COLUMNS):
        step, value = _parse(row, place)
        points = series.setdefault(row["name"], {})
        if step in points:
            raise ValueError(f"{place}: a second value of {row['name']} at step {step}")
        points[step] = value
    odd = [name for name in series if not FILE_NAME.fullmatch(name)]
    if odd:
        raise ValueError(f"{path}: name {odd[0]!r}: expected letters, digits, dots and dashes alone")
    return series


def read_histories(paths: Mapping[Run, Path]) -> Histories:
    """Read the runs' histories, series by name; raises like `read_history`."""
    histories: dict[str, dict[Run, Series]] = {}
    for run, path in paths.items():
        for name, points in read_history(path).items():
            steps = sorted(points)
            values = np.array([points[step] for step in steps], dtype=np.float64)
            histories.setdefault(name, {})[run] = Series(np.array(steps, dtype=np.int64), values)
    return histories


def smooth(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Moving mean over an odd `window` centred on each value, cut off at both ends; same length, no lag."""
    half = window // 2
    sums = np.concatenate(([0.0], np.cumsum(values)))
    centre = np.arange(len(values))
    first, last = np.maximum(centre - half, 0), np.minimum(centre + half + 1, len(values))
    return np.asarray((sums[last] - sums[first]) / (last - first))


def smoothed(several: Sequence[Series]) -> Series | None:
    """The mean over seeds as a smooth line; None where the seeds were not recorded at the same steps."""
    steps = several[0].steps
    if not all(np.array_equal(series.steps, steps) for series in several):
        return None
    mean = np.mean([series.values for series in several], axis=0)
    return Series(steps, smooth(mean, round(SMOOTHING * len(mean)) | 1))


def curve_csv(runs: Mapping[Run, Series]) -> str:
    """Columns step, variant, value; with several seeds a run stands as `variant-seed`."""
    several = len({run.seed for run in runs}) > 1
    rows = []
    for run, series in runs.items():
        label = f"{run.variant}-{run.seed}" if several else run.variant
        pairs = zip(series.steps, series.values, strict=True)
        rows += [(int(step), label, f"{value:.8g}") for step, value in pairs]
    return csv_text(("step", "variant", "value"), rows)


def _parse(row: Mapping[str, str], place: str) -> tuple[int, float]:
    try:
        step, value = int(row["step"]), float(row["value"])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{place}: expected numbers in step and value: {error}") from error
    if not math.isfinite(value):
        raise ValueError(f"{place}: found {value}, expected a finite value")
    return step, value
