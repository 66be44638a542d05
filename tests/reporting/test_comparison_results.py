"""Means over own images, differences over common ones, and files that give back what they hold."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from comparison_project import ComparisonProject

from ecdm.numerics.statistics import Interval, bootstrap, paired_bootstrap
from ecdm.reporting.comparison import Facts, Scope
from ecdm.reporting.comparison_results import ABOUT, CHANGES, MEANS, Comparison, cell_key, read_comparison, to_csv
from ecdm.reporting.scores import Cell
from ecdm.reporting.summary import Bootstrap

DRAWS = Bootstrap(300, 0.9, 5)
SCOPE = Scope(("glide",), "ours", ("scenes", "shifted"), ("10-20",), (), "lpips_random")
FACTS = {run: Facts(None, 32, {"unet": 3}, 7) for run in SCOPE.runs}
OURS, GLIDE = (Cell("scenes", run, "10-20", "psnr", True) for run in ("ours", "glide"))
# Glide did three images, one of which ours did not.
VALUES = {OURS: {1: 20.0, 2: 25.0, 3: 21.5, 4: 30.0}, GLIDE: {9: 10.0, 4: 28.5, 2: 26.0}}


@pytest.fixture
def found() -> Comparison:
    return Comparison.of(SCOPE, FACTS, VALUES, DRAWS)


def rounded(interval: Interval) -> Interval:
    ends = [round(value, 6) for value in (interval.mean, interval.low, interval.high)]
    return Interval(ends[0], ends[1], ends[2], interval.n)


def test_a_mean_is_over_the_runs_own_images(found: Comparison) -> None:
    own = bootstrap([20.0, 25.0, 21.5, 30.0], np.random.default_rng(5), 300, 0.9)
    other = bootstrap([26.0, 28.5, 10.0], np.random.default_rng(5), 300, 0.9)
    assert found.means == {GLIDE: rounded(other), OURS: rounded(own)}
    assert found.means[GLIDE].mean == 21.5
    assert (found.means[OURS].n, found.means[GLIDE].n) == (4, 3)


def test_a_difference_is_paired_over_the_common_images(found: Comparison) -> None:
    """Images 2 and 4: 26 - 25 and 28.5 - 30."""
    expected = paired_bootstrap([26.0, 28.5], [25.0, 30.0], np.random.default_rng(5), 300, 0.9)
    assert found.changes == {GLIDE: rounded(expected)}
    assert found.changes[GLIDE].mean == -0.25
    assert (found.changes[GLIDE].low, found.changes[GLIDE].high, found.changes[GLIDE].n) == (-1.5, 1.0, 2)


def test_the_csv_has_the_columns_and_six_decimals() -> None:
    intervals = {GLIDE: Interval(1 / 3, 0.25, 2.0, 8), OURS._replace(pasted=False): Interval(1, 1, 1, 2)}
    assert to_csv(intervals).splitlines() == [
        "dataset,method,bucket,metric,mean,ci_low,ci_high,n,pasted",
        "scenes,glide,10-20,psnr,0.333333,0.250000,2.000000,8,1",
        "scenes,ours,10-20,psnr,1.000000,1.000000,1.000000,2,0",
    ]


def test_no_number_of_the_files_is_minus_zero() -> None:
    values = {OURS: {1: 1.0, 2: 1.0}, GLIDE: {1: 1.0 - 1e-9, 2: 1.0 - 1e-9}}
    text = Comparison.of(SCOPE, FACTS, values, DRAWS).files()[CHANGES]
    assert "scenes,glide,10-20,psnr,0.000000,0.000000,0.000000,2,1" in text


def test_a_key_names_one_row(found: Comparison) -> None:
    assert cell_key(GLIDE) == "scenes,glide,10-20,psnr,pasted=1"


def test_rows_follow_sets_runs_masks_and_metrics(tmp_path: Path) -> None:
    project = ComparisonProject(tmp_path, ("unipaint", "glide"))
    values = {
        Cell(place[0], run, place[1], metric, pasted): {1: 0.0, 2: 1.0}
        for place in (("objects", "object"), ("scenes", "50-60"), ("shifted", "10-20"), ("scenes", "10-20"))
        for run in ("ours", "unipaint", "glide")
        for metric in ("shape", "new", "psnr")
        for pasted in (False, True)
    }
    found = Comparison.of(project.scope, {}, values, DRAWS)
    cells = list(found.means)
    assert list(dict.fromkeys(cell.dataset for cell in cells)) == ["scenes", "shifted", "objects"]
    assert [cell[1:] for cell in cells[:12]] == [
        ("glide", bucket, metric, pasted)
        for bucket in ("10-20", "50-60")
        for metric in ("psnr", "shape", "new")
        for pasted in (True, False)
    ]
    assert list(dict.fromkeys(cell.variant for cell in cells)) == ["glide", "unipaint", "ours"]
    assert list(found.changes) == [cell for cell in cells if cell.variant != "ours"]


def write(folder: Path, found: Comparison) -> None:
    for name, text in found.files().items():
        (folder / name).write_text(text)


def test_the_files_give_back_the_comparison(found: Comparison, tmp_path: Path) -> None:
    assert read_comparison(tmp_path) is None
    write(tmp_path, found)
    assert read_comparison(tmp_path) == found


def test_the_files_hold_what_the_comparison_does(found: Comparison) -> None:
    rows = list(csv.DictReader(io.StringIO(found.files()[MEANS])))
    assert [float(row["mean"]) for row in rows] == [interval.mean for interval in found.means.values()]
    about = json.loads(found.files()[ABOUT])
    assert about["facts"]["glide"]["flops"] == 7
    assert about["draws"] == {"resamples": 300, "level": 0.9, "seed": 5}


@pytest.mark.parametrize("name", [MEANS, CHANGES])
def test_a_file_that_is_missing_is_named(found: Comparison, tmp_path: Path, name: str) -> None:
    write(tmp_path, found)
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name}: no such file"):
        read_comparison(tmp_path)


def test_files_of_another_form_are_named(found: Comparison, tmp_path: Path) -> None:
    write(tmp_path, found)
    (tmp_path / CHANGES).write_text(found.files()[CHANGES].replace("-0.250000", "much"))
    with pytest.raises(ValueError, match=r"comparison_differences\.csv: line 2: expected numbers in mean"):
        read_comparison(tmp_path)
    (tmp_path / CHANGES).write_text("dataset,method\n")
    with pytest.raises(ValueError, match=r"comparison_differences\.csv: no column bucket"):
        read_comparison(tmp_path)
    for text in ("[]", "{}", '{"scope": {"methods": []}}'):
        (tmp_path / ABOUT).write_text(text)
        with pytest.raises(ValueError, match=r"comparison\.json: found .*, expected what the stage comparison writes"):
            read_comparison(tmp_path)
    (tmp_path / ABOUT).write_text(found.files()[ABOUT].replace('"flops": 7', '"flops": -7'))
    with pytest.raises(ValueError, match=r"comparison\.json: facts\.glide\.flops: found -7, expected a count"):
        read_comparison(tmp_path)
