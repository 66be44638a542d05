"""Means, intervals and differences of made-up scores whose true values are known."""

import csv
import io
from typing import Any

import numpy as np
import pytest

from ecdm.numerics.statistics import Interval
from ecdm.reporting.gates import Gate, Gates
from ecdm.reporting.scores import Cell, Scores, read_scores
from ecdm.reporting.summary import Bootstrap, Row, differences, metrics_json, pooled, summarise, to_csv

DRAWS = Bootstrap(resamples=200, level=0.95, seed=7)


@pytest.fixture
def scores(project: Any) -> Scores:
    return read_scores(project.scores, project.VARIANTS, [0, 1], project.BUCKETS)


def noisy(rng: np.random.Generator, gain: float, images: int = 200, noise: float = 0.5) -> Scores:
    """One metric, one seed: baseline and a variant that gains `gain` on average, with noise."""
    base = rng.normal(20, 3, (1, images))
    better = base + gain + rng.normal(0, noise, (1, images))
    cells = {Cell("scenes", name, "10-20", "psnr", True): v for name, v in (("baseline", base), ("ours", better))}
    ids = {("scenes", "10-20"): tuple(range(images))}
    return Scores(cells, ids, {"baseline": (0,), "ours": (0,)}, ("baseline", "ours"), (), ("10-20",))


def find(rows: list[Row], variant: str, seed: str, bucket: str, metric: str, pasted: bool) -> Interval:
    wanted = (variant, seed, bucket, metric, pasted)
    (row,) = [row for row in rows if (row.variant, row.seed, row.bucket, row.metric, row.pasted) == wanted]
    return row.interval


def test_one_row_per_seed_and_one_over_all(project: Any, scores: Scores) -> None:
    rows = summarise(scores, "scenes", DRAWS)
    for seed in (0, 1):
        found = find(rows, "ours", str(seed), "wide", "l1", True)
        values = [project.value("ours", seed, i, "wide", "l1", 1) for i in (1, 2, 3, 4)]
        assert found.mean == pytest.approx(np.mean(values))
        assert found.n == 4
    both = find(rows, "ours", "all", "wide", "l1", True)
    assert both.mean == pytest.approx(10 + 2.5 + 4 + 2 + 1.75 + 0.125 / 2)
    assert both.n == 8
    assert both.low < both.mean < both.high
    assert len(rows) == len(project.BUCKETS) * len(project.METRICS) * 2 * (4 * 3 + 2)


def test_one_seed_has_no_row_over_all(project: Any) -> None:
    single = read_scores(project.scores, project.VARIANTS, [1], project.BUCKETS)
    rows = summarise(single, "scenes", DRAWS)
    assert {row.seed for row in rows if row.variant == "ours"} == {"1"}
    assert {row.seed for row in rows if row.variant == "vae"} == {"0"}
    assert all(row.pooled for row in rows)


def test_order_follows_variants_then_references_then_buckets(project: Any, scores: Scores) -> None:
    rows = summarise(scores, "scenes", DRAWS)
    assert list(dict.fromkeys(row.variant for row in rows)) == [*project.VARIANTS, "mean_fill", "vae"]
    assert list(dict.fromkeys(row.bucket for row in rows)) == list(project.BUCKETS)
    assert list(dict.fromkeys(row.metric for row in rows)) == list(project.METRICS)


def test_a_gain_is_found_with_its_interval(project: Any, scores: Scores) -> None:
    rows = differences(scores, "scenes", DRAWS)
    assert {row.variant for row in rows} == {"sail", "acda", "ours"}
    for row in rows:
        assert row.interval.mean == pytest.approx(project.gain(row.variant, row.bucket, row.metric))
        assert row.interval.low < row.interval.mean < row.interval.high
        assert row.interval.excludes_zero == (row.variant != "acda")
    assert pooled(rows)["ours", "wide", "ssim", False].n == 8


def test_a_constant_gain_is_a_certain_difference() -> None:
    (row,) = differences(noisy(np.random.default_rng(0), 0.3, noise=0), "scenes", DRAWS)
    assert (row.interval.low, row.interval.mean, row.interval.high) == (0.3, 0.3, 0.3)


def test_pairing_finds_a_gain_that_unpaired_intervals_hide() -> None:
    scores = noisy(np.random.default_rng(0), 0.3)
    means, deltas = pooled(summarise(scores, "scenes", DRAWS)), pooled(differences(scores, "scenes", DRAWS))
    baseline, ours = (means[name, "10-20", "psnr", True] for name in ("baseline", "ours"))
    assert baseline.high > ours.low
    assert deltas["ours", "10-20", "psnr", True].low > 0


def test_a_loss_keeps_its_sign() -> None:
    found = pooled(differences(noisy(np.random.default_rng(1), -0.3), "scenes", DRAWS))
    assert found["ours", "10-20", "psnr", True].high < 0


def test_an_interval_does_not_depend_on_what_else_is_summarised(project: Any, scores: Scores) -> None:
    alone = summarise(read_scores(project.scores, ["ours"], [0, 1], ["wide"]), "scenes", DRAWS)
    both = [pooled(rows)["ours", "wide", "l1", True] for rows in (alone, summarise(scores, "scenes", DRAWS))]
    assert both[0] == both[1]


def test_without_baseline_there_are_no_differences(project: Any) -> None:
    assert differences(read_scores(project.scores, ["ours", "sail"], [0], project.BUCKETS), "scenes", DRAWS) == []


def test_csv_has_the_columns_and_six_decimals() -> None:
    rows = [Row("ours", "all", "10-20", "l1", True, Interval(1 / 3, -1e-9, 2.0, 8), True)]
    assert to_csv(rows) == (
        "variant,seed,bucket,metric,pasted,mean,ci_low,ci_high,n\nours,all,10-20,l1,1,0.333333,0.000000,2.000000,8\n"
    )
    assert list(csv.DictReader(io.StringIO(to_csv([])))) == []


def test_metrics_are_pasted_means_of_table_2_on_one_bucket(project: Any, scores: Scores) -> None:
    gates = Gates(False, (Gate("a", "", "", "", False, ""), Gate("b", "", "", "", True, "")))
    brief = metrics_json(summarise(scores, "scenes", DRAWS), project.VARIANTS, "50-60", gates)
    assert set(brief) == {*project.VARIANTS, "gates"}
    names = ("psnr", "ssim", "l1", "lpips_random")
    assert brief["sail"] == {name: 14.5625 + i + project.gain("sail", "50-60", name) for i, name in enumerate(names)}
    assert brief["gates"] == {"failed": 1}


def test_rows_hold_what_the_files_do(scores: Scores) -> None:
    rows = summarise(scores, "scenes", DRAWS)
    lines = list(csv.DictReader(io.StringIO(to_csv(rows))))
    found = [[row.interval.mean, row.interval.low, row.interval.high] for row in rows]
    assert found == [[float(line[name]) for name in ("mean", "ci_low", "ci_high")] for line in lines]
