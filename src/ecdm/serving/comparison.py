"""Two models compared on the same images by their score files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ecdm.data.scores import LOWER_IS_BETTER
from ecdm.numerics.statistics import Interval
from ecdm.reporting.labels import bucket_heading
from ecdm.reporting.scores import score_rows
from ecdm.reporting.summary import Bootstrap


class Measure(NamedTuple):
    """What two models are compared by; `output` is `pasted` or `raw`."""

    dataset: str
    metric: str
    bucket: str
    output: str

    @property
    def better(self) -> str:
        """Which mean wins: the `lower` or the `higher`."""
        return "lower" if self.metric in LOWER_IS_BETTER else "higher"

    def __str__(self) -> str:
        bucket = bucket_heading(self.bucket)
        return (
            f"{self.metric} on {self.dataset}, {bucket[0].lower()}{bucket[1:]}, {self.output} ({self.better} is better)"
        )


# Measure → image → value.
Values = Mapping[Measure, Mapping[int, float]]


@dataclass(frozen=True)
class Comparison:
    """Means of both models over the same images; `difference`: of challenger minus champion, paired by image."""

    champion: float
    challenger: float
    difference: Interval
    better: str

    @property
    def wins(self) -> bool:
        """Whether the whole interval lies on the better side of 0."""
        return self.difference.excludes_zero and (self.difference.mean < 0) == (self.better == "lower")

    @property
    def reason(self) -> str:
        """Why the challenger wins or does not, in one line."""
        if not self.difference.excludes_zero:
            return "the interval contains 0: these images do not tell the two apart"
        return f"the whole interval lies on the {'better' if self.wins else 'worse'} side of 0"


def read_values(path: Path) -> Values:
    """The values of a score file; raises as `score_rows`."""
    found: dict[Measure, dict[int, float]] = {}
    for _, (cell, _, image, value) in score_rows(path):
        measure = Measure(cell.dataset, cell.metric, cell.bucket, "pasted" if cell.pasted else "raw")
        found.setdefault(measure, {})[image] = value
    return found


def means(values: Values, dataset: str) -> dict[str, str]:
    """The means of the pasted outputs on a data set, `psnr/10-20` → six digits."""
    return {
        f"{measure.metric}/{measure.bucket}": f"{np.mean(list(by_image.values())):.6g}"
        for measure, by_image in values.items()
        if measure.dataset == dataset and measure.output == "pasted"
    }


def compare(champion: Values, challenger: Values, measure: Measure, draws: Bootstrap) -> Comparison:
    """Both models by one measure.

    Raises: ValueError for a measure that either lacks, and for scores of different images.
    """
    _require(champion, measure, "the champion")
    _require(challenger, measure, "the challenger")
    old, new = champion[measure], challenger[measure]
    if set(old) != set(new):
        odd = sorted(set(old) ^ set(new))
        raise ValueError(
            f"{measure}: found {len(old)} test images of the champion and {len(new)} of the challenger, expected the "
            f"same; image {odd[0]} is on one side only"
        )
    first, second = (np.array([side[image] for image in sorted(old)]) for side in (old, new))
    return Comparison(float(first.mean()), float(second.mean()), draws.difference(second, first), measure.better)


def _require(values: Values, measure: Measure, who: str) -> None:
    for place, name in enumerate(Measure._fields):
        known = sorted({one[place] for one in values})
        if measure[place] not in known:
            raise ValueError(f"{name}: found {measure[place]}, expected one that {who} has: {', '.join(known)}")
    if measure not in values:
        raise ValueError(f"{measure}: {who} has no scores of it")
