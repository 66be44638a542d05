"""The score files as arrays over seeds and images, checked for completeness."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecdm.data.scores import COLUMNS
from ecdm.reporting.records import read_rows

# The set of photographs, scored beside whatever the variants were trained on.
PHOTOS = "photos"


class Cell(NamedTuple):
    """What a group of per-image values belongs to; `pasted` is False for the raw output."""

    dataset: str
    variant: str
    bucket: str
    metric: str
    pasted: bool


class Score(NamedTuple):
    """One line of a score file: the value of an image under one training seed."""

    cell: Cell
    seed: int
    image: int
    value: float


@dataclass(frozen=True)
class Scores:
    """Per-image scores of variants and references.

    `values`: for each cell float64 (seeds, images), seeds as in `seeds[variant]`, images as in
    `images[dataset, bucket]`, both ascending. `buckets` in the order asked for.
    """

    values: Mapping[Cell, NDArray[np.float64]]
    images: Mapping[tuple[str, str], tuple[int, ...]]
    seeds: Mapping[str, tuple[int, ...]]
    variants: tuple[str, ...]
    references: tuple[str, ...]
    buckets: tuple[str, ...]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of all metrics, in the order of their first appearance."""
        return tuple(dict.fromkeys(cell.metric for cell in self.values))

    @property
    def dataset(self) -> str:
        """The data set of the ablation: the first one scored that is not the photographs."""
        return next(name for name, _ in self.images if name != PHOTOS)

    def buckets_of(self, dataset: str) -> tuple[str, ...]:
        """The dataset's buckets, in order."""
        return tuple(bucket for bucket in self.buckets if (dataset, bucket) in self.images)


# Values of one file: cell → image → value.
_Run = dict[Cell, dict[int, float]]


def score_rows(path: Path) -> Iterator[tuple[str, Score]]:
    """Each line of a score file with its place, `<path>: line <n>`, for messages.

    Raises: FileNotFoundError without the file; ValueError naming file, line and column for a missing column and for
    what is not a finite number.
    """
    for place, row in read_rows(path, COLUMNS):
        yield place, _parse(row, place)


def read_scores(folder: Path, variants: Sequence[str], seeds: Sequence[int], buckets: Sequence[str]) -> Scores:
    """Read the scores of these variants, seeds and buckets, and of the references.

    Other files in the folder and other buckets in the files are passed over. Raises: FileNotFoundError
    without a file; ValueError naming file, cell or column for a missing column, a row of another run, a
    value that is not a finite number, a value given twice, a bucket without scores, cells or images that
    one run has and another lacks.
    """
    seeds = sorted(seeds)
    runs: dict[tuple[str, int], _Run] = {}
    for variant in variants:
        for seed in seeds:
            path = folder / f"{variant}-{seed}.csv"
            by_run = _read(path, buckets)
            if set(by_run) != {(variant, seed)}:
                found = ", ".join(f"{name}-{number}" for name, number in sorted(by_run)) or "none"
                raise ValueError(f"{path}: found scores of {found}, expected {variant}-{seed} alone")
            runs.update(by_run)
    path = folder / "reference.csv"
    references = _read(path, buckets)
    names = tuple(dict.fromkeys(name for name, _ in references))
    if set(names) & set(variants) or len(names) != len(references):
        raise ValueError(f"{path}: found {sorted(references)}, expected references with one seed each")
    _same_cells(runs)
    runs.update(references)
    images = _common_images(runs)
    present = tuple(bucket for bucket in buckets if any(found == bucket for _, found in images))
    if len(present) != len(buckets):
        raise ValueError(f"{folder}: no scores for bucket {sorted(set(buckets) - set(present))[0]}")
    by_model = {name: tuple(seed for model, seed in runs if model == name) for name, _ in runs}
    return Scores(_stack(runs, images), images, by_model, tuple(variants), names, present)


def _read(path: Path, buckets: Sequence[str]) -> dict[tuple[str, int], _Run]:
    runs: dict[tuple[str, int], _Run] = {}
    for place, (cell, seed, image, value) in score_rows(path):
        if cell.bucket not in buckets:
            continue
        values = runs.setdefault((cell.variant, seed), {}).setdefault(cell, {})
        if image in values:
            raise ValueError(f"{place}: a second value for {cell_title(cell)}, image {image}")
        values[image] = value
    return runs


def _parse(row: Mapping[str, str], place: str) -> Score:
    try:
        seed, image, pasted = int(row["seed"]), int(row["image_id"]), int(row["pasted"])
        value = float(row["value"])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{place}: expected numbers in seed, image_id, pasted and value: {error}") from error
    if pasted not in (0, 1) or not math.isfinite(value):
        raise ValueError(f"{place}: found pasted {pasted} and value {value}, expected 0 or 1 and finite")
    cell = Cell(row["dataset"], row["variant"], row["bucket"], row["metric"], bool(pasted))
    return Score(cell, seed, image, value)


def cell_title(cell: Cell) -> str:
    """A cell in messages, its run aside."""
    return f"{cell.dataset} {cell.bucket} {cell.metric} {'pasted' if cell.pasted else 'raw'}"


def _same_cells(runs: Mapping[tuple[str, int], _Run]) -> None:
    """Every variant and seed must have been scored on the same metrics and buckets."""
    first: tuple[tuple[str, int], set[Cell]] | None = None
    for run, values in runs.items():
        cells = {cell._replace(variant="") for cell in values}
        first = first or (run, cells)
        odd = sorted(cells ^ first[1])
        if odd:
            pair = f"{first[0][0]}-{first[0][1]} and {run[0]}-{run[1]}"
            raise ValueError(f"scores of {pair}: only one of them has {cell_title(odd[0])}")


def _common_images(runs: Mapping[tuple[str, int], _Run]) -> dict[tuple[str, str], tuple[int, ...]]:
    images: dict[tuple[str, str], tuple[int, ...]] = {}
    for (variant, seed), cells in runs.items():
        for cell, values in cells.items():
            found = tuple(sorted(values))
            expected = images.setdefault((cell.dataset, cell.bucket), found)
            if found != expected:
                odd = sorted(set(found) ^ set(expected))
                raise ValueError(
                    f"scores of {variant}-{seed}: {cell_title(cell)}: found {len(found)} images, expected the "
                    f"same {len(expected)} as elsewhere; image {odd[0]} is on one side only"
                )
    return images


def _stack(
    runs: Mapping[tuple[str, int], _Run], images: Mapping[tuple[str, str], tuple[int, ...]]
) -> dict[Cell, NDArray[np.float64]]:
    rows: dict[Cell, list[list[float]]] = {}
    for cells in runs.values():
        for cell, values in cells.items():
            rows.setdefault(cell, []).append([values[image] for image in images[cell.dataset, cell.bucket]])
    return {cell: np.array(table, dtype=np.float64) for cell, table in rows.items()}
