"""Which of two models is better by their score files, and when that cannot be said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ecdm.reporting.summary import Bootstrap
from ecdm.serving.comparison import Measure, compare, means, read_values

PSNR, DRAWS = Measure("scenes", "psnr", "50-60", "pasted"), Bootstrap(200, 0.9, 7)
OLD = {image: float(image) for image in range(20)}


def shifted(gain: list[float]) -> dict[int, float]:
    return {image: OLD[image] + gain[image % len(gain)] for image in OLD}


@pytest.mark.parametrize("metric", ["psnr", "l1"])
@pytest.mark.parametrize(("gain", "side"), [([1.0, 2.0], 1), ([-1.0, -2.0], -1), ([1.0, -1.0], 0), ([0.0], 0)], ids=str)
def test_the_whole_interval_must_lie_on_the_better_side(metric: str, gain: list[float], side: int) -> None:
    measure = PSNR._replace(metric=metric)
    better = -side if metric == "l1" else side
    found = compare({measure: OLD}, {measure: shifted(gain)}, measure, DRAWS)
    assert found.wins is (better > 0)
    assert ("contains 0", "the better side", "the worse side")[better] in found.reason
    assert found.challenger - found.champion == pytest.approx(found.difference.mean) == pytest.approx(np.mean(gain))
    assert found.difference == DRAWS.difference(np.array([*shifted(gain).values()]), np.array([*OLD.values()]))


def test_values_are_paired_by_image_whatever_their_order() -> None:
    found = compare({PSNR: OLD}, {PSNR: dict(reversed(shifted([1.0]).items()))}, PSNR, DRAWS)
    assert (found.difference.low, found.difference.high) == (pytest.approx(1), pytest.approx(1))


def test_what_is_compared_is_said() -> None:
    assert str(PSNR) == "psnr on scenes, holes of 50–60 %, pasted (higher is better)"
    raw = Measure("photos", "l1_hole", "wide", "raw")
    assert str(raw) == "l1_hole on photos, wide strokes, raw (lower is better)"


def test_scores_are_read_by_measure(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    rows = ["scenes,ours,0,7,50-60,psnr,1,2", "scenes,ours,0,8,50-60,psnr,1,3", "photos,ours,0,7,50-60,psnr,0,5"]
    path.write_text("\n".join(["dataset,variant,seed,image_id,bucket,metric,pasted,value", *rows]) + "\n")
    values = read_values(path)
    assert values == {PSNR: {7: 2.0, 8: 3.0}, Measure("photos", "psnr", "50-60", "raw"): {7: 5.0}}
    assert means(values, "scenes") == {"psnr/50-60": "2.5"}
    path.write_text(path.read_text() + "scenes,ours,0,9,50-60,psnr,1,nan\n")
    with pytest.raises(ValueError, match=r"scores\.csv: line 5: found pasted 1 and value nan"):
        read_values(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": "fid"}, "metric: found fid, expected one that the champion has: l1, psnr"),
        ({"bucket": "0-1"}, "bucket: found 0-1, expected one that the champion has: 50-60"),
        ({"output": "raw"}, "output: found raw"),
        ({"metric": "l1"}, "metric: found l1, expected one that the challenger has: psnr"),
    ],
)
def test_a_measure_that_either_lacks_is_named(changes: dict[str, str], message: str) -> None:
    champion = {PSNR: OLD, PSNR._replace(metric="l1"): OLD}
    with pytest.raises(ValueError, match=message):
        compare(champion, {PSNR: OLD}, PSNR._replace(**changes), DRAWS)


def test_scores_of_other_images_are_not_compared() -> None:
    with pytest.raises(ValueError, match=r"found 20 test images .* and 19 of .*; image 0 is on one side only"):
        compare({PSNR: OLD}, {PSNR: {image: 1.0 for image in range(1, 20)}}, PSNR, DRAWS)
